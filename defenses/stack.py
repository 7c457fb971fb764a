"""Several defenses at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from qfl_sec.contracts import (
    Adversary,
    AggregateView,
    AnonymousUpdatesView,
    Defense,
    Forwarded,
    GlobalModelsView,
    Guarantee,
    InterceptedView,
    MechanismEvidence,
    PremiseCheck,
    ReleasedModelView,
    Setup,
    UpdatesView,
    View,
)

_BY_CONTENT: tuple[type[View], ...] = (
    ReleasedModelView,
    GlobalModelsView,
    AggregateView,
    AnonymousUpdatesView,
    InterceptedView,
    UpdatesView,
)
"""Views from the least to the most: of those that one adversary may have, each can be computed from the next.

Who intercepts masked updates has their sum from the broadcasts, and nothing more.
"""


@dataclass(frozen=True, kw_only=True)
class Stack(Defense):
    """Several defenses at once, their hooks called in this order.

    Updates pass through every defense's `update`. Per-example gradients become one gradient once, updates are passed on
    once and become one aggregate once, so at most one of the defenses may do each. An adversary sees the least that any
    of them leaves it.

    Guarantee: all that its defenses guarantee. Whatever acts on a protected value afterwards is given nothing but that
        value, and whatever acts on updates before is part of what the client computes from its records; neither costs
        any budget. A defense that claims nothing adds nothing.

    Attributes:
        defenses: At least two, of different names, none of them a stack.

    Raises:
        ValueError: If the defenses cannot be combined.
    """

    name: ClassVar[str] = "stack"

    defenses: tuple[Defense, ...]

    def __post_init__(self) -> None:
        if len(self.defenses) < 2:
            raise ValueError("Expected a stack of at least two defenses. Write a single one as a table of its own.")
        if any(isinstance(one, Stack) for one in self.defenses):
            raise ValueError("Expected no stack inside a stack. List all defenses side by side.")
        names = [one.name for one in self.defenses]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Expected each defense once in a stack, not {name!r} twice.")
        for hooks in (("gradient", "expected_gradient"), ("forward",), ("aggregate",)):
            owners = [one.name for one in self.defenses if _overrides(one, *hooks)]
            if len(owners) > 1:
                raise ValueError(
                    f"{' and '.join(owners)} do not combine: each has a hook `{hooks[0]}` of its own, and what one "
                    "gives is nothing that the other takes. Keep one of them."
                )
        poisson = any(one.sampling == "poisson" for one in self.defenses)
        object.__setattr__(self, "sampling", "poisson" if poisson else "fixed")  # for all: batches are drawn once

    def prepare(self, setup: Setup) -> Self:
        """Return a stack of the prepared defenses."""
        return replace(self, defenses=tuple(one.prepare(setup) for one in self.defenses))

    def with_shared_keys(self, keys: Callable[[int, int], bytes]) -> Self:
        """Return a stack of defenses that have these keys."""
        return replace(self, defenses=tuple(one.with_shared_keys(keys) for one in self.defenses))

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        """Return what the one defense that acts on gradients gives on average."""
        return self._on_gradients.expected_gradient(per_example, mask)

    @property
    def withholds(self) -> bool:
        """Whether any of the defenses leaves out coordinates."""
        return any(one.withholds for one in self.defenses)

    def expected_update(self, updates: Tensor) -> Tensor:
        """Return what the defenses give on average, one after the other."""
        for one in self.defenses:
            updates = one.expected_update(updates)
        return updates

    def update_noise_std(self) -> float:
        """Return the deviation of the noise that the defenses add to updates altogether."""
        return math.hypot(*(one.update_noise_std() for one in self.defenses))

    def noise_std(self) -> float:
        """Return the deviation of the noise that this defense adds."""
        return self._on_gradients.noise_std()

    def gradient(self, per_example: Tensor, mask: Tensor, *, step: int, generator: torch.Generator) -> Tensor:
        """Return what the one defense that acts on gradients gives."""
        return self._on_gradients.gradient(per_example, mask, step=step, generator=generator)

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Pass the updates through every defense."""
        for one in self.defenses:
            updates = one.update(updates, round=round, generator=generator)
        return updates

    def forward(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Forwarded | None:
        """Let the one defense that passes updates on do so."""
        return self._owner("forward").forward(updates, round=round, generator=generator)

    def aggregate(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Return what the one defense that aggregates gives."""
        owner = self._owner("aggregate")
        return owner.aggregate(updates, weights, round=round, generator=generator)

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        """Return the least that any of the defenses leaves this adversary.

        Raises:
            ValueError: If a defense names a view of its own making, which cannot be compared.
        """
        left = [one.view_for(adversary, default) for one in self.defenses]
        if None in left:
            return None
        if set(left) == {default}:
            return default
        known = [view for view in left if view in _BY_CONTENT]
        if len(known) < len(left):
            names = ", ".join(view.__name__ for view in _BY_CONTENT)
            raise ValueError(f"Expected view_for of {self.defenses} to return one of {names}.")
        return min(known, key=_BY_CONTENT.index)

    def guarantees(self, setup: Setup) -> tuple[Guarantee, ...]:
        """Return everything that any of the defenses guarantees."""
        return tuple(claim for one in self.defenses for claim in one.guarantees(setup))

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return the premises of all defenses."""
        return tuple(check for one in self.defenses for check in one.premises(evidence))

    @property
    def _on_gradients(self) -> Defense:
        return self._owner("gradient", "expected_gradient")

    def _owner(self, *hooks: str) -> Defense:
        """Return the one defense that has one of these hooks; the first, whose hooks are the defaults, if none has."""
        return next((one for one in self.defenses if _overrides(one, *hooks)), self.defenses[0])


def parts(defense: Defense) -> tuple[Defense, ...]:
    """Return the defenses of a stack, or the one that is none."""
    return defense.defenses if isinstance(defense, Stack) else (defense,)


def _overrides(defense: Defense, *hooks: str) -> bool:
    return any(getattr(type(defense), hook) is not getattr(Defense, hook) for hook in hooks)
