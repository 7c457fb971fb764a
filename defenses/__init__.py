"""The defenses of qfl-sec, imported as `qfl_sec.defenses`. One method a file; each is registered under its name.

| name                 | what it does                                                                       |
|----------------------|------------------------------------------------------------------------------------|
| `none`               | nothing: updates leave as they are                                                 |
| `dp_sgd`             | clips each record's gradient and adds Gaussian noise: record-level privacy         |
| `gaussian_noise`     | clips each update and adds Gaussian noise: client-level privacy                    |
| `laplace_noise`      | the same by the L1 norm and Laplace noise                                          |
| `gradient_pruning`   | sends the largest coordinates of each update alone; no formal guarantee            |
| `secure_aggregation` | masks that cancel in the sum: the server sees no single update; no formal guarantee |
| `anonymous_forwarding` | updates come through clients who shuffle them, without a name; no formal guarantee |

A module bears the name of its defense. `noisy_updates` is shared by the two that add noise to updates; `stack`
combines several; `fixed_point` and `pairwise_masks` are the parts of secure aggregation, `onion` is that of anonymous
forwarding.

A defense of your own subclasses `Defense`: a frozen dataclass whose fields are its parameters, with the hooks it needs.
"""

if __name__ != "qfl_sec.defenses":
    raise ImportError(
        "Import this folder as qfl_sec.defenses: a plain 'import defenses' would load a second copy of every class."
    )

from qfl_sec.contracts import Defense, Guarantee, MechanismEvidence, PremiseCheck, Setup
from qfl_sec.defenses.anonymous_forwarding import AnonymousForwarding
from qfl_sec.defenses.dp_sgd import DpSgd
from qfl_sec.defenses.gaussian_noise import GaussianNoise
from qfl_sec.defenses.gradient_pruning import GradientPruning
from qfl_sec.defenses.laplace_noise import LaplaceNoise
from qfl_sec.defenses.none import NoDefense
from qfl_sec.defenses.secure_aggregation import SecureAggregation
from qfl_sec.defenses.stack import Stack

__all__ = [
    "AnonymousForwarding",
    "Defense",
    "DpSgd",
    "GaussianNoise",
    "GradientPruning",
    "Guarantee",
    "LaplaceNoise",
    "MechanismEvidence",
    "NoDefense",
    "PremiseCheck",
    "SecureAggregation",
    "Setup",
    "Stack",
]
