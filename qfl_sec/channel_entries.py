"""What a channel took, leaked and lost, as `results.json` tells it: one entry a variant and setting."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from qfl_sec.channel import ChannelSpec, Link
from qfl_sec.checking import InputError
from qfl_sec.evidence import Evidence
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.protocol_contracts import KeySource, MessageCarrier
from qfl_sec.protocol_results import Abort, ChannelEntry, ChannelKind, Spread
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.qsdc import DirectCarrier


def channel_entries(evidence: Evidence, variant: str, experiment: Experiment) -> Iterable[ChannelEntry]:
    """Yield what the channel did at each setting of a variant; nothing for a plain channel that nobody taps.

    Args:
        evidence: What the runs left.
        variant: Its id.
        experiment: At this point of the sweep.
    """
    for defense in experiment.defenses:
        setting = setting_id(defense)
        links = [link for trained in evidence.trainings(variant, setting) for link in trained.metadata.links]
        if links:
            yield summarise(links, experiment.channel, variant=variant, setting=setting)


def summarise(links: Sequence[Link], spec: ChannelSpec, *, variant: str, setting: str) -> ChannelEntry:
    """Sum up the links of all trainings of one setting.

    Runs that give two clients a key for their masks count among costs and in epsilon, but are no messages.

    Args:
        links: At least one.
        spec: The channel.
        variant: Id of the variant.
        setting: Id of the setting.
    """
    messages = [link for link in links if link.peer is None]
    pairs = [link for link in links if link.peer is not None]
    arrived = [link for link in messages if link.abort_reason is None]
    bounds = [link.epsilon for link in links if link.epsilon is not None]
    return ChannelEntry(
        variant=variant,
        setting=setting,
        name=spec.name,
        kind=_kind(spec),
        attack=str(getattr(spec, "adversary", "none")),
        attacked_fraction=_fraction(spec),
        distance_km=_optional(spec, "distance_km"),
        authenticated=_is_authenticated(spec),
        messages=len(messages),
        delivered=len(arrived),
        aborts=_aborts(messages),
        pairs=len(pairs),
        pair_aborts=_aborts(pairs),
        ciphers=dict(sorted(Counter(link.cipher for link in arrived).items())),
        needed_bits=spread([link.needed_bits for link in messages]),
        secret_bits=spread([link.secret_bits for link in messages]),
        expected_secret_bits=_expected_secret_bits(spec),
        error_rate=spread([link.error_rate for link in messages if link.error_rate is not None]),
        expected_error_rate=_expected_error_rate(spec),
        leaked_bits=sum(link.leaked_bits for link in messages),
        leaking=sum(link.leaked_bits > 0 for link in messages),
        qubits=sum(link.qubits for link in links),
        classical_bits=sum(link.classical_bits for link in links),
        seconds=float(sum(link.seconds for link in links)),
        epsilon=min(1.0, sum(bounds)) if bounds else None,
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Return least, median and greatest of some numbers; None of none.

    Example:
        >>> spread([3, 1, 2, 10])
        Spread(least=1.0, median=2.5, most=10.0)
    """
    return Spread(least=float(min(values)), median=float(median(values)), most=float(max(values))) if values else None


def abort_kind(reason: str) -> str:
    """Return what stopped a run, without the figures that differ from run to run.

    Example:
        >>> abort_kind("check 1: error rate 0.2355 of check_1_z is above 0.11")
        'check 1'
        >>> abort_kind("error rate 0.2516 of 12400 test bits above the tolerance 0.05")
        'error rate'
    """
    return re.split(r"(?<!\bcheck)\s\d", reason.partition(":")[0])[0]


def _aborts(links: Iterable[Link]) -> tuple[Abort, ...]:
    """Return each kind of abort, the most frequent first, with the first of its reasons in full."""
    found: dict[str, list[str]] = {}
    for link in links:
        if link.abort_reason is not None:
            found.setdefault(abort_kind(link.abort_reason), []).append(link.abort_reason)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Abort(reason=kind, count=len(reasons), example=reasons[0]) for kind, reasons in ordered)


def _kind(spec: ChannelSpec) -> ChannelKind:
    if isinstance(spec, KeySource):
        return "key"
    return "direct" if isinstance(spec, MessageCarrier) else "plain"


def _is_authenticated(spec: ChannelSpec) -> bool:
    """Return whether the parties know with whom they speak; the contract of carriers takes it for granted."""
    return spec.authenticated if isinstance(spec, KeySource) else isinstance(spec, MessageCarrier)


def _optional(spec: ChannelSpec, name: str) -> float | None:
    """Return a number that not every protocol has a field for."""
    value = getattr(spec, name, None)
    return None if value is None else float(value)


def _fraction(spec: ChannelSpec) -> float:
    """Return the share of signals that the adversary attacks: none without one, all where the protocol has no share."""
    if getattr(spec, "adversary", "none") == "none":
        return 0.0
    given = _optional(spec, "adversary_fraction")
    return 1.0 if given is None else given


def _expected_error_rate(spec: ChannelSpec) -> float | None:
    """Return the error rate that the parties see on average by the protocol's closed forms; None without any."""
    if isinstance(spec, DirectCarrier) and spec.checks:
        return max(rate for name, rate in spec.expected_check_errors().items() if "symbol" not in name)
    if isinstance(spec, BB84):
        try:
            return max(0.0, float(spec.expected_length().tally.error_rate))
        except InputError:  # a plug-in adversary without closed form
            return None
    return None


def _expected_secret_bits(spec: ChannelSpec) -> int | None:
    """Return the key that expected counts give, less what replaces the key of the tags.

    A man in the middle shares keys with both parties, and no closed form of one session tells of theirs.
    """
    if not isinstance(spec, BB84) or spec.adversary == "man_in_the_middle":
        return None
    try:
        length = spec.expected_length().secret_bits
    except InputError:
        return None
    return max(0, length - (2 * spec.tag_bits if spec.authenticated else 0))
