import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import sample_results as sample

from qfl_sec.checking import InputError
from qfl_sec.results import dumps, json_schema, loads

SCHEMA = Path(__file__).parents[1] / "docs" / "schema" / "results.schema.json"
VERSIONS = (sample.sample_results, lambda: sample.without_dp(sample.sample_results()),
            lambda: sample.all_failed(sample.sample_results()))  # fmt: skip


def test_the_shipped_schema_is_the_generated_one() -> None:
    made = json.dumps(json_schema(), sort_keys=True, indent=2) + "\n"
    assert SCHEMA.read_text() == made, "Write json.dumps(json_schema(), sort_keys=True, indent=2) to this file."


def test_the_schema_is_a_valid_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("results", VERSIONS)
def test_results_satisfy_the_schema(results) -> None:  # type: ignore[no-untyped-def]
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(dumps(results())))


def test_results_survive_writing_and_reading() -> None:
    results = sample.sample_results()
    assert loads(dumps(results)) == results
    assert dumps(loads(dumps(results))) == dumps(results)


def _add_key(data: dict) -> None:  # type: ignore[type-arg]
    data["verdicts"][0]["remark"] = "fine"


def _drop_key(data: dict) -> None:  # type: ignore[type-arg]
    del data["subject"]["rounds"]


def _wrong_type(data: dict) -> None:  # type: ignore[type-arg]
    data["measurements"][0]["success"]["k"] = "20"


def _truth_as_number(data: dict) -> None:  # type: ignore[type-arg]
    data["measurements"][0]["trainings"] = True


def _unknown_word(data: dict) -> None:  # type: ignore[type-arg]
    data["verdicts"][0]["verdict"] = "fully secure"


@pytest.mark.parametrize("damage", [_add_key, _drop_key, _wrong_type, _unknown_word])
def test_schema_and_reader_refuse_the_same_damage(damage) -> None:  # type: ignore[no-untyped-def]
    data = json.loads(dumps(sample.sample_results()))
    damage(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(data)
    with pytest.raises(InputError):
        loads(json.dumps(data).encode())


def test_the_reader_refuses_a_truth_value_as_a_number() -> None:
    data = json.loads(dumps(sample.sample_results()))
    _truth_as_number(data)
    with pytest.raises(InputError, match="trainings"):
        loads(json.dumps(data).encode())
