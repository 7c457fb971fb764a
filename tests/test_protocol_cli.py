"""`qfl-sec protocol`: options from fields, keys that scripts rely on, sweeps, and refusals."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfl_sec.cli import main

KEYS = {
    "bb84": "pulses detected sifted qber aborted abort_reason disclosed_bits reconciliation_efficiency secret_bits "
    "keys_match epsilon adversary",
    "two_step_qsdc": "pairs check_error_rates aborted delivered_bits bit_error_rate message_matches "
    "secrecy_capacity_bits_per_pair adversary",
    "one_step_qsdc": "pairs check_error_rates aborted delivered_bits bit_error_rate message_matches "
    "secrecy_capacity_bits_per_pair adversary",
    "blind": "nodes total_variation_to_circuit blindness_trace_distance accepted test_failures security_error "
    "qubits_sent classical_bits",
}

OPTIONS = {
    "bb84": "--pulses 20000 --source single_photon --mean-photon-number 0.5 --distance-km 1 --loss-db-per-km 0.2 "
    "--misalignment-error 0.01 --dark-count-probability 1e-6 --detector-efficiency 0.9 --adversary intercept_resend "
    "--adversary-fraction 0.5",
    "two_step_qsdc": "--message-bits 300 --error-rate 0.02 --distance-km 1 --adversary capture_message "
    "--adversary-fraction 0.05",
    "one_step_qsdc": "--message-bits 300 --fidelity 0.98 --distance-km 1 --adversary entangle_measure "
    "--adversary-fraction 0.05",
    "blind": "--qubits 2 --layers 1 --angle-bits 4 --shots 64 --test-rounds 64 --server curious",
}


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["protocol", *arguments])
    return status, *capsys.readouterr()


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    status, out, err = call(capsys, *arguments, "--json")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    return found


@pytest.mark.parametrize("name", KEYS)
def test_options_and_keys_are_the_promised_ones_and_the_seed_fixes_all(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [name, *OPTIONS[name].split(), "--seed", "5"]
    found = answered(capsys, *arguments)
    assert set(KEYS[name].split()) <= set(found)
    assert found == answered(capsys, *arguments)
    assert found != answered(capsys, *arguments[:-1], "6")
    assert found["parameters"].get("distance_km", 1) == 1
    assert {"correctness", "secrecy", "total"} <= set(found["epsilon"])
    units = {"bb84": "information_per_sifted_bit", "blind": "information_per_angle"}
    assert {"name", units.get(name, "information_per_encoded_pair")} <= set(found["adversary"])
    for key, value in found.items():
        assert value is not None or f"{key}_reason" in found or key == "abort_reason", key


def test_a_message_arrives_or_the_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = answered(capsys, "two_step_qsdc", "--message-bits", "777", "--error-rate", "0.05")
    assert (found["delivered_bits"], found["message_matches"], found["aborted"]) == (777, True, False)
    assert found["bit_error_rate"] == pytest.approx(0.05, abs=5 * np.sqrt(0.05 / 2048))
    assert found["secrecy_capacity_bits_per_pair"] == pytest.approx(0.85441, abs=1e-5)
    found = answered(capsys, "one_step_qsdc", "--adversary", "intercept_resend")
    assert (found["delivered_bits"], found["aborted"], found["bit_error_rate"]) == (0, True, None)
    assert "error rate" in found["abort_reason"]
    assert found["abort_reason"] in found["bit_error_rate_reason"]


def test_people_get_a_table_and_a_chart(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "two_step_qsdc", "--error-rate", "0.1", "--seed", "1")
    assert status == 0
    assert "secrecy capacity bits per pair" in out
    assert "prove" in out
    assert [line for line in out.splitlines() if line.startswith("check 1 z") and "█" in line]


REFUSED = {
    "no name": ([], "Expected the name of a protocol first. Known: bb84, two_step_qsdc, one_step_qsdc, blind"),
    "unknown": (["bb48"], "Did you mean 'bb84'"),
    "probability": (["two_step_qsdc", "--error-rate", "1.5"], "Expected 0 <= error_rate=1.5 <= 1"),
    "fidelity": (["one_step_qsdc", "--fidelity", "-0.1"], "Expected 0 <= fidelity=-0.1 <= 1"),
    "not a number": (["one_step_qsdc", "--fidelity", "nan"], "fidelity = nan. Expected a finite number"),
    "distance": (["bb84", "--distance-km", "-3"], "distance_km=-3.0"),
    "pulses": (["bb84", "--pulses", "0"], "pulses=0"),
    "photons": (["bb84", "--source", "weak_coherent", "--mean-photon-number", "0"], "mean_photon_number=0.0"),
    "too long": (["two_step_qsdc", "--message-bits", "1000000000"], "max_pairs=100000000"),
    "no message": (["two_step_qsdc", "--message-bits", "0"], "'--message-bits': 0"),
    "adversary": (["one_step_qsdc", "--adversary", "nobody"], "'nobody' is not one of"),
    "option": (["bb84", "--puls", "3"], "No such option: --puls"),
    "sweep form": (["bb84", "--sweep", "distance_km=1:2"], "Expected name=start:stop:step"),
    "sweep name": (["bb84", "--sweep", "colour=1:2:1"], "Expected a number of this protocol, one of: pulses"),
    "sweep word": (["bb84", "--sweep", "source=1:2:1"], "Expected a number of this protocol"),
    "sweep step": (["bb84", "--sweep", "distance_km=1:2:0"], "step > 0"),
    "sweep part": (["bb84", "--sweep", "pulses=1:2:0.5"], "Expected whole numbers for pulses"),
    "sweep size": (["bb84", "--sweep", "distance_km=0:100:0.001"], "more than 2000 points"),
    "sweep thrice": (["bb84", *["--sweep", "distance_km=0:1:1"] * 3], "Expected at most 2"),
    "sweep twice": (["bb84", *["--sweep", "distance_km=0:1:1"] * 2], "Sweep two different parameters"),
    "sweep all refused": (["two_step_qsdc", "--sweep", "distance_km=500:600:50"], "no number of copies"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, said = REFUSED[case]
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_sweep_writes_a_table_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["one_step_qsdc", "--message-bits", "64", "--sweep", "fidelity=0.9:1:0.05", "--out", str(tmp_path)]
    second = ["--sweep", "adversary-fraction=0:0.1:0.1", "--adversary", "intercept_resend"]
    status, out, _ = call(capsys, *sweep, *second)
    assert status == 0
    paths = [Path(line) for line in out.splitlines()]
    assert [path.suffix for path in paths] == [".csv", ".svg", ".png"]
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["fidelity"], row["adversary_fraction"]) for row in rows[:3]] == [
        ("0.9", "0.0"),
        ("0.9", "0.1"),
        ("0.95", "0.0"),
    ]
    assert len(rows) == 6
    assert all("check_error_rates.polarization_z" in row for row in rows)
    before = [path.read_bytes() for path in paths]
    call(capsys, *sweep, *second)
    assert before == [path.read_bytes() for path in paths]
    single = answered(capsys, "one_step_qsdc", "--message-bits", "64", "--fidelity", "0.95")
    assert float(rows[2]["secrecy_capacity_bits_per_pair"]) == single["secrecy_capacity_bits_per_pair"]


def test_a_sweep_tells_which_points_were_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answered(
        capsys, "two_step_qsdc", "--sweep", "distance_km=0:300:300", "--message-bits", "9", "--out", str(tmp_path)
    )
    assert [row["refused"] is None for row in found["rows"]] == [True, False]
    assert "no number of copies" in found["rows"][1]["refused"]


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.protocol_contracts import AdversaryReport, Bits, Cost, EpsilonLedger, MessageCarrier, MessageResult
from qfl_sec.randomness import Streams

@dataclass(frozen=True, kw_only=True)
class CarrierPigeon(MessageCarrier):
    """A pigeon that carries bits."""
    name: ClassVar[str] = "pigeon"
    feathers: int = 7
    def send(self, message: Bits, streams: Streams) -> MessageResult:
        eve = AdversaryReport(name="none", power="", information=None, unit="bits")
        return MessageResult(abort_reason=None, cost=Cost(), ledger=EpsilonLedger(), adversary=eve, delivered=message)
'''


def test_a_file_can_add_a_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qfl_sec import plugins

    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    file = tmp_path / "pigeon_protocol.py"
    file.write_text(PLUGIN)
    found = answered(capsys, "pigeon", "--plugin", str(file), "--feathers", "3")
    assert found["parameters"] == {"message_bits": 1024, "feathers": 3}
    assert found["adversary"]["information_bits_reason"]
    assert main(["list", "protocols", "--json", "--plugin", str(file)]) == 0
    listed = json.loads(capsys.readouterr()[0])["protocols"]
    assert [one["name"] for one in listed] == ["bb84", "two_step_qsdc", "one_step_qsdc", "blind", "pigeon"]
    assert listed[0]["parameters"]["pulses"]["type"] == "int"


def test_help_lists_the_options_of_a_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "two_step_qsdc", "--help")
    assert status == 0
    for option in ("--error-rate", "--message-bits", "--sweep", "--seed", "--checks / --no-checks"):
        assert option in out
    assert "Protocols: bb84" in call(capsys, "--help")[1]
