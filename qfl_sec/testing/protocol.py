"""The conformance kit for protocols: honest runs and attacked ones, and what a protocol must do in them."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import (
    ComputationResult,
    DelegatedComputation,
    KeyResult,
    KeySource,
    MessageCarrier,
    MessageResult,
    ProtocolResult,
)
from qfl_sec.randomness import Streams
from qfl_sec.testing.scorecard import Finding, Listener, Scorecard, SkippedError, make_checks, silent
from qfl_sec.testing.surroundings import digest, global_seed, in_a_copy

MESSAGE_BITS = 500
"""Length of the message on the bench, no round number of anything."""

SHORTEST_SECRET = 32
"""Arrays shorter than this may agree with a secret by chance; longer ones do so with probability 2^-32 at most."""


Protocol = KeySource | MessageCarrier | DelegatedComputation


@dataclass(frozen=True)
class ProtocolBench:
    """A protocol on the bench.

    Attributes:
        protocol: As its author built it.
        seed: Of everything that is drawn.
    """

    protocol: Protocol
    seed: int = 0

    @property
    def message(self) -> NDArray[np.uint8]:
        """What a carrier has to carry."""
        return Streams(self.seed).numpy("conformance message").integers(0, 2, MESSAGE_BITS, np.uint8)

    def against(self, adversary: str, fraction: float = 1.0) -> Any:
        """Return the protocol with this adversary.

        Raises:
            SkippedError: If it has no parameter for that.
        """
        names = {one.name for one in fields(self.protocol)}  # type: ignore[arg-type]
        if "adversary" not in names:
            raise SkippedError("It has no parameter adversary, so that nobody can be put on its line.")
        share = {"adversary_fraction": fraction} if "adversary_fraction" in names else {}
        if fraction != 1 and not share:
            raise SkippedError("It has no parameter adversary_fraction.")
        return replace(self.protocol, adversary=adversary, **share)  # type: ignore[type-var]

    def quiet(self) -> Any:
        """Return the protocol with nobody on the line."""
        try:
            return self.against("none")
        except SkippedError:
            return self.protocol

    def run(self, protocol: Protocol, streams: Streams | None = None) -> ProtocolResult:
        """Run a protocol on the bench's streams, or others."""
        streams = streams or Streams(self.seed)
        if isinstance(protocol, KeySource):
            return protocol.distribute(streams)
        if isinstance(protocol, DelegatedComputation):
            return protocol.compute(streams)
        return protocol.send(self.message, streams)

    @cached_property
    def honest(self) -> ProtocolResult:
        """The run without an adversary."""
        return self.run(self.quiet())

    @cached_property
    def attacked(self) -> ProtocolResult:
        """The run in which every signal is intercepted and resent."""
        return self.run(self.against("intercept_resend"))


def _secrets(result: ProtocolResult) -> list[NDArray[np.uint8]]:
    """Return what only the honest parties may hold."""
    if isinstance(result, KeyResult):
        return [result.alice_key, result.bob_key]
    found = None
    if isinstance(result, MessageResult | ComputationResult):
        found = result.delivered if isinstance(result, MessageResult) else result.output
    return [] if found is None else [found]


def _content(result: ProtocolResult) -> bytes:
    """Return a hash of a result, arrays included."""
    held = {name: (str(one.dtype), one.tobytes()) for name, one in sorted(result.adversary.held.items())}
    secrets = [(str(one.dtype), one.tobytes()) for one in _secrets(result)]
    return digest([secrets, held, result.abort_reason or "", result.cost, result.adversary.information or 0.0])


def determinism(bench: ProtocolBench) -> Finding:
    """Two copies of this process, with other global seeds, must give the same result from the same streams."""

    def run(seed: int) -> bytes:
        with global_seed(seed):
            return _content(bench.run(bench.protocol))

    same = in_a_copy(lambda: run(1)) == in_a_copy(lambda: run(2))
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} results in two processes",
        expected="equal results",
        reason="The same seed gives the same run."
        if same
        else "It draws from something else than the streams it is handed. Use those alone.",
    )


def delivers(bench: ProtocolBench) -> Finding:
    """Without an adversary both parties must end with the same bits, and a client with the results of its circuit."""
    result, computes = bench.honest, isinstance(bench.protocol, DelegatedComputation)
    trouble = _trouble(bench, result)
    return Finding(
        passed=not trouble,
        measured=trouble or f"{_secrets(result)[0].size} {'results' if computes else 'equal bits'}",
        expected=_expected(bench.protocol),
        reason="What was to be shared is not, though nobody is on the line. Mend it, or check it where it works."
        if trouble
        else "The client holds its results."
        if computes
        else "Both parties hold the same bits.",
    )


def _expected(protocol: Protocol) -> str:
    if isinstance(protocol, DelegatedComputation):
        return "results"
    return "equal keys that are not empty" if isinstance(protocol, KeySource) else "the message"


def _trouble(bench: ProtocolBench, result: ProtocolResult) -> str:
    if result.aborted:
        return f"aborted: {result.abort_reason}"
    if isinstance(result, KeyResult):
        if not len(result.alice_key):
            return "an empty key without an abort"
        return "" if np.array_equal(result.alice_key, result.bob_key) else "Alice's and Bob's keys differ"
    if isinstance(result, MessageResult) and result.delivered is not None:
        return "" if np.array_equal(result.delivered, bench.message) else "the delivered message is another one"
    if isinstance(result, ComputationResult) and result.output is not None and len(result.output):
        return ""
    return "nothing delivered, and no abort"


def fresh_keys(bench: ProtocolBench) -> Finding:
    """Another seed must give another key."""
    if not isinstance(bench.protocol, KeySource):
        raise SkippedError("It is no source of keys.")
    other = bench.run(bench.quiet(), Streams(bench.seed + 1))
    keys = [one.alice_key for one in (bench.honest, other) if isinstance(one, KeyResult)]
    length = min(map(len, keys))
    if length < SHORTEST_SECRET:
        raise SkippedError(f"A key of {length} bits is too short to tell.")
    same = bool(np.array_equal(keys[0][:length], keys[1][:length]))
    return Finding(
        passed=not same,
        measured=f"{'equal' if same else 'different'} keys of two seeds",
        expected="different keys",
        reason="The key does not depend on the seed: it is no secret." if same else "Each seed gives a key of its own.",
    )


def aborts(bench: ProtocolBench) -> Finding:
    """An adversary who intercepts and resends everything must be noticed, and nothing handed out."""
    result = bench.attacked
    left = sum(map(len, _secrets(result)))
    passed = result.aborted and bool((result.abort_reason or "").strip()) and not left
    return Finding(
        passed=passed,
        measured=f"{'aborted' if result.aborted else 'no abort'}, {left} bits handed out",
        expected="an abort with a reason, and no bits",
        reason="An adversary who intercepts everything is noticed."
        if passed
        else "An adversary who intercepts everything goes unnoticed, or bits are handed out all the same.",
    )


def secrets_kept(bench: ProtocolBench) -> Finding:
    """What the adversary is said to hold must not be the honest parties' secret."""
    results = [bench.honest, *(bench.run(one) for one in _lightly_attacked(bench))]
    found = [name for result in results for name in _copied_secrets(bench, result)]
    return Finding(
        passed=not found,
        measured=f"{found[0]} is the secret" if found else "no array is the secret",
        expected="no array is the secret",
        reason="The adversary is handed what only the parties know. Report what it really obtained."
        if found
        else "The adversary holds nothing that it could not have obtained.",
    )


def _lightly_attacked(bench: ProtocolBench) -> Iterator[Any]:
    try:
        yield bench.against("intercept_resend", 0.05)
    except SkippedError:
        return


def _copied_secrets(bench: ProtocolBench, result: ProtocolResult) -> Iterator[str]:
    secrets = [*_secrets(result), *([bench.message] if isinstance(bench.protocol, MessageCarrier) else [])]
    for name, held in result.adversary.held.items():
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET and np.array_equal(np.asarray(held).ravel()[: len(secret)], secret):
                yield name
                break


def numbers(bench: ProtocolBench) -> Finding:
    """Figures must be finite and not negative."""
    results = {"honest": bench.honest}
    with contextlib.suppress(SkippedError):
        results["attacked"] = bench.attacked
    bad = [f"{case} {name} = {value}" for case, one in results.items() for name, value in _figures(one) if _bad(value)]
    return Finding(
        passed=not bad,
        measured=bad[0] if bad else "all finite and at least 0",
        expected="finite figures, at least 0",
        reason="A figure is negative or not finite." if bad else "Every figure is finite and not negative.",
    )


def _figures(result: ProtocolResult) -> Iterator[tuple[str, Any]]:
    yield from vars(result.cost).items()
    yield "information", result.adversary.information
    yield from ((name, value) for name, value in vars(result).items() if isinstance(value, int | float))
    for name, values in result.adversary.held.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"held {name}", math.nan


def _bad(value: Any) -> bool:
    return value is not None and not (math.isfinite(value) and value >= 0)


def cost_counted(bench: ProtocolBench) -> Finding:
    """A run must say what it cost."""
    cost = bench.honest.cost
    missing = [name for name in ("qubits", "classical_bits", "attempts") if getattr(cost, name) <= 0]
    return Finding(
        passed=not missing,
        measured=f"no {', no '.join(missing)}" if missing else f"{cost.qubits} qubits, {cost.classical_bits} bits",
        expected="qubits, classical bits and attempts counted",
        reason="A run that sends nothing, or announces nothing, shares nothing: count what it uses up."
        if missing
        else "What a run uses up is counted.",
    )


class _Listening(Streams):
    """Streams that note which roles ask for one."""

    def sequence(self, role: str) -> np.random.SeedSequence:
        """Return the seed sequence of a role."""
        self.__dict__.setdefault("roles", []).append(role)
        return super().sequence(role)


def streams(bench: ProtocolBench) -> Finding:
    """Each role must draw from a stream of its own: an adversary who touches nothing changes nothing."""
    listening = _Listening(bench.seed)
    first = bench.run(bench.quiet(), listening)
    roles = list(dict.fromkeys(listening.__dict__.get("roles", [])))
    idle = bench.run(bench.against("intercept_resend", 0.0))
    same = [one.tobytes() for one in _secrets(first)] == [one.tobytes() for one in _secrets(idle)]
    passed = same and len(roles) > 1
    return Finding(
        passed=passed,
        measured=f"{len(roles)} roles; {'equal' if same else 'different'} bits with an idle adversary",
        expected="several roles, and equal bits",
        reason="Each role draws from a stream of its own."
        if passed
        else "Adding an adversary changes what the honest parties draw, or all draw from one stream. Ask for a stream "
        "by each role's name.",
    )


CHECKS = {
    "determinism": determinism,
    "delivers": delivers,
    "fresh_keys": fresh_keys,
    "aborts": aborts,
    "secrets_kept": secrets_kept,
    "numbers": numbers,
    "cost_counted": cost_counted,
    "streams": streams,
}


def check_protocol(protocol: Protocol, *, seed: int = 0, listen: Listener = silent) -> Scorecard:
    """Run a protocol with and without an adversary, and check how it ends.

    Args:
        protocol: With the parameters to check it at, at which an honest run should not abort.
        seed: Of everything that is drawn; the same seed gives the same scorecard.
        listen: Told each check before and after it is made.

    Returns:
        The scorecard; what the protocol raises fails the check that it was raised in.
    """
    bench = ProtocolBench(protocol, seed)
    checks = make_checks(CHECKS.items(), bench, listen)
    return Scorecard(plugin=protocol.name, kind="protocol", parameters=repr(protocol), checks=checks, false_alarm=0.0)
