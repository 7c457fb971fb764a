"""An attack and a defense for qfl-sec, as a package of its own."""

from qfl_sec_example.gradient_alignment import GradientAlignment
from qfl_sec_example.keep_largest import KeepLargest

__all__ = ["GradientAlignment", "KeepLargest"]
