"""Parties of direct communication are isolated: they share a plan, a key from before, qubits and announcements."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfl_sec.protocols import OneStepQsdc, TwoStepQsdc, qsdc, two_step_exchange
from qfl_sec.protocols.qsdc_message import PAIRS_PER_FRAME, TAG_KEY_BITS, IncomingMessage, OutgoingMessage, Plan
from qfl_sec.randomness import Streams
from tests.protocols.qsdc_layers import message

FOLDER = Path(qsdc.__file__).parent
PROTOCOLS = ("one_step", "two_step")
ENDS = {"Alice": "IncomingMessage", "Bob": "OutgoingMessage"}  # what is none of theirs


def parsed(name: str) -> ast.Module:
    return ast.parse((FOLDER / f"{name}.py").read_text())


def names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


FILES = sorted(path.stem for pattern in ("qsdc*.py", "*_step_*.py") for path in FOLDER.glob(pattern))


@pytest.mark.parametrize("name", FILES)
def test_nobody_touches_anybody_elses_private_state(name: str) -> None:
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            assert ast.unparse(node.value) == "self", ast.unparse(node)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parties_know_neither_each_other_nor_eve_nor_the_driver(protocol: str) -> None:
    tree = parsed(f"{protocol}_parties")
    found = classes(tree)
    for who, foreign in ENDS.items():
        assert not names(found[who]) & ({"Alice", "Bob", "Eve", "audit", foreign} - {who})
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not [module for module in imported if module.endswith(("_eve", "_exchange"))]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_driver_passes_messages_on_and_neither_codes_nor_tags_nor_compares(protocol: str) -> None:
    driver = classes(parsed(f"{protocol}_exchange"))[f"{protocol.title().replace('_', '')}Exchange"]
    assert not names(driver) & {"block_code", "Authenticator", "OutgoingMessage", "IncomingMessage"}
    parties = {"self._alice", "self._bob", "self._eve"}
    for call in (node for node in ast.walk(driver) if isinstance(node, ast.Call)):
        given = {ast.unparse(one) for one in (*call.args, *(keyword.value for keyword in call.keywords))}
        assert not given & parties or ast.unparse(call.func) == "audit", ast.unparse(call)
    used = {ast.unparse(node) for node in ast.walk(parsed("qsdc")) if isinstance(node, ast.Attribute)}
    coding = {name for name in used if name.startswith("block_code.")}
    assert coding == {"block_code.frame_count", "block_code.copies_needed", "block_code.MAX_COPIES"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_the_auditor_reads_private_records(protocol: str) -> None:
    readers = {
        getattr(one, "name", "")
        for file in ("parties", "exchange", "eve", "qsdc")
        for one in parsed(f"{protocol}_{file}").body
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and node.attr == "private_record"
    }
    assert readers == {"audit"}


def reachable(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Yield everything that an object holds, directly or through what it holds."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield thing
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    for one in (*inside, *getattr(thing, "__dict__", {}).values()):
        yield from reachable(one, seen)


@pytest.mark.parametrize("carrier", [TwoStepQsdc(), OneStepQsdc()], ids=lambda carrier: str(carrier.name))
def test_only_alice_holds_the_message_before_it_is_sent(carrier: qsdc.DirectCarrier) -> None:
    content = message(1500)
    exchange: Any = carrier.exchange(content, carrier.check_length(1500), Streams(2))

    def holds(who: Any) -> bool:
        arrays = [one for one in reachable(who, set()) if isinstance(one, np.ndarray)]
        return any(one.shape == content.shape and bool((one == content).all()) for one in arrays)

    assert holds(exchange._alice)
    assert not holds(exchange._bob)
    assert not holds(exchange._eve)
    mine = {id(one) for one in reachable(exchange._alice, set()) if isinstance(one, np.random.Generator)}
    his = {id(one) for one in reachable(exchange._bob, set()) if isinstance(one, np.random.Generator)}
    assert mine
    assert his
    assert not mine & his


def ends(key: int = 1, other_key: int = 1, copies: int = 1) -> tuple[OutgoingMessage, IncomingMessage]:
    plan = Plan(message_bits=2500, frames_per_block=2, copies=copies)
    keys = [np.random.default_rng(one).integers(0, 2, TAG_KEY_BITS, np.uint8) for one in (key, other_key)]
    return OutgoingMessage(message(2500), plan, keys[0]), IncomingMessage(plan, keys[1])


def carried(sender: OutgoingMessage, receiver: IncomingMessage, *, error_rate: float, lost: float = 0.0) -> None:
    rng = np.random.default_rng(9)
    for _ in range(2):
        symbols = sender.next_block()
        read = symbols ^ (rng.random(symbols.shape) < error_rate).astype(np.uint8)
        rate = max(error_rate, 1e-3)
        receiver.decode(read, (rate, rate), rng.random(symbols.shape[1]) >= lost)


@pytest.mark.parametrize(("copies", "error_rate", "lost"), [(1, 0.0, 0.0), (1, 0.02, 0.0), (4, 0.05, 0.5)])
def test_a_message_gets_through_from_end_to_end(copies: int, error_rate: float, lost: float) -> None:
    sender, receiver = ends(copies=copies)
    carried(sender, receiver, error_rate=error_rate, lost=lost)
    assert np.array_equal(np.asarray(receiver.verify(sender.tag())), message(2500))
    assert receiver.frame_failures == 0


def test_the_receiver_rejects_wrong_tags_wrong_keys_and_wrong_messages() -> None:
    for other_key, error_rate, flip in ((1, 0.0, 1), (2, 0.0, 0), (1, 0.3, 0)):
        sender, receiver = ends(other_key=other_key)
        carried(sender, receiver, error_rate=error_rate)
        tag = sender.tag()
        tag[0] ^= flip
        assert receiver.verify(tag) is None
        assert (receiver.frame_failures > 0) == (error_rate > 0)


def test_a_plan_covers_the_message() -> None:
    plan = Plan(message_bits=1024 * 7 + 1, frames_per_block=3, copies=5)
    assert list(plan.blocks()) == [3, 3, 2]
    assert plan.pairs(3) == 3 * 5 * PAIRS_PER_FRAME == 15_360


def test_what_the_auditor_says_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = TwoStepQsdc(error_rate=0.05)
    before = carrier.send(message(1500), Streams(3))
    monkeypatch.setattr(two_step_exchange, "audit", lambda *given: (999, 1000))
    after = carrier.send(message(1500), Streams(3))
    assert after.bit_error_rate == 0.999
    assert np.array_equal(np.asarray(before.delivered), np.asarray(after.delivered))
    assert before.checks == after.checks
