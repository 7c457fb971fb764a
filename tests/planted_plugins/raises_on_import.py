"""Raises when it is imported."""

from qfl_sec.defenses import Defense

raise RuntimeError(f"no {Defense.__name__} here")
