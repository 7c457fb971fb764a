import math
from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch

from qfl_sec.accounting import Releases, epsilon_pld, privacy_curve
from qfl_sec.contracts import UPDATE_READERS, MechanismEvidence, Setup
from qfl_sec.defenses import DpSgd, NoDefense

SETUP = Setup(
    schedule=((0, 1), (0, 2), (0, 1), (2, 0), (1, 0)),
    expected_sizes=(14.0, 14.0, 40.0, 14.0),
    local_steps=(1, 1, 2, 1),
    batch_size=4,
    sampling="poisson",
    optimizer="sgd",
    learning_rate=1.0,
    average="plain",
    n_parameters=6,
)
DEFENSE = DpSgd(epsilon=2.0, delta=1e-3, clip_norm=0.5)


@pytest.fixture(scope="module")
def prepared() -> DpSgd:
    return DEFENSE.prepare(SETUP)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(batch: int = 5, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(3, batch, 6, generator=generator(1), dtype=torch.float64)


def by_loop(per_example: torch.Tensor, mask: torch.Tensor, clip: float, batch_size: int) -> torch.Tensor:
    total = torch.zeros(per_example.shape[0], per_example.shape[2], dtype=per_example.dtype)
    for client in range(per_example.shape[0]):
        for slot in range(per_example.shape[1]):
            if mask[client, slot]:
                one = per_example[client, slot]
                total[client] += one / max(1.0, float(one.norm()) / clip)
    return total / batch_size


@pytest.mark.parametrize("scale", [0.01, 0.2, 1.0, 100.0])
def test_expected_gradient_equals_the_loop(prepared: DpSgd, scale: float) -> None:
    per_example, mask = gradients(scale=scale), torch.tensor([[1, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    found = prepared.expected_gradient(per_example, mask)
    assert torch.allclose(found, by_loop(per_example, mask, 0.5, 4), rtol=1e-12, atol=1e-15)


def test_one_record_moves_the_sum_by_no_more_than_the_clip(prepared: DpSgd) -> None:
    per_example = gradients(scale=50.0)
    everyone = torch.ones(3, 5, dtype=torch.bool)
    for slot in range(5):
        without = everyone.clone()
        without[:, slot] = False
        moved = prepared.expected_gradient(per_example, everyone) - prepared.expected_gradient(per_example, without)
        assert float(moved.norm(dim=-1).max()) <= 0.5 / 4 * (1 + 1e-12)
        assert float(moved.norm(dim=-1).min()) >= 0.5 / 4 * (1 - 1e-12)


def test_zero_gradients_stay_zero_and_differentiable(prepared: DpSgd) -> None:
    per_example = torch.zeros(1, 2, 6, dtype=torch.float64, requires_grad=True)
    found = prepared.expected_gradient(per_example, torch.ones(1, 2, dtype=torch.bool))
    assert not found.any()
    (derivative,) = torch.autograd.grad(found.sum(), per_example)
    assert torch.equal(derivative, torch.full_like(per_example, 0.25))


def test_derivative_of_the_clipped_part_is_right(prepared: DpSgd) -> None:
    per_example = gradients().requires_grad_()
    mask = torch.ones(3, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda one: prepared.expected_gradient(one, mask), (per_example,))
    tangent = torch.ones_like(per_example)
    moved = torch.func.jvp(lambda one: prepared.expected_gradient(one, mask), (per_example.detach(),), (tangent,))[1]
    step = 1e-6
    ahead, behind = (prepared.expected_gradient(per_example.detach() + s * step, mask) for s in (1, -1))
    assert torch.allclose(moved, (ahead - behind) / (2 * step), atol=1e-8)


def test_noise_has_the_stated_deviation_and_is_independent(prepared: DpSgd) -> None:
    clients, parameters = 400, 250
    per_example, mask = torch.zeros(clients, 1, parameters, dtype=torch.float64), torch.ones(clients, 1).bool()
    source = generator()
    first, second = (prepared.gradient(per_example, mask, step=step, generator=source) for step in (0, 1))
    draws = clients * parameters
    assert prepared.noise_std() == prepared.noise_multiplier * 0.5 / 4
    for released in (first, second):
        assert float(released.std()) == pytest.approx(prepared.noise_std(), rel=5 / math.sqrt(2 * draws))
        assert abs(float(released.mean())) < 5 * prepared.noise_std() / math.sqrt(draws)
    bound = 5 / math.sqrt(draws)
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < bound
    half = clients // 2
    assert abs(float(torch.corrcoef(torch.stack([first[:half].flatten(), first[half:].flatten()]))[0, 1])) < 1.5 * bound


def test_an_empty_batch_is_noise_alone(prepared: DpSgd) -> None:
    empty = torch.zeros(3, 5, dtype=torch.bool)
    released = prepared.gradient(gradients(), empty, step=0, generator=generator())
    noise = torch.randn(3, 6, generator=generator(), dtype=torch.float64)
    assert torch.allclose(released, prepared.noise_std() * noise)
    assert torch.equal(prepared.gradient(gradients(0), empty[:, :0], step=0, generator=generator()), released)


def test_the_divisor_is_public(prepared: DpSgd) -> None:
    per_example = torch.full((1, 1, 6), 1e-3, dtype=torch.float64)
    alone = prepared.expected_gradient(per_example, torch.ones(1, 1).bool())
    assert torch.allclose(alone, per_example[:, 0] / 4)


def test_same_generator_same_release_and_single_precision(prepared: DpSgd) -> None:
    per_example, mask = gradients().float(), torch.ones(3, 5).bool()
    first, again = (prepared.gradient(per_example, mask, step=0, generator=generator(4)) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.equal(first, again)


def test_a_gradient_that_is_not_finite_is_still_hidden(prepared: DpSgd) -> None:
    per_example, mask = gradients(), torch.ones(3, 5).bool()
    per_example[0, 0, 0], per_example[1, 1, 2] = torch.nan, torch.inf
    released = prepared.gradient(per_example, mask, step=0, generator=generator())
    mask[0, 0] = mask[1, 1] = False
    clean = prepared.gradient(gradients(), mask, step=0, generator=generator())
    assert torch.allclose(released, clean)


def test_the_worst_client_decides_and_every_local_step_counts(prepared: DpSgd) -> None:
    found = {one.client: one for one in prepared.guarantees(SETUP) if one.adversary == "server"}
    assert [(client, one.releases) for client, one in found.items()] == [(0, 5), (1, 3), (2, 4)]
    assert max(one.epsilon for one in found.values()) == found[0].epsilon
    assert 0.998 * 2.0 <= found[0].epsilon <= 2.0
    tripled = replace(SETUP, local_steps=(3, 1, 2, 1))
    again = DEFENSE.prepare(tripled)
    assert again.noise_multiplier > 1.2 * prepared.noise_multiplier
    assert next(one for one in again.guarantees(tripled) if one.client == 0).releases == 15


def test_guarantees_agree_with_the_accountant(prepared: DpSgd) -> None:
    for one in prepared.guarantees(SETUP):
        assert one.client is not None
        released = Releases(
            noise_multiplier=prepared.noise_multiplier,
            sample_rate=SETUP.sample_rate(one.client),
            sampled=one.releases,
        )
        assert one.epsilon == pytest.approx(epsilon_pld(released, 1e-3, grid=1e-3), rel=2e-3)
        steps = SETUP.local_steps[one.client]
        assert one.curve == privacy_curve(released)
        in_batch = privacy_curve(released.known_in(steps), grid=5e-3)
        assert dict(one.in_batch_curve)[0.0] == pytest.approx(dict(in_batch)[0.0], rel=5e-3)
        assert one.in_batch_curve[0][1] > one.curve[0][1]
        assert one.epsilon_rdp is not None
        assert one.epsilon <= one.epsilon_rdp
        assert (one.unit, one.adjacency, one.delta) == ("record", "add-remove", 1e-3)


def test_guarantees_cover_every_adversary_and_no_silent_client(prepared: DpSgd) -> None:
    found = prepared.guarantees(SETUP)
    places = {(one.adversary, one.client) for one in found}
    assert places == {(adversary, client) for adversary in UPDATE_READERS for client in (0, 1, 2)}
    assert len(found) == len(places)
    assert all(("computed from the server's" in one.mechanism) == (one.adversary != "server") for one in found)
    assert "rate 0.2857" in found[0].sampling
    assert "PLD (dp-accounting 0.6" in found[0].accountant


def test_full_batches_are_not_amplified() -> None:
    small = replace(SETUP, expected_sizes=(3.0, 3.0, 3.0, 3.0), schedule=((0,),), local_steps=(1, 1, 1, 1))
    prepared = DEFENSE.prepare(small)
    (server, *_) = prepared.guarantees(small)
    assert "rate 1," in server.sampling
    assert server.curve == server.in_batch_curve


def test_preparing_changes_no_parameter(prepared: DpSgd) -> None:
    assert prepared == DEFENSE
    assert repr(prepared) == repr(DEFENSE)
    assert [one.name for one in fields(DpSgd)] == ["epsilon", "delta", "clip_norm"]
    assert DEFENSE._prepared is None
    copied = deepcopy(prepared)
    assert copied.noise_multiplier == prepared.noise_multiplier
    assert DEFENSE.prepare(SETUP).noise_multiplier == prepared.noise_multiplier


def test_hooks_refuse_to_run_unprepared() -> None:
    per_example, mask = gradients(), torch.ones(3, 5).bool()
    evidence = MechanismEvidence(largest_contribution=0.1, noise_std=0.1, noise_draws=10, sampling="poisson")
    for call in (
        DEFENSE.noise_std,
        lambda: DEFENSE.expected_gradient(per_example, mask),
        lambda: DEFENSE.gradient(per_example, mask, step=0, generator=generator()),
        lambda: DEFENSE.guarantees(SETUP),
        lambda: DEFENSE.premises(evidence),
    ):
        with pytest.raises(ValueError, match=r"prepare\(setup\)"):
            call()


def test_another_setup_and_fixed_batches_are_refused(prepared: DpSgd) -> None:
    with pytest.raises(ValueError, match="prepared for"):
        prepared.guarantees(replace(SETUP, batch_size=5))
    with pytest.raises(ValueError, match="'poisson'"):
        DEFENSE.prepare(replace(SETUP, sampling="fixed"))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epsilon": 0.0}, "Expected epsilon=0.0 > 0"),
        ({"epsilon": -1}, "Expected epsilon=-1 > 0"),
        ({"epsilon": float("nan")}, "Expected epsilon=nan > 0"),
        ({"epsilon": float("inf")}, "Expected epsilon=inf > 0"),
        ({"delta": 0.0}, "Expected 0 < delta=0.0 < 1"),
        ({"delta": 1.0}, "Expected 0 < delta=1.0 < 1"),
        ({"delta": float("nan")}, "Expected 0 < delta=nan < 1"),
        ({"clip_norm": 0.0}, "Expected clip_norm=0.0 > 0"),
        ({"clip_norm": -1}, "Expected clip_norm=-1 > 0"),
        ({"clip_norm": float("nan")}, "Expected clip_norm=nan > 0"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DpSgd(**({"epsilon": 1.0} | parameters))


def evidence(prepared: DpSgd, **change: object) -> MechanismEvidence:
    seen = MechanismEvidence(
        largest_contribution=0.125, noise_std=prepared.noise_std() * 1.001, noise_draws=100_000, sampling="poisson"
    )
    return replace(seen, **change)  # type: ignore[arg-type]


def test_premises_hold_for_what_the_mechanism_does(prepared: DpSgd) -> None:
    found = prepared.premises(evidence(prepared))
    assert [check.passed for check in found] == [True, True, True, None]
    assert found[-1].status == "assumed"


@pytest.mark.parametrize(
    ("change", "index"),
    [
        ({"largest_contribution": 0.126}, 0),
        ({"largest_contribution": 0.0}, 0),
        ({"largest_contribution": float("nan")}, 0),
        ({"noise_std": 0.0}, 1),
        ({"noise_std": float("nan")}, 1),
        ({"noise_draws": 0}, 1),
        ({"sampling": "fixed"}, 2),
    ],
)
def test_premises_fail_where_the_mechanism_was_not_applied(
    prepared: DpSgd, change: dict[str, object], index: int
) -> None:
    found = prepared.premises(evidence(prepared, **change))
    assert [check.passed for check in found].index(False) == index


def test_no_defense_is_the_plain_mean_and_claims_nothing() -> None:
    per_example, mask = gradients(), torch.tensor([[1, 1, 0, 0, 0]] * 3).bool()
    plain = NoDefense().prepare(SETUP)
    released = plain.gradient(per_example, mask, step=0, generator=generator())
    assert torch.allclose(released, per_example[:, :2].mean(1))
    assert plain.guarantees(SETUP) == ()
    assert plain.noise_std() == 0.0
    assert (NoDefense.__doc__ or "").splitlines()[0] == "No defense: updates leave as they are."
