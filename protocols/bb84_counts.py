"""BB84 by counts: the exact probability of everything that can become of a pulse, and samples of how often each does.

The law of a pulse is computed once from the devices and the adversary's branches; a sample of any number of pulses is
then one multinomial draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qfl_sec.checking import InputError
from qfl_sec.protocols.adversary_contract import Adversary, PublicSetting
from qfl_sec.protocols.drawing import poisson_probabilities
from qfl_sec.protocols.pulses import MOST_PHOTONS

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many pulses ended how; whole numbers for a run or a sample, expectations otherwise.

    Attributes:
        counts: (3, 3, 3): signal, decoy, vacuum; both in Z, both in X, bases differ; no click, right bit, wrong bit.
        expected: Whether these are expectations, from which nothing follows about the security of a run.
    """

    counts: NDArray[np.int64] | Array
    expected: bool

    @property
    def pulses(self) -> float:
        """All of them."""
        return float(self.counts.sum())

    @property
    def detected(self) -> float:
        """Those that clicked."""
        return float(self.counts[:, :, 1:].sum())

    @property
    def sifted(self) -> float:
        """Those that clicked with equal bases."""
        return float(self.counts[:, :2, 1:].sum())

    @property
    def key_counts(self) -> Array:
        """Clicks in the key basis for each intensity, (3,)."""
        clicks: Array = self.counts[:, 0, 1:].sum(axis=-1).astype(float)
        return clicks

    @property
    def test_counts(self) -> Array:
        """Clicks in the test basis for each intensity, (3,)."""
        clicks: Array = self.counts[:, 1, 1:].sum(axis=-1).astype(float)
        return clicks

    @property
    def test_errors(self) -> Array:
        """Wrong bits in the test basis for each intensity, (3,)."""
        errors: Array = self.counts[:, 1, 2].astype(float)
        return errors

    @property
    def error_rate(self) -> float:
        """Of the test basis, which is what a run discloses; 0 if nothing was detected in it."""
        count = float(self.test_counts.sum())
        return float(self.test_errors.sum()) / count if count else 0.0

    @property
    def key_error_rate(self) -> float:
        """Of the key basis, which in a run only reconciliation tells; 0 if nothing was detected in it."""
        count = float(self.key_counts.sum())
        return float(self.counts[:, 0, 2].sum()) / count if count else 0.0

    def gains(self) -> Array:
        """Return the share of detected pulses of each intensity, (3,); 0 for one that was not sent."""
        sent = self.counts.sum(axis=(1, 2))
        shares: Array = self.counts[:, :, 1:].sum(axis=(1, 2)) / np.maximum(sent, np.finfo(float).tiny)
        return shares


def pulse_law(
    adversary: Adversary,
    setting: PublicSetting,
    table: Array,
    *,
    means: tuple[float, float, float] | None,
    intensity_probabilities: tuple[float, float, float],
    key_basis_probability: float,
    after_pulse_probability: float,
) -> Array:
    """Return the probabilities (3, 3, 3) of what becomes of a pulse, axes as in `Tally.counts`.

    Clicks of neighbouring gates are correlated by after-pulses; the law is of a single gate, averaged over the one
    before.

    Args:
        adversary: On the quantum channel.
        setting: What it knows of the devices.
        table: `detection_table`.
        means: Mean photon number of the three intensities; None for single photons.
        intensity_probabilities: Of signal, decoy and vacuum.
        key_basis_probability: Of each party.
        after_pulse_probability: Of the detectors.

    Raises:
        InputError: If the adversary offers no branches.
    """
    photons = _photon_laws(means)  # (3, 16)
    ends = _ends(adversary, setting, table, np.flatnonzero(photons.any(axis=0)))  # (16, 4 states, 2 bases, 3)
    p = key_basis_probability
    outcomes = np.empty((MOST_PHOTONS + 1, 3, 3))
    for basis in (0, 1):
        zero, one = ends[:, basis, basis], ends[:, basis + 2, basis]  # what was sent: bit 0, bit 1
        outcomes[:, basis] = (zero + one[:, [0, 2, 1]]) / 2
    outcomes[:, 2] = (ends[:, [0, 2], 1] + ends[:, [1, 3], 0]).mean(axis=1) / 2
    outcomes[:, 2, 1:] = outcomes[:, 2, 1:].mean(axis=-1, keepdims=True)  # over Alice's bit, right and wrong are alike
    bases = np.array([p * p, (1 - p) ** 2, 2 * p * (1 - p)])
    law = np.einsum("i,in,b,nbo->ibo", intensity_probabilities, photons, bases, outcomes)
    return _after_pulsed(law, after_pulse_probability)


def sample_tally(law: Array, pulses: int, rng: np.random.Generator) -> Tally:
    """Return a sample of what becomes of this many pulses; its cost does not depend on their number."""
    drawn = rng.multinomial(pulses, law.ravel() / law.sum())
    return Tally(counts=drawn.reshape(law.shape), expected=False)


def expected_tally(law: Array, pulses: int) -> Tally:
    """Return the expectations for this many pulses: no security statement about a run."""
    return Tally(counts=law * pulses, expected=True)


def _photon_laws(means: tuple[float, float, float] | None) -> Array:
    """Return the distribution of photon numbers (3, 16) of each intensity."""
    if means is None:
        return np.tile(np.eye(MOST_PHOTONS + 1)[1], (3, 1))
    return np.stack([poisson_probabilities(mean, MOST_PHOTONS) for mean in means])


def _ends(adversary: Adversary, setting: PublicSetting, table: Array, present: NDArray[np.intp]) -> Array:
    """Return what the receiver says (16, 4, 2, 3) for each photon number and state sent, in each basis."""
    ends = np.zeros((MOST_PHOTONS + 1, 4, 2, 3))
    for count in present:
        for state in range(4):
            branches = adversary.branches(2 * state, int(count), setting)
            if branches is None:
                raise InputError(f"adversary={adversary.name!r} tells no branches: no exact law. Simulate every pulse.")
            for branch in branches:
                row = table[int(branch.delivered), min(branch.photons, MOST_PHOTONS), branch.polarization]
                ends[count, state] += branch.probability * row
    return ends


def _after_pulsed(law: Array, after_pulse_probability: float) -> Array:
    """Return the law with a click in a random detector added, as often as one follows a click in the gate before."""
    extra = law[..., 1:].sum() * after_pulse_probability
    none, right, wrong = law[..., 0], law[..., 1], law[..., 2]
    # A second click in the other detector leaves a random bit.
    added = [np.zeros_like(none), none / 2 + right * 0.75 + wrong * 0.25, none / 2 + wrong * 0.75 + right * 0.25]
    result: Array = (1 - extra) * law + extra * np.stack(added, axis=-1)
    return result
