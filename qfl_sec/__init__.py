"""qfl-sec: the security and privacy evaluation workbench for quantum federated learning.

    from qfl_sec import Experiment, audit
    results = audit(Experiment())

The names below load what they need when they are first used; `import qfl_sec` alone loads neither torch nor pennylane.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfl_sec.experiment import Experiment
    from qfl_sec.workbench import audit

__version__ = "0.1.0"

__all__ = ["Experiment", "__version__", "audit"]

_HOMES = {"Experiment": "qfl_sec.experiment", "audit": "qfl_sec.workbench"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
