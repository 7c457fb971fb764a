"""One run of direct communication: the line between two parties, with an eavesdropper on it, block by block."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qfl_sec.protocol_contracts import AdversaryReport, Bits
from qfl_sec.protocols.bell_errors import PauliErrors, draw_errors
from qfl_sec.protocols.bell_pairs import Qubits
from qfl_sec.protocols.qsdc_discussion import Discussion


class AbortedError(Exception):
    """The parties stop; the message is the reason."""


@dataclass(kw_only=True)
class Block:
    """How far a block came; filled in step by step.

    Attributes:
        abort_reason: Why the parties stopped in it; None if they did not.
        pairs: Put on the channel.
        qubits: Put on the channel, both sequences.
        checks: Errors and samples of each check.
        rest: Pairs that were not sampled, by the check that left the fewest.
        estimated_secrecy_capacity: From the samples; None without.
        raw_errors: The auditor's count of wrong bits.
        raw_bits: Bits it compared.
    """

    abort_reason: str | None = None
    pairs: int = 0
    qubits: int = 0
    checks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rest: int = 0
    estimated_secrecy_capacity: float | None = None
    raw_errors: int = 0
    raw_bits: int = 0


class Exchange(ABC):
    """Carries messages and qubits between the parties of one run; knows no secret of theirs. Subclasses are final.

    Attributes:
        discussion: What was said in public.
    """

    discussion: Discussion

    def carry(self, frames: int) -> Block:
        """Carry the next block, of so many frames; it says why, if the parties stopped in it."""
        block = Block()
        try:
            self._carry(block, frames)
        except AbortedError as abort:
            block.abort_reason = str(abort)
        return block

    @abstractmethod
    def _carry(self, block: Block, frames: int) -> None:
        """Carry the next block and note in it what came of it.

        Raises:
            AbortedError: If the parties stop.
        """

    @abstractmethod
    def verify(self) -> Bits | None:
        """Let the sender announce the tag of the message, and return what the receiver accepts; None if it rejects."""

    @property
    @abstractmethod
    def frame_failures(self) -> int:
        """Frames so far that the receiver's error correction did not settle."""

    @abstractmethod
    def report(self, message_bits: int) -> AdversaryReport:
        """Return what the adversary holds of a message of this length."""


def disturb(qubits: Qubits, errors: PauliErrors, line: np.random.Generator) -> None:
    """Let the line cause errors on qubits."""
    qubits.apply(*draw_errors(errors, len(qubits), line))


def check_arrivals(arrived: int, needed: int) -> None:
    """Go on only with enough pairs.

    Raises:
        AbortedError: If too few arrived.
    """
    if arrived < needed:
        raise AbortedError(f"loss: {arrived} pairs arrived of {needed} needed")


def stop_for(reason: str | None) -> None:
    """Stop if there is a reason.

    Raises:
        AbortedError: With the reason.
    """
    if reason is not None:
        raise AbortedError(reason)
