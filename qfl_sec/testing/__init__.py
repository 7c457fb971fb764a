"""The conformance kit: does a plug-in keep its contract, and does it do what it claims?

    from qfl_sec.testing import check_defense
    card = check_defense(MyDefense(strength=0.5))
    assert card.passed, card.text()

`check_defense`, `check_attack` and `check_protocol` check an object in this process; `verify` checks a file or a
registered name in a process of its own, under a time limit, as `qfl-sec verify-plugin` does.

| module         | job                                                                       |
|----------------|---------------------------------------------------------------------------|
| `scorecard`    | one line a check, as text and as plain values                             |
| `surroundings` | global random state, a truth within reach, copies of the process          |
| `bench`        | a small federation of drawn gradients, for the hooks of a defense         |
| `behaviour`    | how hooks behave: shapes, determinism, isolation, honest failure          |
| `noise`        | how much noise there is, and whether it is independent                    |
| `privacy`      | a guarantee against measured sensitivity, noise, and a membership game    |
| `defense`      | all of these for a defense                                                |
| `attack`       | small trainings for an attack, and its checks                             |
| `protocol`     | honest and attacked runs of a protocol, and its checks                    |
| `process`      | the kit in a process of its own, under a time limit                       |
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfl_sec.testing.attack import check_attack
    from qfl_sec.testing.defense import check_defense
    from qfl_sec.testing.process import verify
    from qfl_sec.testing.protocol import check_protocol
    from qfl_sec.testing.scorecard import Check, Scorecard

__all__ = ["Check", "Scorecard", "check_attack", "check_defense", "check_protocol", "verify"]

_HOMES = {
    "Check": "scorecard",
    "Scorecard": "scorecard",
    "check_attack": "attack",
    "check_defense": "defense",
    "check_protocol": "protocol",
    "verify": "process",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
