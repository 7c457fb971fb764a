"""The conformance kit for defenses."""

from qfl_sec.contracts import Defense
from qfl_sec.testing import behaviour, noise, privacy
from qfl_sec.testing.bench import Bench
from qfl_sec.testing.scorecard import Listener, Scorecard, make_checks, silent

BEHAVIOUR = {
    # The first two compare copies of this process in which the plug-in has not run yet.
    "determinism": behaviour.determinism,
    "no_hidden_state": behaviour.no_hidden_state,
    "shapes": behaviour.shapes,
    "finite": behaviour.finite,
    "inputs_unchanged": behaviour.inputs_unchanged,
    "switched_off": behaviour.switched_off,
    "signal": behaviour.signal,
    "isolation": behaviour.isolation,
    "empty_slots": behaviour.empty_slots,
    "no_truth": behaviour.no_truth,
    "honest_failure": behaviour.honest_failure,
}
NOISE = {
    "noise_coordinates": noise.noise_coordinates,
    "noise_steps": noise.noise_steps,
    "noise_clients": noise.noise_clients,
    "noise_level": noise.noise_level,
    "noise_shape": noise.noise_shape,
    "expected_gradient": noise.expected_gradient,
}
PRIVACY = {
    "clipping": privacy.clipping,
    "sensitivity": privacy.sensitivity,
    "guarantee": privacy.guarantee,
    "audit": privacy.audit,
}


def check_defense(defense: Defense, *, seed: int = 0, listen: Listener = silent) -> Scorecard:
    """Try a defense's hooks on a bench and hold its guarantees against what they do.

    Args:
        defense: With the parameters to check it at, not prepared.
        seed: Of everything that is drawn; the same seed gives the same scorecard.
        listen: Told each check before and after it is made.

    Returns:
        The scorecard; what the defense raises fails the check that it was raised in.
    """
    bench = Bench(defense, seed)
    measured = noise.Noise(bench)
    checks = (
        *make_checks(BEHAVIOUR.items(), bench, listen),
        *make_checks(NOISE.items(), measured, listen),
        *make_checks(PRIVACY.items(), privacy.Privacy(bench, measured), listen),
    )
    return Scorecard(plugin=type(defense).name, kind="defense", parameters=repr(defense), checks=checks)
