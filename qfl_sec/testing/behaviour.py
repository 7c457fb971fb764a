"""How a defense's hooks must behave, whatever it protects: shapes, determinism, isolation, honest failure."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from qfl_sec.contracts import ADVERSARIES, Defense, Guarantee, MechanismEvidence, PremiseCheck, View
from qfl_sec.testing.bench import (
    BATCH,
    CLIENTS,
    PARAMETERS,
    SLOTS,
    Bench,
    first_slots,
    hook_results,
    neutral_parameters,
    rehearsed,
    release,
)
from qfl_sec.testing.scorecard import Finding, SkippedError, shown
from qfl_sec.testing.surroundings import global_seed, in_a_copy, outcome, with_truth_in_reach
from qfl_sec.views import DEFAULT_VIEWS

ROUNDING = 1e-9
"""Relative difference that is put down to the order of additions."""


def determinism(bench: Bench) -> Finding:
    """Two copies of this process, with other global seeds, must give the same bytes from the same generator."""
    same = bench.fresh[0] == bench.fresh[1]
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} bytes in two processes",
        expected="equal bytes",
        reason="The same generator state gives the same training."
        if same
        else "It draws from something else than the generator it is handed. Use that generator alone.",
    )


def no_hidden_state(bench: Bench) -> Finding:
    """A training after others must give what it gives when it comes first."""

    def after_others() -> bytes:
        shorter = replace(bench.setup, schedule=bench.setup.schedule[:2], expected_sizes=(40.0,) * 5)
        for setup in (shorter, bench.setup):
            rehearsed(bench, setup, 1)
        return rehearsed(bench, bench.setup, 1)

    if bench.fresh[0] != bench.fresh[1]:
        raise SkippedError("It is not deterministic, so that two trainings cannot be compared: see determinism.")
    same = bench.fresh[0] == in_a_copy(after_others)
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} bytes after two other trainings",
        expected="equal bytes",
        reason="A training leaves nothing behind for the next."
        if same
        else "An earlier training changes a later one: it keeps something in its class or module. Keep it in what "
        "prepare returns.",
    )


def shapes(bench: Bench) -> Finding:
    """Every hook must return the kind, shape and dtype that its contract states."""
    mistakes = [*_mistaken_values(bench)]
    for dtype in (torch.float64, torch.float32):
        results = hook_results(bench.prepared, bench, dtype=dtype)
        mistakes += [f"{hook} gave {_described(got)}" for hook, got in results.items() if not _fits(hook, got, dtype)]
    return Finding(
        passed=not mistakes,
        measured=mistakes[0] if mistakes else "all as stated",
        expected=f"({CLIENTS}, {PARAMETERS}), aggregate ({PARAMETERS},), of the dtype handed in",
        reason="A hook returns the wrong kind, shape or dtype."
        if mistakes
        else "Every hook returns the kind, shape and dtype of its contract.",
    )


def _fits(hook: str, got: object, dtype: torch.dtype) -> bool:
    shape = (PARAMETERS,) if hook == "aggregate" else (CLIENTS, PARAMETERS)
    return isinstance(got, Tensor) and tuple(got.shape) == shape and got.dtype == dtype


def _described(got: object) -> str:
    return f"{got.dtype} {tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__


def _mistaken_values(bench: Bench) -> list[str]:
    """Return what is wrong with what is no tensor."""
    prepared = bench.prepared
    if not isinstance(prepared, type(bench.defense)):
        return [f"prepare gave {type(prepared).__name__}"]
    mistakes = []
    noise: Any = prepared.noise_std()
    if not isinstance(noise, float | int) or not (math.isfinite(noise) and noise >= 0):
        mistakes.append(f"noise_std gave {noise!r}")
    for adversary in ADVERSARIES:
        view: Any = prepared.view_for(adversary, DEFAULT_VIEWS[adversary])
        if view is not None and not (isinstance(view, type) and issubclass(view, View)):
            mistakes.append(f"view_for gave {view!r}")
    evidence = MechanismEvidence(
        largest_contribution=0.1, noise_std=0.1, noise_draws=100, sampling=bench.setup.sampling
    )
    pairs = ((Guarantee, bench.guarantees, "guarantees"), (PremiseCheck, prepared.premises(evidence), "premises"))
    for kind, found, hook in pairs:
        if not isinstance(found, tuple) or not all(isinstance(one, kind) for one in found):
            mistakes.append(f"{hook} gave no tuple of {kind.__name__}")
    return mistakes


def finite(bench: Bench) -> Finding:
    """Finite gradients must give finite results, and a finite derivative for attackers who model the defense."""
    results = hook_results(bench.prepared, bench)
    for case, scale in (("zero", 0.0), ("usual", 1.0)):
        point = (scale * bench.gradients("records")).requires_grad_()
        modelled = bench.prepared.expected_gradient(point, first_slots(BATCH))
        if modelled.requires_grad:
            name = f"the derivative of expected_gradient at {case} gradients"
            results[name] = torch.autograd.grad(modelled.sum(), point)[0]
    bad = [hook for hook, got in results.items() if isinstance(got, Tensor) and not bool(torch.isfinite(got).all())]
    return Finding(
        passed=not bad,
        measured=f"NaN or infinity from {', '.join(bad)}" if bad else "finite numbers",
        expected="finite numbers",
        reason="Finite gradients give numbers that are not finite." if bad else "Finite gradients give finite numbers.",
    )


def inputs_unchanged(bench: Bench) -> Finding:
    """No hook may write into what it is handed."""
    prepared, generator = bench.prepared, bench.generator("inputs")
    per_example, mask, updates = bench.gradients("records"), first_slots(BATCH), bench.updates("updates")
    weights = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
    calls: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
        "expected_gradient": (prepared.expected_gradient, (per_example, mask)),
        "gradient": (lambda *given: prepared.gradient(*given, step=0, generator=generator), (per_example, mask)),
        "update": (lambda given: prepared.update(given, round=0, generator=generator), (updates,)),
        "aggregate": (lambda *given: prepared.aggregate(*given, round=0, generator=generator), (updates, weights)),
    }
    changed = []
    for hook, (call, given) in calls.items():
        handed = tuple(one.clone() for one in given)
        call(*handed)
        changed += [hook] if any(not torch.equal(a, b) for a, b in zip(given, handed, strict=True)) else []
    return Finding(
        passed=not changed,
        measured=f"changed by {', '.join(changed)}" if changed else "unchanged",
        expected="unchanged",
        reason="A hook writes into its input. Work on a copy, without in-place operations."
        if changed
        else "No hook writes into its input.",
    )


def switched_off(bench: Bench) -> Finding:
    """At its neutral parameters a defense must do what no defense does, to the last digits."""
    neutral = neutral_parameters(bench.defense)
    if neutral is None:
        raise SkippedError('It declares no neutral parameters. If it has some, write neutral: ClassVar = {"field": 0}.')
    off = replace(cast(Any, bench.defense), **neutral)
    prepared = off.prepare(bench.setup)
    ours, plain = hook_results(prepared, bench), hook_results(_Plain(), bench)
    gaps = {hook: float((ours[hook] - plain[hook]).abs().max()) for hook in plain}
    worst = max(gaps, key=lambda hook: gaps[hook])
    views = [name for name in ADVERSARIES if prepared.view_for(name, DEFAULT_VIEWS[name]) is not DEFAULT_VIEWS[name]]
    claims = len(prepared.guarantees(bench.setup))
    return Finding(
        passed=gaps[worst] <= ROUNDING and not views and not claims,
        measured=f"largest difference {gaps[worst]:.1e} ({worst}), {len(views)} views changed, {claims} guarantees",
        expected="as without a defense",
        reason=f"Switched off ({dict(neutral)}) it should do what no defense does.",
    )


class _Plain(Defense):
    """The hooks as they are by default."""

    name = "plain"


def signal(bench: Bench) -> Finding:
    """What is released must depend on the gradients, or nothing is learnt and nothing was protected."""
    gradients, mask = bench.gradients("records"), first_slots(BATCH)
    released = [release(bench.prepared, given, mask, bench.generator("signal")) for given in (gradients, -gradients)]
    updates = bench.updates("updates")
    sent = [
        bench.prepared.update(given.clone(), round=0, generator=bench.generator("signal"))
        for given in (updates, -updates)
    ]
    moved = [float((pair[0] - pair[1]).norm(dim=-1).min()) for pair in (released, sent)]
    return Finding(
        passed=min(moved) > 0,
        measured=f"gradient moves by {moved[0]:.3g}, update by {moved[1]:.3g} when the gradients change sign",
        expected="more than 0",
        reason="What leaves the client depends on its gradients."
        if min(moved) > 0
        else "What leaves the client does not depend on its gradients: it is zero, or noise alone. Nothing is learnt.",
    )


def isolation(bench: Bench) -> Finding:
    """One client's records must not move what other clients release."""
    gradients, mask, updates = bench.gradients("records"), first_slots(BATCH), bench.updates("updates")
    others = torch.arange(CLIENTS) != 1
    moved: dict[str, float] = {}
    for scale in (-1.0, 0.0, 100.0):
        touched, sent = gradients.clone(), updates.clone()
        touched[1] *= scale
        sent[1] *= scale
        pairs = {
            "gradient": [
                _alike(partial(release, bench.prepared, given, mask), bench) for given in (gradients, touched)
            ],
            "update": [_alike(partial(_sent, bench.prepared, given), bench) for given in (updates, sent)],
        }
        for hook, (before, after) in pairs.items():
            moved[hook] = max(moved.get(hook, 0.0), float((before - after)[others].abs().max()))
    worst = max(moved, key=lambda hook: moved[hook])
    return Finding(
        passed=moved[worst] == 0,
        measured=f"others move by {moved[worst]:.3g} ({worst})",
        expected="0",
        reason="Each client is protected by itself."
        if moved[worst] == 0
        else "What one client releases depends on another's records. Work along each client's own row.",
    )


def _sent(prepared: Defense, updates: Tensor, generator: torch.Generator) -> Tensor:
    return prepared.update(updates.clone(), round=0, generator=generator)


def _alike(call: Callable[[torch.Generator], Tensor], bench: Bench) -> Tensor:
    """Call from the same state of every random generator, the global ones included."""
    with global_seed(1):
        return call(bench.generator("alike"))


def empty_slots(bench: Bench) -> Finding:
    """What stands in an empty slot, and how many there are, must not matter: training fills them with any record."""
    gradients, mask = bench.gradients("records"), first_slots(BATCH)
    filled = torch.where(mask.unsqueeze(-1), gradients, 50.0)
    wider = torch.cat([filled, torch.full_like(filled, -7.0)], 1)
    before, after, wide = (
        release(bench.prepared, given, kept, bench.generator("slots"))
        for given, kept in (
            (torch.where(mask.unsqueeze(-1), gradients, 0.0), mask),
            (filled, mask),
            (wider, first_slots(BATCH, slots=2 * SLOTS)),
        )
    )
    gap = max(float((before - other).abs().max()) for other in (after, wide))
    passed = gap <= ROUNDING
    return Finding(
        passed=passed,
        measured=f"difference {gap:.3g}",
        expected="0 up to rounding",
        reason="Empty slots of a batch count for nothing."
        if passed
        else "Empty slots of a batch change the result: they hold a copy of some record. Multiply by the mask.",
    )


def no_truth(bench: Bench) -> Finding:
    """A truth within reach, in a caller's variable and on disk, must not be looked at."""
    members = torch.rand(40, generator=bench.generator("truth")) < 0.5

    def run() -> bytes:
        with global_seed(1):
            return outcome(lambda: hook_results(bench.prepared, bench))

    _ = bench.prepared
    return truth_finding(run, members)


def truth_finding(call: Callable[[], bytes], members: Tensor) -> Finding:
    """Return the finding on whether a call gives the same with this truth within reach as with the opposite one.

    Each call has a copy of this process to itself, so that what one leaves behind does not reach the next.
    """
    first, again, opposite = (
        in_a_copy(partial(with_truth_in_reach, call, truth)) for truth in (members, members, ~members)
    )
    if first != again:
        raise SkippedError("It is not deterministic, so that two runs cannot be compared: see determinism.")
    same = first == opposite
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} results with another truth within reach",
        expected="equal results",
        reason="It does not look at the truth."
        if same
        else "Its results depend on who is a member, which it is not told: it looks at its callers or at files.",
    )


def honest_failure(bench: Bench) -> Finding:
    """Odd cases must give finite numbers, or a ValueError that says why."""
    prepared, normal = bench.prepared, bench.gradients("records")
    cases = {
        "an empty batch": (normal, first_slots(0)),
        "one record": (normal, first_slots(1)),
        "a batch twice as large": (normal.repeat(1, 2, 1), first_slots(2 * BATCH, slots=2 * SLOTS)),
        "zero gradients": (torch.zeros_like(normal), first_slots(BATCH)),
        "gradients of norm 1e30": (1e30 * normal, first_slots(BATCH)),
    }
    if bench.guarantees:
        broken = normal.clone()
        broken[0, 0, 0] = math.nan
        cases["a gradient that is NaN, under a guarantee"] = (broken, first_slots(BATCH))
    troubles = [f"{case}: {trouble}" for case, given in cases.items() if (trouble := _trouble(prepared, *given, bench))]
    troubles += _claims_under_other_sampling(bench)
    return Finding(
        passed=not troubles,
        measured=troubles[0] if troubles else f"{len(cases)} odd cases answered",
        expected="finite numbers, or a ValueError that says why",
        reason="It fails silently or without a reason."
        if troubles
        else "It answers odd cases, or refuses them with a reason.",
    )


def _trouble(prepared: Defense, per_example: Tensor, mask: Tensor, bench: Bench) -> str | None:
    try:
        released = release(prepared, per_example, mask, bench.generator("odd"))
        released = prepared.update(released.clone(), round=0, generator=bench.generator("odd update"))
    except ValueError as error:
        return None if str(error).strip() else "ValueError without a reason"
    except Exception as error:
        return shown(error)
    return None if bool(torch.isfinite(released).all()) else "numbers that are not finite"


def _claims_under_other_sampling(bench: Bench) -> list[str]:
    """A guarantee that counts on secret Poisson batches must not be given where batches are fixed."""
    if bench.defense.sampling != "poisson" or not bench.guarantees:
        return []
    setup = replace(bench.setup, sampling="fixed")
    try:
        claims = bench.defense.prepare(setup).guarantees(setup)
    except ValueError as error:
        return [] if str(error).strip() else ["fixed batches: ValueError without a reason"]
    smaller = any(claim.epsilon <= mine.epsilon for claim, mine in zip(claims, bench.guarantees, strict=False))
    return ["fixed batches: the guarantee that needs Poisson batches is given all the same"] if smaller else []
