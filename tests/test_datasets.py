import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from qfl_sec.checking import InputError, parse_value
from qfl_sec.datasets import DATASETS, DataSpec, RawData, load, split


def _splits(spec, seed=0):
    return split(load(spec), spec, rng=np.random.default_rng(seed))


def _parts(splits):
    return (splits.candidates, splits.test, splits.reference)


SPECS = [DataSpec(), DataSpec(name="digits", features=5), DataSpec(name="digits", features=3, classes=(9, 1))]
SPECS += [DataSpec(name="iris"), DataSpec(name="wine", features=6)]


@pytest.mark.parametrize("name", DATASETS)
def test_the_table_describes_what_is_loaded(name):
    raw, info = load(DataSpec(name=name)), DATASETS[name]
    assert raw.features.shape == (info.records, info.features)
    assert sorted(set(raw.labels.tolist())) == list(range(info.classes))
    assert len(raw.class_names) == info.classes
    assert DataSpec(name=name).classes == info.default_classes
    assert info.name == name


def test_digits_are_the_chosen_pair_in_the_chosen_order():
    bunch = load_digits()
    raw = load(DataSpec(name="digits", classes=(9, 1)))
    assert raw.class_names == ("9", "1")
    for label, digit in enumerate((9, 1)):
        assert np.array_equal(raw.features[raw.labels == label], bunch.data[bunch.target == digit])


def test_the_fingerprint_is_the_stated_hash():
    bunch = load_breast_cancer()
    content = bunch.data.astype("<f8").tobytes() + bunch.target.astype("<i8").tobytes()
    assert load(DataSpec()).fingerprint == hashlib.sha256(content).hexdigest()
    assert load(DataSpec(name="digits")).fingerprint != load(DataSpec(name="digits", classes=(8, 3))).fingerprint


@pytest.mark.parametrize("spec", SPECS)
def test_every_record_lands_in_exactly_one_split(spec):
    raw, splits = load(spec), _splits(spec)
    assert sum(len(part) for part in _parts(splits)) == len(raw.labels)
    # The map from raw to scaled records is one to one on distinct records, so no scaled record may stand twice.
    rows = torch.cat([part.features for part in _parts(splits)])
    distinct_raw = len(np.unique(raw.features, axis=0))
    assert len(torch.unique(rows, dim=0)) == distinct_raw


@pytest.mark.parametrize("spec", SPECS)
def test_splits_are_stratified(spec):
    raw = load(spec)
    counts = np.bincount(raw.labels)
    candidates, test, reference = (torch.bincount(part.labels).numpy() for part in _parts(_splits(spec)))
    assert test.tolist() == [round(count * spec.test_fraction) for count in counts]
    assert reference.tolist() == [round(count * spec.reference_fraction) for count in counts]
    assert (candidates + test + reference).tolist() == counts.tolist()


@pytest.mark.parametrize("spec", SPECS)
def test_the_reference_split_spans_minus_one_to_one_and_others_are_not_clipped(spec):
    splits = _splits(spec)
    for part in _parts(splits):
        assert part.features.dtype == torch.float64
        assert part.labels.dtype == torch.int64
        assert part.features.shape == (len(part), spec.features)
        assert torch.isfinite(part.features).all()
    assert torch.equal(splits.feature_low, torch.full((spec.features,), -1.0, dtype=torch.float64))
    assert torch.equal(splits.feature_high, torch.full((spec.features,), 1.0, dtype=torch.float64))
    assert splits.candidates.features.abs().max() > 1


def test_scaling_knows_nothing_of_the_other_splits():
    spec = DataSpec(name="digits", features=4)
    raw = load(spec)
    before = split(raw, spec, rng=np.random.default_rng(1))
    # The split depends on labels alone, so records outside the reference can be found by what they become.
    probe = raw.features + 1000 * np.arange(len(raw.labels))[:, None]
    reference = _reference_indices(raw, spec, seed=1)
    disturbed = np.where(np.isin(np.arange(len(raw.labels)), reference)[:, None], raw.features, probe)
    other = RawData(
        features=disturbed, labels=raw.labels, class_names=raw.class_names, fingerprint="of disturbed records"
    )
    after = split(other, spec, rng=np.random.default_rng(1))
    assert torch.equal(before.reference.features, after.reference.features)
    assert not torch.equal(before.candidates.features, after.candidates.features)


def _reference_indices(raw, spec, seed):
    """Find the reference records by splitting records whose only feature that varies is their number."""
    numbered = RawData(
        features=np.tile(np.arange(len(raw.labels), dtype=float)[:, None], (1, raw.features.shape[1])),
        labels=raw.labels,
        class_names=raw.class_names,
        fingerprint="numbers",
    )
    one = DataSpec(name=spec.name, features=1, classes=spec.classes)
    splits = split(numbered, one, rng=np.random.default_rng(seed))
    rows = torch.cat([part.features for part in _parts(splits)])[:, 0]
    order = torch.argsort(rows)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    numbers = ranks[-len(splits.reference) :].numpy()
    labels = raw.labels[numbers]
    if not np.array_equal(labels, splits.reference.labels.numpy()):  # the component's sign was turned
        numbers = len(raw.labels) - 1 - numbers
    assert np.array_equal(raw.labels[numbers], splits.reference.labels.numpy())
    return numbers


def test_components_are_uncorrelated_and_ordered_by_explained_variance():
    # By hand: eigenvalues of the correlation matrix of the reference split are the components' variances.
    spec = DataSpec(features=6)
    raw, splits = load(spec), _splits(spec)
    public = raw.features[_reference_indices(raw, spec, seed=0)]
    standard = (public - public.mean(0)) / public.std(0)
    values, vectors = np.linalg.eigh(np.cov(standard.T, bias=True))
    expected = standard @ vectors[:, ::-1][:, :6]
    got = splits.reference.features.numpy()
    for j in range(6):
        assert abs(np.corrcoef(expected[:, j], got[:, j])[0, 1]) == pytest.approx(1, abs=1e-9)
    assert np.allclose(np.corrcoef(got.T), np.eye(6), atol=1e-9)
    assert (np.diff(values[::-1][:6]) < 0).all()


@pytest.mark.parametrize(("name", "loader"), [("iris", load_iris), ("wine", load_wine)])
def test_three_classes_are_taken_over_as_they_are(name, loader):
    bunch, raw = loader(), load(DataSpec(name=name))
    assert np.array_equal(raw.features, bunch.data)
    assert np.array_equal(raw.labels, bunch.target)
    assert raw.class_names == tuple(bunch.target_names)


def test_what_is_loaded_is_shared_and_cannot_be_written():
    raw = load(DataSpec())
    with pytest.raises(ValueError, match="read-only"):
        raw.features[0, 0] = 0


def test_a_feature_without_range_in_the_reference_is_only_centred():
    # 0.1 is no binary fraction: the standard deviation of equal values may come out as rounding noise, not as 0.
    spec = DataSpec(features=1)
    raw = load(spec)
    public = np.isin(np.arange(569), _reference_indices(raw, spec, seed=0))
    features = np.column_stack([raw.features[:, 0], np.where(public, 0.1, 0.2)])
    flat = RawData(features=features, labels=raw.labels, class_names=raw.class_names, fingerprint="flat")
    splits = split(flat, spec, rng=np.random.default_rng(0))
    assert splits.candidates.features.abs().max() < 10


def test_same_seed_same_bytes_and_another_seed_another_split():
    spec = DataSpec()
    first, again = _splits(spec, 5), _splits(spec, 5)
    assert first.candidates.features.numpy().tobytes() == again.candidates.features.numpy().tobytes()
    raw = load(spec)
    chosen, others = (set(_reference_indices(raw, spec, seed=seed).tolist()) for seed in (5, 6))
    # Of two random quarters about a quarter overlaps: 36 of 143, with standard deviation 4.5.
    assert abs(len(chosen & others) - 36) < 5 * 4.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "breast_cancr"}, "breast_cancr.*breast_cancer, digits, iris, wine.*Did you mean 'breast_cancer'"),
        ({"features": 0}, "features=0 >= 1"),
        ({"features": 31}, "features=31 <= 30"),
        ({"features": 3.0}, "features = 3.0"),
        ({"features": True}, "features = True"),
        ({"test_fraction": 0.0}, "test_fraction=0.0"),
        ({"reference_fraction": 1.0}, "reference_fraction=1.0"),
        ({"test_fraction": float("nan")}, "test_fraction = nan"),
        ({"test_fraction": 0.5, "reference_fraction": 0.5}, r"test_fraction=0.5 \+ reference_fraction=0.5 < 1"),
        ({"classes": [3, 8]}, r"classes=\(3, 8\).*Remove"),
        ({"name": "digits", "classes": [3, 3]}, r"classes=\(3, 3\)"),
        ({"name": "digits", "classes": [3, 10]}, r"classes=\(3, 10\)"),
        ({"name": "digits", "classes": [3]}, "classes"),
        ({"clases": [3, 8]}, "clases"),
    ],
)
def test_impossible_specs_are_refused_at_the_boundary(values, message):
    with pytest.raises(InputError, match=message):
        parse_value(DataSpec, values, source="experiment.toml")


def test_a_spec_reads_from_plain_values():
    assert parse_value(DataSpec, {"name": "digits"}, source="x") == DataSpec(name="digits", classes=(3, 8))


@pytest.mark.parametrize("key", ["test_fraction", "reference_fraction"])
def test_a_split_without_a_class_is_refused(key):
    part = key.removesuffix("_fraction")
    with pytest.raises(
        InputError, match=rf"breast_cancer: class 'malignant' has 212 .*none.*{part} split.*{key}=0\.001"
    ):
        _splits(DataSpec(**{key: 0.001}))


def test_a_train_split_without_a_class_is_refused():
    with pytest.raises(InputError, match=r"breast_cancer: class 'malignant' .* none of them in the train split"):
        _splits(DataSpec(test_fraction=0.499, reference_fraction=0.5))


def test_more_components_than_the_reference_can_carry_are_refused():
    with pytest.raises(InputError, match=r"breast_cancer: Expected features=30 < \d+, the reference records"):
        _splits(DataSpec(features=30, reference_fraction=0.02))
    with pytest.raises(InputError, match="of the principal components do not vary"):
        _splits(DataSpec(name="digits", features=64))
