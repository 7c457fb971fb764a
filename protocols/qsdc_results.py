"""How a run of direct communication ended."""

from collections.abc import Mapping
from dataclasses import dataclass

from qfl_sec.protocol_contracts import MessageResult
from qfl_sec.protocols.qsdc_checks import Count


@dataclass(frozen=True, kw_only=True)
class QsdcResult(MessageResult):
    """How a run of direct communication ended.

    Attributes:
        pairs: Entangled pairs put on the channel.
        checks: What each check found, by name.
        expected_check_error_rates: What each check finds on average by theory, the adversary's part included.
        sent_bits: Length of the message.
        raw_errors: Wrong bits among those measured on message positions, before error correction; the auditor's.
        raw_bits: Bits measured on message positions.
        capacity_bits_per_pair: By theory, at the expected errors, attack included.
        secrecy_capacity_bits_per_pair: Likewise, what is left of it in secret.
        estimated_secrecy_capacity_bits_per_pair: From the announced samples; None without a full set of them.
        frame_failures: Frames that error correction did not settle.
        message_matches: Whether the delivered message is the one that was sent; the auditor's.
    """

    pairs: int
    checks: Mapping[str, Count]
    expected_check_error_rates: Mapping[str, float]
    sent_bits: int
    raw_errors: int
    raw_bits: int
    capacity_bits_per_pair: float
    secrecy_capacity_bits_per_pair: float
    estimated_secrecy_capacity_bits_per_pair: float | None
    frame_failures: int
    message_matches: bool

    @property
    def check_error_rates(self) -> dict[str, float | None]:
        """The error rate that each check found."""
        return {name: count.rate for name, count in self.checks.items()}

    @property
    def error_rate(self) -> float | None:
        """The largest of them, symbols aside; None if there was no sample."""
        rates = [rate for name, rate in self.check_error_rates.items() if rate is not None and "symbol" not in name]
        return max(rates, default=None)

    @property
    def delivered_bits(self) -> int:
        """How many bits arrived: all, or none."""
        return 0 if self.delivered is None else len(self.delivered)

    @property
    def bit_error_rate(self) -> float | None:
        """The auditor's error rate of the bits as they were read, before correction; None if none were."""
        return self.raw_errors / self.raw_bits if self.raw_bits else None
