"""The navigation without the pages that are not there: some are written by programs, such as the gallery."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Drop what does not exist from the navigation, and say so."""
    folder = Path(config["docs_dir"])
    missing = [page for page in pages(config["nav"]) if not (folder / page).is_file()]
    if missing:
        print(f"Left out of the navigation, for there is no such file: {', '.join(missing)}")
    config["nav"] = without(config["nav"], missing)
    return config


def pages(nav: Any) -> list[str]:
    """Return every page of a navigation tree, in its order."""
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    return [page for child in children for page in pages(child)]


def without(nav: list[Any], missing: list[str]) -> list[Any]:
    """Return the tree without these pages, and without sections that are empty then."""
    kept: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, inside),) = entry.items()
            rest = without(inside if isinstance(inside, list) else [inside], missing)
            if rest:
                kept.append({title: rest if isinstance(inside, list) else rest[0]})
        elif entry not in missing:
            kept.append(entry)
    return kept
