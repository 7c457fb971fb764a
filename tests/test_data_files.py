"""A user's own file: how it is read, what is refused, and that nothing of it but the public reference is fitted to."""

import hashlib
import io
import os
import runpy
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfl_sec import data_files, plugins, results
from qfl_sec.checking import InputError, parse_value
from qfl_sec.columns import Column, encode, read_features, read_labels
from qfl_sec.data_files import parse_table
from qfl_sec.datasets import DataSpec, inspect, load, split
from qfl_sec.experiment import Experiment, dumps
from qfl_sec.experiment import load as load_experiment
from qfl_sec.federation import FederationSpec
from qfl_sec.grid import plan
from qfl_sec.models import MlpClassifier
from qfl_sec.tables import RunSpec
from qfl_sec.workbench import attack, run_audit, train

EXAMPLES = Path(__file__).parent.parent / "examples"
ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(40))
GOOD = "x,z,y\n" + ROWS


def of(folder: Path, content: str | bytes, name: str = "own.csv", **keys: Any) -> DataSpec:
    """Write a file and return its specification."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataSpec(**({"file": str(path), "label": "y", "features": 1} | keys))


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """Return the header of an .npy file that announces any shape, whatever follows."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("change", ["", "bom", "crlf", "cr", "spaces", "blank lines", "quotes"])
def test_a_csv_is_read_however_it_was_saved(change: str, tmp_path: Path) -> None:
    text = {
        "crlf": GOOD.replace("\n", "\r\n"),
        "cr": GOOD.replace("\n", "\r"),
        "spaces": GOOD.replace(",", " , "),
        "blank lines": GOOD.replace("\n", "\n\n"),
        "quotes": GOOD.replace("a\n", '"a"\n').replace("x,", '"x",'),
    }.get(change, GOOD)
    raw = load(of(tmp_path, (b"\xef\xbb\xbf" if change == "bom" else b"") + text.encode()))
    assert np.array_equal(raw.features, [[i, i % 7] for i in range(40)])
    assert np.array_equal(raw.labels, [i % 2 for i in range(40)])
    assert raw.class_names == ("a", "b")
    assert [column.name for column in raw.columns] == ["x", "z"]


def test_numbers_categories_and_gaps_are_told_apart(tmp_path: Path) -> None:
    text = "n,c,code,y\n1e3,red,1,10\n-.5,,2,9\n?,blue,1,9\nNA, red ,2,10\n"
    table = parse_table(text.encode(), tmp_path / "x.csv")
    values, columns = read_features(table, label="y", ignore=(), categorical=("code",), missing="mean")
    assert columns == (
        Column(name="n", categories=None),
        Column(name="c", categories=("blue", "red")),
        Column(name="code", categories=("1", "2")),
    )
    expected = [[1000, 1, 0], [-0.5, np.nan, 1], [np.nan, 0, 0], [np.nan, 1, 1]]
    assert np.array_equal(values, expected, equal_nan=True)
    labels, names = read_labels(table, "y")
    assert (labels.tolist(), names) == ([1, 0, 0, 1], ("9", "10"))  # numbers in the order of numbers


def test_an_npz_is_read_by_the_names_of_its_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "X": rng.normal(size=(40, 2)).astype("f4"),
        "flag": rng.random(40) < 0.5,
        "site": np.array(["n", "s"])[np.arange(40) % 2],
        "y": np.array([[3], [7]])[np.arange(40) % 2],
    }
    raw = load(of(tmp_path, npz(**arrays), "own.npz"))
    assert [column.name for column in raw.columns] == ["X[0]", "X[1]", "flag", "site"]
    assert np.array_equal(raw.features[:, :2], arrays["X"].astype(float))
    assert np.array_equal(raw.features[:, 2], arrays["flag"])
    assert raw.columns[3].categories == ("n", "s")
    assert raw.class_names == ("3", "7")
    assert np.array_equal(raw.labels, np.arange(40) % 2)


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    assert load(of(tmp_path, GOOD)).fingerprint == hashlib.sha256(GOOD.encode()).hexdigest()
    assert load(of(tmp_path, GOOD + "0,0,a\n")).fingerprint == hashlib.sha256((GOOD + "0,0,a\n").encode()).hexdigest()


BAD_CSV: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "own.csv: is empty"),
    "header only": ("x,y\n", "a header line and no records"),
    "blank": ("\n\n", "at least two columns"),
    "one column": ("y\na\nb\n", "at least two columns"),
    "Latin-1": (GOOD.replace("a", "ä").encode("latin-1"), r"line 2 is not UTF-8 text \(byte 10\)"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1 is not UTF-8 text"),
    "zero byte": (GOOD + "1,\0,a\n", "line 42 holds a zero byte"),
    "same name twice": (GOOD.replace("x,z", "x, x"), "column 'x' stands there twice"),
    "no name": (GOOD.replace("x,z", ",z"), "column 1 of line 1 has no name.*index=False"),
    "no header": (ROWS.replace("a", "1").replace("b", "0"), "line 1 holds numbers.*header line"),
    "semicolons": (GOOD.replace(",", ";"), "separated by semicolons. Save it with commas"),
    "tabs": (GOOD.replace(",", "\t"), "separated by tabs"),
    "ragged": (GOOD + "1,2\n", "line 42 has 2 cells, the header 3"),
    "ragged behind a quoted line break": (GOOD + '1,"2\n3",a\n1,2\n', "line 44 has 2 cells"),
    "open quote": (GOOD + '1,"2,a\n1,2,b\n', "not valid CSV from line 42 on"),
    "endless cell": (GOOD + "9" * 200_000 + ",1,a\n", "not valid CSV from line 42 on"),
    "missing label": (GOOD + "1,2,\n", "line 42, column 'y': the label is missing"),
    "one class": (GOOD.replace(",b", ",a"), "label 'y' is 'a' in every record. Expected at least two"),
    "measured label": (
        "x,y\n" + "".join(f"{i},{i / 4}\n" for i in range(40)),
        "40 different values.*at most 20 classes",
    ),
    "missing values": (
        GOOD + "1,,a\n,NA,b\n",
        "line 42, column 'z': the first of 3 missing values in 2 records.*median",
    ),
    "infinity": (GOOD + "1,-Infinity,a\n", "line 42, column 'z': '-Infinity' is no finite number"),
    "overflow": (GOOD + "1,1e999,a\n", "line 42, column 'z': inf is too large a number"),
    "thousands": (GOOD + '1,"1,234.5",a\n', "line 42, column 'z': '1,234.5' is not written as a number.*1234.5"),
    "decimal commas": ("x,y\n" + '"0,5",a\n"1,5",b\n' * 20, "line 2, column 'x': '0,5' is not written as a number"),
    "percent": (GOOD + "1,5 %,a\n", "'5 %' is not written as a number"),
    "underscores": (GOOD + "1,1_000,a\n", "'1_000' is no number, while 40 of its 41 values"),
    "mixed": (GOOD + "1,many,a\n", "line 42, column 'z': 'many' is no number.*categorical"),
    "escapes": (GOOD + "1,\x1b[2J" + "x" * 500 + ",a\n", r"'\\x1b\[2Jx{20,40}\.\.\.' is no number"),
    "names": ("n,y\n" + "".join(f"p{i},{'ab'[i % 2]}\n" for i in range(140)), "column 'n' has 140 different.*ignore"),
    "rare class": (GOOD + "1,2,c\n", r"own.csv: class 'c' has 1 record, and none.*test split.*remove its records"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_a_bad_csv_is_refused_by_file_place_and_remedy(name: str, tmp_path: Path) -> None:
    content, message = BAD_CSV[name]
    with pytest.raises(InputError, match=f"(?s){message}") as error:
        inspect(of(tmp_path, content))
    assert "own.csv" in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label": "Y"}, "label = 'Y' is none of its columns. Did you mean 'y'. Columns: 'x', 'z', 'y'"),
        ({"ignore": ("q",)}, "ignore = 'q' is none of its columns"),
        ({"ignore": ("x", "z")}, "no column is left"),
        ({"categorical": ("y",)}, "categorical = 'y' is the label"),
        ({"features": 3}, "own.csv: Expected features=3 <= 2"),
    ],
)
def test_names_and_numbers_that_do_not_fit_the_file_are_refused(keys: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        inspect(of(tmp_path, GOOD, **keys))


def test_a_constant_file_has_nothing_to_learn_from(tmp_path: Path) -> None:
    spec = of(tmp_path, "x,y\n" + "1,a\n1,b\n" * 20)
    with pytest.raises(InputError, match=r"own\.csv: no feature varies in the reference split"):
        split(load(spec), spec, rng=np.random.default_rng(0))


LABELS = np.arange(40) % 2
MATRIX = np.arange(120.0).reshape(40, 3)
BAD_NPZ: dict[str, tuple[bytes, str]] = {
    "no archive": (b"x", "not a readable .npz"),
    "cut off": (npz(X=MATRIX, y=LABELS)[:-300], "not a readable .npz"),
    "bit rot": (npz(X=MATRIX, y=LABELS).replace(MATRIX[5].tobytes(), MATRIX[6].tobytes()), "not a readable .npz .*CRC"),
    "objects": (npz(X=MATRIX, y=np.array([None] * 40)), "array 'y' holds Python objects, which are never unpickled"),
    "complex": (npz(X=MATRIX * 1j, y=LABELS), "array 'X' has dtype complex128"),
    "dates": (npz(X=np.zeros(40, dtype="M8[s]"), y=LABELS), "array 'X' has dtype datetime64"),
    "structure": (npz(X=np.zeros(40, dtype=[("a", "f8")]), y=LABELS), "array 'X' has dtype"),
    "images": (npz(X=np.zeros((40, 2, 2)), y=LABELS), r"array 'X' has shape \(40, 2, 2\)"),
    "scalar": (npz(X=np.float64(3), y=LABELS), r"array 'X' has shape \(\)"),
    "lengths": (npz(X=MATRIX[:5], y=LABELS), r"all of one length. Found: 'X' \(5, 3\), 'y' \(40,\)"),
    "no features": (npz(y=LABELS), "at least one feature array"),
    "no records": (npz(X=MATRIX[:0], y=LABELS[:0]), "has no records"),
    "label matrix": (npz(X=MATRIX, y=MATRIX), r"label = 'y' is none of its columns. Did you mean 'y\[0\]'"),
    "infinity": (npz(X=np.where(MATRIX == 7, np.inf, MATRIX), y=LABELS), r"record 2, counted from 0, column 'X\[1\]'"),
    "NaN": (npz(X=np.where(MATRIX == 7, np.nan, MATRIX), y=LABELS), "the first of 1 missing value in 1 record"),
    "bomb": (archive(X=bytes(data_files.MAX_BYTES + 1)), "unpacks to 50,000,001 bytes, more than 50 MB"),
    "false shape": (archive(X=header((5_000,)) + bytes(8)), r"announces shape \(5000,\)"),
    "endless shape": (archive(X=header((10**12,)) + bytes(8)), "more than 5,000,000 cells"),
    "endless shape of nothing": (archive(X=header((10**12,), "<U0")), "more than 5,000,000 cells"),
    "no array": (archive(X=b"hello"), "not a readable .npz"),
    "header that calls": (archive(X=header((1,)).replace(b"'<f8'", b"print")), "not a readable .npz"),
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_a_bad_npz_is_refused_before_it_takes_memory(name: str, tmp_path: Path) -> None:
    content, message = BAD_NPZ[name]
    with pytest.raises(InputError, match=message) as error:
        inspect(of(tmp_path, content, "own.npz"))
    assert "own.npz" in str(error.value)


def test_an_archive_that_understates_its_size_gives_no_more_than_it_states(tmp_path: Path) -> None:
    content = bytearray(archive(X=header((4_000_000,)) + bytes(32_000_000)))
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 100)
    with pytest.raises(InputError, match=r"not a readable .npz"):
        load(of(tmp_path, bytes(content), "own.npz"))


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "MAX_CELLS", 100)
    with pytest.raises(InputError, match=r"more than 100 cells.*drawn at random"):
        load(of(tmp_path, GOOD))
    monkeypatch.setattr(data_files, "MAX_BYTES", len(GOOD) - 1)
    with pytest.raises(InputError, match=r"larger than .* MB.*Keep fewer records"):
        load(of(tmp_path, GOOD))


def test_ten_thousand_columns_are_read_and_a_message_names_the_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [*(f"c{number}" for number in range(10_000)), "y"]
    rows = [[*map(str, row), "ab"[index % 2]] for index, row in enumerate(rng.integers(0, 9, size=(40, 10_000)))]
    spec = of(tmp_path, "\n".join(",".join(row) for row in [names, *rows]), features=3)
    assert split(load(spec), spec, rng=rng).candidates.features.shape == (20, 3)
    with pytest.raises(InputError, match="'c19' and 9,981 more"):
        load(replace(spec, label="class"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.csv", "absent.csv: no such file.*folder of the experiment file"),
        ("folder.csv", "folder.csv: not a file"),
        ("pipe.csv", "pipe.csv: not a file"),
        ("own.xlsx", "ends in .csv or .npz.*Save a spreadsheet as CSV"),
        ("x" * 300 + ".csv", "cannot be read"),
        ("a\0b.csv", "no such file"),
        ("", "ends in .csv or .npz"),
    ],
)
def test_what_is_no_file_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(DataSpec(file=str(tmp_path / name), label="y"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file": "x.csv"}, "file='x.csv' has no label. Add label"),
        ({"file": "x.csv", "label": "y", "name": "iris"}, "name='iris' or file='x.csv', not both"),
        ({"file": "x.csv", "label": "y", "classes": [1, 2]}, r"classes=\(1, 2\) or file"),
        ({"label": "y"}, "no label='y' without a file"),
        ({"missing": "mean"}, "no missing='mean' without a file"),
        ({"file": "x.csv", "label": "y", "missing": "drop"}, "missing = 'drop'"),
        ({"file": "x.csv", "label": "y", "ignore": "id"}, "ignore = 'id'"),
    ],
)
def test_impossible_tables_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_value(DataSpec, values, source="experiment.toml")


COLUMNS = (Column(name="n", categories=None), Column(name="c", categories=("blue", "green", "red")))
VALUES = np.array([[1, 0], [2, 0], [2, 2], [9, np.nan], [np.nan, 2], [100, 1], [np.nan, np.nan]])
REFERENCE = np.array([0, 1, 2, 3])


@pytest.mark.parametrize(("missing", "value"), [("mean", 14 / 4), ("median", 2), ("most_frequent", 2)])
def test_gaps_and_categories_are_fitted_to_the_reference_alone(missing: Any, value: float) -> None:
    # Reference by hand: n holds 1, 2, 2, 9; c is blue, blue, red, gap. Green never occurs there: it is all zeros.
    got = encode(VALUES, COLUMNS, REFERENCE, missing, source="x.csv")
    blue, red, neither = [1, 0], [0, 1], [0, 0]
    expected = [[1, *blue], [2, *blue], [2, *red], [9, *blue], [value, *red], [100, *neither], [value, *blue]]
    assert np.allclose(got, expected, atol=1e-12)


def test_a_column_without_any_public_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"x.csv: column 'c' has no value in any of the 1 reference records.*ignore"):
        encode(VALUES, COLUMNS, np.array([3]), "mean", source="x.csv")


def test_members_leave_no_trace_in_what_is_fitted(tmp_path: Path) -> None:
    # Change every record outside the reference, with numbers, categories and gaps that nobody has seen: the reference
    # comes out as before, to the last bit. The split depends on labels alone, which stay.
    rng = np.random.default_rng(3)
    rows = [
        [f"{rng.normal():.3f}", "" if rng.random() < 0.3 else f"{rng.normal():.3f}", "uvw"[i % 3]] for i in range(80)
    ]

    def text(chosen: list[list[str]]) -> str:
        return "a,b,c,y\n" + "".join(",".join([*row, "kl"[i % 2]]) + "\n" for i, row in enumerate(chosen))

    spec = of(tmp_path, text(rows), missing="mean", features=3)
    before = split(load(spec), spec, rng=np.random.default_rng(1))
    public = _reference_numbers(of(tmp_path, "a,y\n" + "".join(f"{i},{'kl'[i % 2]}\n" for i in range(80)), "order.csv"))
    disturbed = [row if i in public else ["1e6", "", f"new{i % 5}"] for i, row in enumerate(rows)]
    spec = of(tmp_path, text(disturbed), missing="mean", features=3)
    after = split(load(spec), spec, rng=np.random.default_rng(1))
    assert after.reference.features.numpy().tobytes() == before.reference.features.numpy().tobytes()
    assert not np.array_equal(after.candidates.features.numpy(), before.candidates.features.numpy())


def _reference_numbers(spec: DataSpec) -> set[int]:
    """Find the reference records of a file whose only feature is the record's number, and its parity the label."""
    splits = split(load(spec), spec, rng=np.random.default_rng(1))
    parts = (splits.candidates, splits.test, splits.reference)
    rows = np.concatenate([part.features[:, 0].numpy() for part in parts])
    numbers = rows.argsort().argsort()[-len(splits.reference) :]
    if (numbers % 2 != splits.reference.labels.numpy()).any():  # the component's sign was turned
        numbers = len(rows) - 1 - numbers
    assert (numbers % 2 == splits.reference.labels.numpy()).all()
    return set(numbers.tolist())


def small(spec: DataSpec, seeds: tuple[int, ...] = (0,)) -> Experiment:
    return Experiment(
        data=spec,
        model=MlpClassifier(),
        federation=FederationSpec(clients=3, clients_per_round=2, rounds=2),
        attacks=(plugins.get("attack", "update_membership")(),),
        run=RunSpec(seeds=seeds),
    )


def test_a_changed_file_is_noticed_by_the_next_run_and_by_an_attack(tmp_path: Path) -> None:
    spec, run = of(tmp_path, GOOD, features=2), tmp_path / "run"
    train(small(spec), out=run, inline=True)
    of(tmp_path, GOOD.replace("0,0,a", "0,1,a"))
    with pytest.raises(InputError, match="3 of 3 trainings are missing, or were made from other data"):
        attack(run, inline=True)
    assert train(small(spec), out=run, inline=True).trainings_reused == 0
    of(tmp_path, GOOD)
    assert attack(run, inline=True).summary.trainings_reused == 3


def test_a_transcript_of_other_data_is_noticed_even_if_every_cell_is_reused(tmp_path: Path) -> None:
    # The file changes while the run is at work: key and scores are those of the old one, the transcript's record of it
    # is of the new one.
    spec, run = of(tmp_path, GOOD, features=2), tmp_path / "run"
    run_audit(small(spec), out=run, inline=True)
    metadata = next((run / "transcripts").glob("*/metadata.json"))
    text, old = metadata.read_text(), load(spec).fingerprint
    assert text.count(old) == 1
    metadata.write_text(text.replace(old, "0" * 64))
    with pytest.raises(InputError, match=r"own\.csv"):
        run_audit(small(spec), out=run, inline=True)


def test_results_do_not_depend_on_where_the_file_lies(tmp_path: Path) -> None:
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        spec = of(tmp_path / name, GOOD, features=2)
        run_audit(small(spec), out=tmp_path / name / "run", inline=True)
        found.append((tmp_path / name / "run" / "results.json").read_bytes())
        read = results.loads(found[-1])
        assert (read.subject.dataset, read.subject.records) == ("own.csv", 40)
        assert read.subject.data_fingerprint == hashlib.sha256(GOOD.encode()).hexdigest()
        assert str(tmp_path).encode() not in found[-1]
        assert load_experiment(tmp_path / name / "run" / "experiment.toml") == small(spec)
    assert found[0] == found[1]


def test_a_path_counts_from_the_folder_of_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study").mkdir()
    of(tmp_path / "study", GOOD)
    (tmp_path / "study" / "x.toml").write_text(
        '[data]\nfile = "own.csv"\nlabel = "y"\nfeatures = 2\n[model]\nqubits = 2'
    )
    monkeypatch.chdir(tmp_path)
    read = load_experiment("study/x.toml")
    assert read.data.file == str(tmp_path / "study" / "own.csv")
    (tmp_path / "again.toml").write_text(dumps(read))
    assert load_experiment("again.toml") == read
    of(tmp_path / "study", GOOD + "1,,b\n")
    with pytest.raises(InputError, match=r"study/x.toml: .*own.csv: line 42"):
        load_experiment("study/x.toml")


def test_what_the_file_leaves_to_train_on_bounds_the_clients(tmp_path: Path) -> None:
    spec = of(tmp_path, GOOD, features=2)
    with pytest.raises(ValueError, match=r"clients=100 <= 20, the records of own.csv left to train on"):
        replace(small(spec), federation=FederationSpec(clients=100))


def test_filling_gaps_can_be_swept_and_files_cannot(tmp_path: Path) -> None:
    of(tmp_path, GOOD + "1,,a\n")
    text = '[data]\nfile = "own.csv"\nlabel = "y"\nfeatures = 2\n[model]\nname = "mlp_classifier"\n[sweep]\n'
    (tmp_path / "x.toml").write_text(text.replace("features", 'missing = "mean"\nfeatures'))
    swept = load_experiment(tmp_path / "x.toml", overrides=['sweep."data.missing"=["mean", "median"]'])
    assert [point.data.missing for _, point in swept.variants()] == ["mean", "median"]
    assert len({task.key for task in plan(replace(swept, run=RunSpec(seeds=(0,)))).trainings}) == 6
    with pytest.raises(InputError, match=r"data.file cannot be swept"):
        load_experiment(tmp_path / "x.toml", overrides=['sweep."data.file"=["own.csv", "other.csv"]'])


def test_the_example_is_what_its_script_makes_and_can_be_audited(tmp_path: Path) -> None:
    made = runpy.run_path(str(EXAMPLES / "make_clinics.py"))["clinics"]()
    assert (EXAMPLES / "clinics.csv").read_text() == made
    changes = ["federation.rounds=1", "run.seeds=[0]", 'attacks=[{name="update_membership"}]', "defenses=[]"]
    experiment = load_experiment(EXAMPLES / "clinics.toml", overrides=[*changes, "report={}"])
    found = run_audit(experiment, out=tmp_path, inline=True).results
    assert (found.subject.dataset, found.subject.records, found.subject.classes) == ("clinics.csv", 569, 2)
    assert "measured" in [one.status for one in found.measurements if one.question == "membership"]
