"""BB84: keys from single photons or weak pulses with decoy states, against an adversary on the channel.

Three layers agree: every pulse and message (`BB84.distribute`), counts alone (`BB84.sample_counts`), and exact
probabilities (`BB84.law`, and closed forms in `bb84_rates`).

Reference: Bennett and Brassard 1984, doi:10.1016/j.tcs.2014.05.025; the asymmetric form, Z for the key and X for the
test, Lo, Chau and Ardehali 2005, arXiv quant-ph/0011056.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import KeySource
from qfl_sec.protocols import adversaries
from qfl_sec.protocols.adversary_contract import Adversary, PublicSetting
from qfl_sec.protocols.bb84_conclusion import Authentication, authenticated, summarise
from qfl_sec.protocols.bb84_counts import Array, Tally, expected_tally, pulse_law, sample_tally
from qfl_sec.protocols.bb84_distillation import Terms, distil
from qfl_sec.protocols.bb84_parties import Alice, Bob, Source
from qfl_sec.protocols.bb84_results import BB84Result, ExpectedLength
from qfl_sec.protocols.bb84_session import Listener, Session, exchange
from qfl_sec.protocols.bb84_settings import check_settings
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.channels import Detectors, fibre_transmittance
from qfl_sec.protocols.drawing import ByteTable
from qfl_sec.protocols.finite_key import TYPICAL_EFFICIENCY
from qfl_sec.protocols.pulses import detection_table
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class BB84(KeySource):
    """BB84: two parties get equal secret bits from single photons or weak pulses, or notice that they cannot.

    Attributes:
        pulses: To be sent.
        source: Single photons, or weak coherent pulses with vacuum and weak decoy states.
        mean_photon_number: Of a signal pulse; for weak pulses only.
        decoy_mean_photon_number: Of a decoy pulse.
        vacuum_mean_photon_number: Of the weakest pulse.
        signal_probability: Share of signal pulses.
        decoy_probability: Share of decoy pulses; the rest are vacuum.
        distance_km: Length of the fibre.
        loss_db_per_km: Of the fibre.
        misalignment_error: Probability that a photon reaches the wrong detector.
        depolarizing_probability: That the fibre replaces a photon's state by I/2.
        dephasing_probability: That the fibre applies Z, which turns bits of the test basis around.
        dark_count_probability: Of each of the two detectors, per pulse.
        after_pulse_probability: That a click causes another in the next gate.
        detector_efficiency: Probability that a photon which arrives is detected.
        key_basis_probability: Of Z, in which the key is sent, at both parties; 1/2 for unbiased bases.
        qber_tolerance: Highest error rate of the test basis at which the parties go on.
        epsilon_correctness: Bound on unequal keys.
        epsilon_secrecy: Bound on the distance from a secret key.
        reconciliation: Schedule of Cascade.
        block_bits: Bits reconciled at a time.
        authenticated: Whether what is said in public is authenticated, with a key from before.
        tag_bits: Of each of the two tags.
        pulses_per_second: Of the source; for the modelled time.
        adversary: Its name.
        adversary_fraction: Share of the pulses that it attacks.

    Raises:
        ValueError: If a value is out of its range.
    """

    name: ClassVar[str] = "bb84"

    pulses: int = 1_000_000
    source: Literal["single_photon", "weak_coherent"] = "single_photon"
    mean_photon_number: float = 0.5
    decoy_mean_photon_number: float = 0.2
    vacuum_mean_photon_number: float = 0.0
    signal_probability: float = 0.4
    decoy_probability: float = 0.45
    distance_km: float = 0.0
    loss_db_per_km: float = 0.2
    misalignment_error: float = 0.0
    depolarizing_probability: float = 0.0
    dephasing_probability: float = 0.0
    dark_count_probability: float = 0.0
    after_pulse_probability: float = 0.0
    detector_efficiency: float = 1.0
    key_basis_probability: float = 0.5
    qber_tolerance: float = 0.05
    epsilon_correctness: float = 1e-10
    epsilon_secrecy: float = 1e-10
    reconciliation: Literal["original", "optimised"] = "optimised"
    block_bits: int = 1_000_000
    authenticated: bool = True
    tag_bits: int = 64
    pulses_per_second: float = 1e9
    adversary: str = "none"
    adversary_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self)

    @cached_property
    def eve(self) -> Adversary:
        """The adversary of this name."""
        return adversaries.build(self.adversary, fraction=self.adversary_fraction)

    @cached_property
    def _table(self) -> Array:
        """What becomes of a pulse between Alice's door and Bob's announcement."""
        return detection_table(
            Detectors(
                efficiency=self.detector_efficiency,
                dark_count_probability=self.dark_count_probability,
                misalignment_error=self.misalignment_error,
            ),
            transmittance=fibre_transmittance(self.distance_km, self.loss_db_per_km),
            depolarizing=self.depolarizing_probability,
            dephasing=self.dephasing_probability,
        )

    @property
    def public_setting(self) -> PublicSetting:
        """What an adversary knows of the devices."""
        return PublicSetting(
            mean_photon_number=self.mean_photon_number if self.means else None,
            transmittance=fibre_transmittance(self.distance_km, self.loss_db_per_km) * self.detector_efficiency,
        )

    @property
    def authentication_bits(self) -> int:
        """Key that the tags of a run use up, one each way."""
        return 2 * self.tag_bits if self.authenticated else 0

    @property
    def means(self) -> tuple[float, float, float] | None:
        """Mean photon numbers of signal, decoy and vacuum; None for single photons."""
        if self.source == "single_photon":
            return None
        return self.mean_photon_number, self.decoy_mean_photon_number, self.vacuum_mean_photon_number

    @property
    def intensity_probabilities(self) -> tuple[float, float, float]:
        """Shares of the three."""
        if self.source == "single_photon":
            return 1.0, 0.0, 0.0
        vacuum = 1 - self.signal_probability - self.decoy_probability
        return self.signal_probability, self.decoy_probability, vacuum

    @property
    def terms(self) -> Terms:
        """What the parties have agreed upon."""
        return Terms(
            means=self.means,
            intensity_probabilities=self.intensity_probabilities,
            qber_tolerance=self.qber_tolerance,
            epsilon_correctness=self.epsilon_correctness,
            epsilon_secrecy=self.epsilon_secrecy,
            schedule=self.reconciliation,
            block_bits=self.block_bits,
        )

    @cached_property
    def law(self) -> Array:
        """The exact probabilities (3, 3, 3) of what becomes of a pulse, axes as in `Tally.counts`.

        Raises:
            InputError: If the adversary is a plug-in without branches.
        """
        return pulse_law(
            self.eve,
            self.public_setting,
            self._table,
            means=self.means,
            intensity_probabilities=self.intensity_probabilities,
            key_basis_probability=self.key_basis_probability,
            after_pulse_probability=self.after_pulse_probability,
        )

    def sample_counts(self, streams: Streams) -> Tally:
        """Return a sample of the counts of a run, at a cost that does not depend on the number of pulses."""
        return sample_tally(self.law, self.pulses, streams.numpy("bb84 counts"))

    def expected_length(self, *, efficiency: float = TYPICAL_EFFICIENCY) -> ExpectedLength:
        """Return the key length at expected counts: no security statement about a run.

        Args:
            efficiency: Of reconciliation, f >= 1.

        Raises:
            InputError: If it is less, or the adversary is a plug-in without branches.
        """
        if not efficiency >= 1:
            raise InputError(f"Expected efficiency={efficiency} >= 1.")
        tally = expected_tally(self.law, self.pulses)
        counts = tally.test_counts
        if tally.error_rate > self.qber_tolerance or min(tally.key_counts.sum(), counts.sum()) < 1:
            return ExpectedLength(secret_bits=0, tally=tally)
        leak = efficiency * float(tally.key_counts.sum()) * binary_entropy(min(0.5, tally.key_error_rate))
        length = self.terms.length(
            tally.key_counts.tolist(), counts.tolist(), tally.test_errors.tolist(), leak_bits=leak
        )
        return ExpectedLength(secret_bits=length, tally=tally)

    def exchange(self, streams: Streams) -> tuple[Session, ...]:
        """Send all pulses and sift; with a man in the middle there are two sessions, Alice's and Bob's with him."""
        if not self.eve.impersonates:
            listener = Listener(self.eve, self.public_setting, streams.numpy("eve"))
            return (exchange(self._alice(streams, ""), listener, self._bob(streams, ""), self.pulses),)
        nobody = [Listener(self.eve, self.public_setting, streams.numpy(f"eve {side}")) for side in "ab"]
        return (
            exchange(self._alice(streams, ""), nobody[0], self._bob(streams, "eve "), self.pulses),
            exchange(self._alice(streams, "eve "), nobody[1], self._bob(streams, ""), self.pulses),
        )

    def _alice(self, streams: Streams, who: str) -> Alice:
        rng = streams.numpy(f"{who}alice")
        choices, nature = streams.numpy(f"{who}alice intensities"), streams.numpy("source")
        source = Source(self.means, self.intensity_probabilities, choices, nature)
        return Alice(source, self.key_basis_probability, rng, streams.numpy(f"{who}channel"))

    def _bob(self, streams: Streams, who: str) -> Bob:
        return Bob(
            ByteTable(self._table.reshape(-1, 3)),
            self.after_pulse_probability,
            self.key_basis_probability,
            streams.numpy(f"{who}bob"),
            streams.numpy(f"{who}detectors"),
        )

    def distribute(self, streams: Streams) -> BB84Result:
        """Run once, pulse by pulse, to equal keys or an abort."""
        return self.conclude(self.exchange(streams), streams)

    def conclude(self, sessions: tuple[Session, ...], streams: Streams) -> BB84Result:
        """Distil the sifted bits of `exchange`, authenticate, and sum up."""
        distilled = [
            distil(session, self.terms, streams, reserved_bits=self.authentication_bits, role=role)
            for session, role in zip(sessions, ("alice", "eve alice"), strict=False)
        ]
        reason = next((one.abort_reason for one in distilled if one.abort_reason), None)
        if reason is None and self.authenticated:
            return summarise(self, sessions, distilled, authenticated(sessions, streams, tag_bits=self.tag_bits))
        return summarise(self, sessions, distilled, Authentication(abort_reason=reason))
