"""What a channel took, leaked and lost: sums over links, and what closed forms expect."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qfl_sec.channel import Link, PlainChannel
from qfl_sec.channel_entries import abort_kind, spread, summarise
from qfl_sec.experiment import load, parse
from qfl_sec.plugins import get
from qfl_sec.protocol_results import ChannelEntry
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.randomness import Streams
from qfl_sec.results import Results, dumps, loads
from qfl_sec.workbench import run_audit

EXAMPLE = Path(__file__).parent.parent / "examples" / "channels.toml"

LINK = Link(
    round=0, client=0, cipher="one-time pad", abort_reason=None, needed_bits=1000, secret_bits=4000, error_rate=0.02,
    leaked_bits=0, qubits=10_000, classical_bits=500, seconds=0.25, epsilon=1e-9,
)  # fmt: skip


def entry(*links: Link, spec: object = None) -> ChannelEntry:
    return summarise(links, spec or BB84(), variant="default", setting="none")  # type: ignore[arg-type]


def test_messages_are_counted_and_costs_added() -> None:
    aes = replace(LINK, client=1, cipher="AES-256-GCM", secret_bits=600, error_rate=0.04)
    lost = replace(
        LINK, client=2, cipher="none", secret_bits=0, error_rate=0.25, abort_reason="error rate 0.25 of 9 test bits"
    )
    found = entry(LINK, aes, lost, replace(lost, client=3, abort_reason="error rate 0.31 of 9 test bits"))
    assert (found.messages, found.delivered, found.pairs) == (4, 2, 0)
    assert found.ciphers == {"AES-256-GCM": 1, "one-time pad": 1}
    assert [(one.reason, one.count, one.example) for one in found.aborts] == [
        ("error rate", 2, "error rate 0.25 of 9 test bits")
    ]
    assert found.needed_bits == spread([1000]) and found.secret_bits == spread([0, 0, 600, 4000])
    assert found.error_rate is not None and found.error_rate.median == pytest.approx((0.04 + 0.25) / 2)
    assert (found.qubits, found.classical_bits, found.seconds) == (40_000, 2000, 1.0)
    assert found.epsilon == pytest.approx(4e-9)


def test_keys_of_pairs_cost_and_count_in_epsilon_but_are_no_messages() -> None:
    pair = replace(LINK, peer=1, needed_bits=256, abort_reason="too few bits: 3", epsilon=2e-9)
    found = entry(LINK, pair)
    assert (found.messages, found.delivered, found.pairs) == (1, 1, 1)
    assert found.needed_bits == spread([1000])
    assert [(one.reason, one.count) for one in found.pair_aborts] == [("too few bits", 1)]
    assert found.qubits == 20_000 and found.epsilon == pytest.approx(3e-9)


def test_bounds_add_up_to_no_more_than_one_and_nothing_is_no_zero() -> None:
    unproven = replace(LINK, cipher="direct", epsilon=0.7)
    assert entry(unproven, unproven).epsilon == 1.0
    tapped = replace(LINK, cipher="none", error_rate=None, epsilon=None, leaked_bits=64)
    found = entry(tapped, replace(tapped, leaked_bits=0), spec=PlainChannel(adversary="tamper", adversary_fraction=0.5))
    assert found.epsilon is None and found.error_rate is None and found.expected_error_rate is None
    assert (found.kind, found.attack, found.attacked_fraction) == ("plain", "tamper", 0.5)
    assert (found.leaked_bits, found.leaking, found.authenticated) == (64, 1, False)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", ["bb84", "two_step_qsdc", "one_step_qsdc"])
def test_intercepting_is_expected_to_cause_a_quarter_of_its_share_in_errors(name: str, share: float) -> None:
    """Intercept-resend errs with probability 1/4: Nielsen and Chuang 2010, section 12.6.3."""
    found = entry(LINK, spec=get("protocol", name)(adversary="intercept_resend", adversary_fraction=share))
    assert found.expected_error_rate == pytest.approx(share / 4, abs=1e-12)
    assert found.attacked_fraction == share


def test_expected_key_is_what_a_run_gives() -> None:
    spec = BB84(pulses=100_000, adversary="intercept_resend", adversary_fraction=0.1)
    expected, given = entry(LINK, spec=spec).expected_secret_bits, len(spec.distribute(Streams(3)).alice_key)
    assert expected is not None and expected == pytest.approx(given, rel=0.15)
    aborting = replace(spec, adversary_fraction=1.0)
    assert entry(LINK, spec=aborting).expected_secret_bits == 0
    assert entry(LINK, spec=replace(aborting, adversary="man_in_the_middle")).expected_secret_bits is None
    assert not entry(LINK, spec=replace(spec, authenticated=False)).authenticated


def test_who_attacks_nobody_attacks_no_share() -> None:
    found = entry(LINK, spec=BB84(distance_km=5.0))
    assert (found.attack, found.attacked_fraction, found.distance_km) == ("none", 0.0, 5.0)
    assert entry(LINK, spec=PlainChannel(adversary="tamper")).distance_km is None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("loss: 1000 pairs arrived of 1024 needed", "loss"),
        ("check 2: at a symbol error rate of 0.3100 the secrecy capacity is zero", "check 2"),
        ("check: error rate 0.3 of spatial_z is above 0.12", "check"),
        ("no secret bits left: 12 bits, of which authentication needs 128", "no secret bits left"),
        ("key budget: Expected 512 key bits; 12 of 12 are left", "key budget"),
        ("verification hash mismatch: reconciliation left errors", "verification hash mismatch"),
    ],
)
def test_aborts_are_told_apart_by_kind_and_not_by_figures(reason: str, kind: str) -> None:
    assert abort_kind(reason) == kind


def test_a_plain_channel_that_nobody_taps_has_no_entry(tmp_path: Path) -> None:
    tables = {
        "model": {"name": "mlp_classifier"},
        "federation": {"clients": 4, "clients_per_round": 2, "rounds": 1},
        "attacks": [{"name": "update_membership"}],
        "run": {"seeds": [0]},
    }
    run_audit(parse(tables, "test"), out=tmp_path, workers=1, inline=True)
    assert loads((tmp_path / "results.json").read_bytes()).channels == ()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The shipped example, tiny: two rounds, one seed."""
    place = tmp_path_factory.mktemp("channels")
    small = ["federation.rounds=2", "run.seeds=[0]", 'attacks=[{name = "gradient_inversion", targets = 2}]']
    run_audit(load(EXAMPLE, overrides=small), out=place, workers=1, inline=True)
    return loads((place / "results.json").read_bytes())


def test_the_example_compares_four_channels_at_two_shares(compared: Results) -> None:
    found = {(one.name, one.attacked_fraction): one for one in compared.channels}
    assert set(found) == {
        (name, share) for name in ("plain", "bb84", "two_step_qsdc", "one_step_qsdc") for share in (0.1, 1.0)
    }
    assert all(one.messages == 4 for one in found.values())
    assert all(one.delivered == 4 for (name, share), one in found.items() if share == 0.1 or name == "plain")
    assert all(one.delivered == 0 for (name, share), one in found.items() if share == 1.0 and name != "plain")
    assert found["bb84", 1.0].aborts[0].reason == "error rate"
    assert found["two_step_qsdc", 1.0].aborts[0].reason == "check 1"
    assert found["bb84", 0.1].ciphers == {"one-time pad": 4}
    assert found["bb84", 0.1].epsilon is not None and found["bb84", 0.1].epsilon < 1e-6
    assert found["one_step_qsdc", 0.1].epsilon == 1.0
    bits = 64 * compared.subject.parameters
    needed, update = found["bb84", 0.1].needed_bits, found["two_step_qsdc", 0.1].needed_bits
    assert needed is not None and needed.least == 2 * bits + 192
    assert update is not None and update.least == bits
    assert found["plain", 1.0].leaked_bits == 4 * bits


def test_error_rates_lie_about_where_theory_has_them(compared: Results) -> None:
    for one in compared.channels:
        if one.error_rate is not None and one.expected_error_rate is not None:
            assert one.error_rate.median == pytest.approx(one.expected_error_rate, abs=0.06)


def test_only_where_she_can_read_does_the_eavesdropper_rebuild(compared: Results) -> None:
    rebuilt = {
        one.variant: one
        for one in compared.measurements
        if (one.adversary, one.question) == ("eavesdropper", "reconstruction")
    }
    named = {one.variant: (one.name, one.attacked_fraction) for one in compared.channels}
    for variant, measured in rebuilt.items():
        name, share = named[variant]
        if name == "bb84":
            assert measured.status == "not visible"
        elif (name, share) == ("plain", 1.0):
            assert measured.success is not None and measured.success.k == measured.success.n > 0
        elif name != "plain":
            assert measured.success is not None and measured.success.k == 0


def test_entries_survive_writing_and_reading(compared: Results) -> None:
    assert loads(dumps(compared)).channels == compared.channels
    assert all(set(asdict(one)) == set(ChannelEntry.__dataclass_fields__) for one in compared.channels)
