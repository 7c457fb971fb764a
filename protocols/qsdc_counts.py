"""What checks and auditor would count in a run of direct communication, drawn at once instead of pair by pair."""

import numpy as np

from qfl_sec.protocols.qsdc import DirectCarrier


def sample_counts(
    carrier: DirectCarrier, *, samples: int, message_pairs: int, generator: np.random.Generator
) -> dict[str, tuple[int, int]]:
    """Return errors and trials of each check, and of the message's raw bits under "message".

    The cost does not depend on the numbers of pairs.

    Args:
        carrier: With its line and its adversary.
        samples: Pairs that each check measures.
        message_pairs: Encoded pairs that are measured.
        generator: Of the counts.
    """
    errors = carrier.transmission_errors().ravel()  # none, phase, bit, both
    found: dict[str, tuple[int, int]] = {}
    for name, rate in carrier.expected_check_errors().items():
        if name.startswith("check_2"):
            continue
        in_z = found.get(name.removesuffix("x") + "z")
        trials = samples - in_z[1] if in_z else int(generator.binomial(samples, 0.5))
        found[name] = int(generator.binomial(trials, rate)), trials
    if "check_1_z" in found:
        none, phase, bit, both = (int(one) for one in generator.multinomial(samples, errors))
        wrong = {"bit": bit + both, "phase": phase + both, "symbol": samples - none}
        found |= {f"check_2_{name}": (count, samples) for name, count in wrong.items()}
    _, phase, bit, both = (int(one) for one in generator.multinomial(message_pairs, errors))
    return found | {"message": (phase + bit + 2 * both, 2 * message_pairs)}
