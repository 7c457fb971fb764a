"""The defenses of qfl-sec, imported as `qfl_sec.defenses`. One method a file; each is registered under its name.

| module | name     | what it does                                                                     |
|--------|----------|----------------------------------------------------------------------------------|
| none   | `none`   | nothing: updates leave as they are                                               |
| dp_sgd | `dp_sgd` | clips each record's gradient and adds Gaussian noise: record-level privacy       |

A defense of your own subclasses `Defense`: a frozen dataclass whose fields are its parameters, with the hooks it needs.
"""

if __name__ != "qfl_sec.defenses":
    raise ImportError(
        "Import this folder as qfl_sec.defenses: a plain 'import defenses' would load a second copy of every class."
    )

from qfl_sec.contracts import Defense, Guarantee, MechanismEvidence, PremiseCheck, Setup
from qfl_sec.defenses.dp_sgd import DpSgd
from qfl_sec.defenses.none import NoDefense

__all__ = ["Defense", "DpSgd", "Guarantee", "MechanismEvidence", "NoDefense", "PremiseCheck", "Setup"]
