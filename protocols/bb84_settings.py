"""Which settings BB84 accepts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qfl_sec.checking import InputError
from qfl_sec.protocols import adversaries, authentication
from qfl_sec.protocols.bb84_rates import check_intensities
from qfl_sec.protocols.channels import check_not_negative, check_positive, check_probability

if TYPE_CHECKING:
    from qfl_sec.protocols.bb84 import BB84

BRIGHTEST = 2.0
"""Largest mean photon number of a pulse that counts as weak."""

LEAST_CORRECTNESS = 1e-25
"""Smallest bound on unequal keys that the longest verification hash keeps, for keys of up to 10^15 bits."""

_PROBABILITIES = (
    "signal_probability",
    "decoy_probability",
    "misalignment_error",
    "depolarizing_probability",
    "dephasing_probability",
    "dark_count_probability",
    "after_pulse_probability",
    "detector_efficiency",
    "adversary_fraction",
)

_CHOICES: Mapping[str, tuple[object, ...]] = {
    "source": ("single_photon", "weak_coherent"),
    "reconciliation": ("original", "optimised"),
    "tag_bits": authentication.TAG_LENGTHS,
}


def check_settings(settings: "BB84") -> None:
    """Refuse settings for which the protocol, or a bound that it rests on, does not hold.

    Raises:
        InputError: If a value is out of its range; the message names it.
    """
    for name in ("pulses", "block_bits"):
        if getattr(settings, name) < 1:
            raise InputError(f"Expected {name}={getattr(settings, name)} >= 1.")
    check_not_negative(distance_km=settings.distance_km, loss_db_per_km=settings.loss_db_per_km)
    for name in _PROBABILITIES:
        check_probability(**{name: getattr(settings, name)})
    for name in ("key_basis_probability", "epsilon_correctness", "epsilon_secrecy"):
        if not 0 < getattr(settings, name) < 1:
            raise InputError(f"Expected 0 < {name}={getattr(settings, name)} < 1.")
    if settings.epsilon_correctness < LEAST_CORRECTNESS:
        raise InputError(
            f"Expected epsilon_correctness={settings.epsilon_correctness} >= {LEAST_CORRECTNESS:g}: no verification "
            "hash here errs less often."
        )
    for name, known in _CHOICES.items():
        if getattr(settings, name) not in known:
            raise InputError(f"Expected {name}={getattr(settings, name)!r} to be one of {', '.join(map(str, known))}.")
    if not 0 <= settings.qber_tolerance < 0.5:
        raise InputError(f"Expected 0 <= qber_tolerance={settings.qber_tolerance} < 0.5.")
    check_positive(mean_photon_number=settings.mean_photon_number, pulses_per_second=settings.pulses_per_second)
    if settings.source == "weak_coherent":
        _check_decoys(settings)
    adversaries.build(settings.adversary, fraction=settings.adversary_fraction)


def _check_decoys(settings: "BB84") -> None:
    check_intensities(
        settings.mean_photon_number, settings.decoy_mean_photon_number, settings.vacuum_mean_photon_number
    )
    if settings.mean_photon_number > BRIGHTEST:
        raise InputError(f"Expected mean_photon_number={settings.mean_photon_number} <= {BRIGHTEST:g}, a weak pulse.")
    signal, decoy = settings.signal_probability, settings.decoy_probability
    if not (signal > 0 and decoy > 0 and signal + decoy < 1):
        raise InputError(
            f"Expected signal_probability={signal} > 0, decoy_probability={decoy} > 0 and their sum < 1: the decoy "
            "bounds need all three intensities."
        )
