"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);

for (const part of all(".scripted")) part.hidden = false;

const budget = one("budget");
if (budget) {
  const show = () => {
    const choice = one("choices").children[budget.value];
    one("sentence").textContent = choice.textContent;
    one("chosen").textContent = choice.dataset.label;
    budget.setAttribute("aria-valuetext", choice.dataset.label);
    for (const row of all(".budgets tr"))
      for (const cell of row.cells) cell.classList.toggle("chosen", cell.cellIndex === +budget.value + 1);
  };
  budget.addEventListener("input", show);
  show();
}

const adversary = one("adversary");
if (adversary) {
  const filter = () => {
    const rows = all("#findings tbody tr");
    for (const row of rows) row.hidden = adversary.value !== "" && row.dataset.adversary !== adversary.value;
    one("shown").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  adversary.addEventListener("input", filter);
  filter();
}

const compare = (column) => (first, second) => {
  const [a, b] = [first, second].map((row) => row.cells[column] ?? row.lastElementChild);
  const [x, y] = [a, b].map((cell) => parseFloat(cell.dataset.key ?? "Infinity"));
  return x === y ? a.textContent.localeCompare(b.textContent, "en") : x - y;
};
for (const table of all(".sortable")) {
  const heads = all("th[data-sort]", table);
  const bodies = all("tbody", table).map((body) => [body, all("tr:not(.group)", body)]);
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      for (const other of heads) other.removeAttribute("aria-sort");
      const now = { ascending: "descending", descending: "" }[was] ?? "ascending";
      if (now) head.setAttribute("aria-sort", now);
      for (const [body, rows] of bodies) {
        const sorted = now ? rows.toSorted(compare(head.cellIndex)) : rows;
        body.append(...(now === "descending" ? sorted.reverse() : sorted));
      }
    });
  }
}

for (const button of all(".download"))
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.parse(one("results").textContent)], { type: "application/json" }));
    link.download = "results.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });

const frames = all(".frame");
const reach = () => frames.forEach((frame) => (frame.tabIndex = frame.scrollWidth > frame.clientWidth ? 0 : -1));
addEventListener("resize", reach);
document.fonts.ready.then(reach);
