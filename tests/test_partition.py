import numpy as np
import pytest
import torch

from qfl_sec.checking import InputError
from qfl_sec.partition import SCHEMES, WITH_ALPHA, check_scheme, deal

LABELS = np.repeat([0, 1, 2], [150, 90, 60])


def _deal(scheme, clients, *, seed=0, alpha=0.5, labels=LABELS):
    rng = np.random.default_rng(seed)
    return deal(labels, clients, scheme=scheme, alpha=alpha if scheme in WITH_ALPHA else None, rng=rng)


def _distance_to_overall_mix(owners, clients):
    """Total variation between each client's labels and everybody's, averaged over records."""
    overall = np.bincount(LABELS, minlength=3) / len(LABELS)
    total = 0.0
    for client in range(clients):
        mix = np.bincount(LABELS[owners == client], minlength=3)
        total += mix.sum() * np.abs(mix / mix.sum() - overall).sum() / 2
    return total / len(LABELS)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clients", [1, 2, 7, 100, 299, 300])
def test_every_record_is_dealt_once_and_no_client_goes_without(scheme, clients):
    owners = _deal(scheme, clients, alpha=0.05)
    assert owners.shape == LABELS.shape
    assert owners.dtype == np.int64
    assert set(owners.tolist()) == set(range(clients))


@pytest.mark.parametrize("scheme", ["iid", "by_label"])
@pytest.mark.parametrize("clients", [1, 7, 10, 64])
def test_sizes_differ_by_at_most_one(scheme, clients):
    sizes = np.bincount(_deal(scheme, clients), minlength=clients)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_seed_same_result_and_another_seed_another(scheme):
    assert np.array_equal(_deal(scheme, 7, seed=3), _deal(scheme, 7, seed=3))
    assert not np.array_equal(_deal(scheme, 7, seed=3), _deal(scheme, 7, seed=4))


def test_iid_clients_have_the_overall_mix_up_to_chance():
    # Hypergeometric: a client of 60 records has 30 of class 0, standard deviation sqrt(60 * 0.25 * 240 / 299) = 3.5.
    counts = [np.bincount(LABELS[_deal("iid", 5, seed=seed) == 2], minlength=3)[0] for seed in range(200)]
    assert abs(np.mean(counts) - 30) < 4 * 3.5 / np.sqrt(200)
    assert 2.5 < np.std(counts) < 4.5


def test_dirichlet_skew_rises_as_alpha_falls():
    skews = [
        np.mean([_distance_to_overall_mix(_deal("dirichlet", 8, seed=seed, alpha=alpha), 8) for seed in range(20)])
        for alpha in (0.01, 0.1, 1.0, 10.0, 1e4)
    ]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.4
    assert skews[-1] < 0.05


@pytest.mark.parametrize(
    ("scheme", "labels"), [("dirichlet", np.zeros(10_000, dtype=int)), ("quantity_skew", np.arange(10_000) % 3)]
)
def test_shares_have_the_moments_of_the_distribution(scheme, labels):
    # A share of Dirichlet(a, ..., a) over m has mean 1/m and variance (m - 1) / (m^2 (m a + 1)).
    clients, alpha = 4, 0.7
    shares = [
        np.bincount(_deal(scheme, clients, seed=seed, alpha=alpha, labels=labels), minlength=4) / len(labels)
        for seed in range(400)
    ]
    variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
    assert np.allclose(np.mean(shares, axis=0), 1 / clients, atol=5 * np.sqrt(variance / 400))
    assert np.allclose(np.var(shares, axis=0), variance, rtol=0.25)


def test_quantity_skew_has_skewed_sizes_and_the_overall_mix_up_to_chance():
    # Given its size n, a client's records of class 0 are hypergeometric: mean n / 2, variance n / 4 * (300 - n) / 299.
    deviations, sizes = [], []
    for seed in range(300):
        chosen = LABELS[_deal("quantity_skew", 5, seed=seed, alpha=1.0) == 2]
        sizes.append(len(chosen))
        deviations.append(
            (np.sum(chosen == 0) - len(chosen) / 2) / np.sqrt(len(chosen) / 4 * (300 - len(chosen)) / 299)
        )
    assert abs(np.mean(deviations)) < 4 / np.sqrt(300)
    assert np.var(deviations) == pytest.approx(1, abs=0.35)
    assert np.std(sizes) > 30  # sqrt(4 / (25 * 6)) of 300 is 49


@pytest.mark.parametrize("scheme", WITH_ALPHA)
def test_repair_takes_from_the_largest_client(scheme):
    labels = np.zeros(50, dtype=int)
    owners = _deal(scheme, 5, alpha=1e-9, labels=labels)
    assert sorted(np.bincount(owners, minlength=5).tolist()) == [1, 1, 1, 1, 46]


def test_by_label_clients_hold_a_single_label_but_at_the_borders():
    owners = _deal("by_label", 10)
    mixed = [client for client in range(10) if len(set(LABELS[owners == client].tolist())) > 1]
    assert mixed == []
    owners = _deal("by_label", 7)
    assert sum(len(set(LABELS[owners == client].tolist())) > 1 for client in range(7)) <= 2


def test_labels_may_be_a_tensor_and_need_not_be_sorted():
    labels = torch.tensor([1, 0, 1, 0])
    owners = deal(labels, 2, scheme="by_label", rng=np.random.default_rng(0))
    assert owners.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("scheme", "alpha", "message"),
    [
        ("idd", None, r"partition='idd'.*iid, dirichlet, by_label, quantity_skew"),
        ("iid", 0.5, r"no alpha=0.5.*dirichlet, quantity_skew"),
        ("quantity_skew", None, r"partition='quantity_skew' has no alpha"),
        ("quantity_skew", 0.0, r"alpha=0.0"),
        ("quantity_skew", 2e6, r"alpha=2000000.0 <= 1e\+06"),
        ("by_label", 0.5, r"no alpha=0.5"),
        ("dirichlet", None, r"no alpha"),
        ("dirichlet", 0.0, r"alpha=0.0"),
        ("dirichlet", -1.0, r"alpha=-1.0"),
        ("dirichlet", float("nan"), r"alpha=nan"),
        ("dirichlet", float("inf"), r"alpha=inf"),
    ],
)
def test_impossible_schemes_are_refused(scheme, alpha, message):
    with pytest.raises(InputError, match=message):
        check_scheme(scheme, alpha)
    with pytest.raises(InputError, match=message):
        deal(LABELS, 3, scheme=scheme, alpha=alpha, rng=np.random.default_rng(0))


@pytest.mark.parametrize("clients", [-1, 0, 301])
def test_impossible_numbers_of_clients_are_refused(clients):
    with pytest.raises(InputError, match=rf"clients={clients} <= 300"):
        deal(LABELS, clients, rng=np.random.default_rng(0))


def test_labels_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"\(2, 2\)"):
        deal(np.zeros((2, 2)), 2, rng=np.random.default_rng(0))
