"""The statistics of the checks of direct communication."""

import numpy as np
import pytest

from qfl_sec.protocols.qsdc_checks import ESTIMATION_FAILURE, abort_reason, decodable, sampling_bound, smoothed, totals


def test_sampling_bounds_hold() -> None:
    """The rate of what was not sampled exceeds the bound no more often than stated."""
    generator = np.random.default_rng(2)
    population, samples, failure, runs = 3000, 500, 0.05, 2000
    bad = int(0.08 * population)
    errors = generator.hypergeometric(bad, population - bad, samples, runs)
    above = [
        (bad - one) / (population - samples) > sampling_bound(int(one), samples, population - samples, failure)
        for one in errors
    ]
    assert np.mean(above) <= failure
    assert sampling_bound(0, 0, 10, 0.1) == sampling_bound(0, 10, 0, 0.1) == 1
    assert sampling_bound(10, 10, 10, 0.1) == 1


def test_totals_add_up_and_keep_the_worst_bound_at_an_equal_share_of_the_failure() -> None:
    blocks = [({"z": (3, 100), "x": (0, 90)}, 1000), ({"z": (9, 110), "x": (1, 80)}, 500)]
    found = totals(blocks)
    assert (found["z"].errors, found["z"].trials, found["x"].rate) == (12, 210, 1 / 170)
    assert found["z"].bound == sampling_bound(9, 110, 500, ESTIMATION_FAILURE / 4)
    assert totals([({}, 0)]) == {}


def test_a_check_stops_above_its_threshold_or_without_a_sample() -> None:
    assert abort_reason({"z": (11, 100)}, 0.11, "check") is None
    assert abort_reason({"z": (12, 100)}, 0.11, "check") == "check: error rate 0.1200 of z is above 0.11"
    assert abort_reason({"z": (0, 0)}, 1.0, "check") == "check: no sample was detected for z"


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_a_decoder_is_told_rates_that_it_can_weigh(rate: float) -> None:
    for told in (decodable(rate), smoothed(int(1000 * rate), 1000), smoothed(0, 0)):
        assert 0 < told < 0.5
