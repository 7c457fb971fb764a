"""Writes `clinics.csv`: what clinics might hold, made from the breast-cancer data that come with scikit-learn.

    python examples/make_clinics.py

It has what the bundled data have not: text labels, a column of categories, missing values, a number for each record.
The data: W. Wolberg, O. Mangasarian, N. Street, W. Street (1993), Breast Cancer Wisconsin (Diagnostic), UCI Machine
Learning Repository, doi 10.24432/C5DW2B, CC BY 4.0.
"""

import csv
import io
from pathlib import Path

from sklearn.datasets import load_breast_cancer

MEASURED = ("radius", "texture", "smoothness", "concavity", "symmetry")
"""Means over a biopsy's cell nuclei, to four digits."""

SIZES = ((450.0, "small"), (750.0, "medium"), (float("inf"), "large"))
"""Mean area of a nucleus up to which a biopsy counts as of this size."""

UNMEASURED = 9
"""Of so many records, one has no concavity."""


def clinics() -> str:
    """Return the text of the file."""
    bunch = load_breast_cancer()
    mean = {name: bunch.data[:, list(bunch.feature_names).index(f"mean {name}")] for name in (*MEASURED, "area")}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["biopsy", *MEASURED, "nuclei", "finding"])
    for number, target in enumerate(bunch.target):
        values = [f"{mean[name][number]:.4g}" for name in MEASURED]
        if number % UNMEASURED == 4:
            values[MEASURED.index("concavity")] = ""
        size = next(word for limit, word in SIZES if mean["area"][number] <= limit)
        writer.writerow([f"B{number:03d}", *values, size, bunch.target_names[target]])
    return text.getvalue()


if __name__ == "__main__":
    Path(__file__).with_name("clinics.csv").write_text(clinics(), encoding="utf-8")
