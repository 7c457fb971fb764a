"""The settings of an audit as `results.json` describes them: what each claims, and what it is drawn against."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from qfl_sec.contracts import Defense
from qfl_sec.defenses.stack import parts
from qfl_sec.experiment import as_table, setting_id
from qfl_sec.plugins import description
from qfl_sec.results import Scalar, Setting, Strength


def describe_settings(
    defenses: Sequence[Defense], audited: Defense, *, claiming: Iterable[str], trained: Iterable[str]
) -> tuple[Setting, ...]:
    """Return the settings of an experiment, in their order.

    Args:
        defenses: One a setting.
        audited: The one of the first page.
        claiming: Ids of the settings that claimed a guarantee in some training. A field called epsilon is no budget
            without one.
        trained: Ids of the settings that were trained; of the others it counts what their classes say.
    """
    with_guarantee, seen = set(claiming), set(trained)
    labels = [
        _label(one, _epsilon(one) if _claims(one, with_guarantee, seen) else None, _strength(one, defenses))
        for one in defenses
    ]
    return tuple(
        _entry(
            one,
            label=label if labels.count(label) == 1 else setting_id(one),
            claims=_claims(one, with_guarantee, seen),
            strength=_strength(one, defenses),
            audited=one == audited,
        )
        for one, label in zip(defenses, labels, strict=True)
    )


def _entry(defense: Defense, *, label: str, claims: bool, strength: Strength | None, audited: bool) -> Setting:
    combined = parts(defense)
    epsilon = _epsilon(defense) if claims else None
    delta = next((one.delta for one in combined if hasattr(one, "epsilon") and hasattr(one, "delta")), None)
    return Setting(
        id=setting_id(defense),
        label=label,
        defense=" + ".join(one.name for one in combined),
        description="; ".join(description(type(one)) for one in combined),
        parameters=_parameters(defense),
        epsilon=epsilon,
        delta=None if epsilon is None or delta is None else float(delta),
        audited=audited,
        strength=None if claims else strength,
    )


def _claims(defense: Defense, claiming: set[str], trained: set[str]) -> bool:
    """Return whether a setting claims a guarantee: in its trainings, or by its class if there is none."""
    identifier = setting_id(defense)
    if identifier in trained:
        return identifier in claiming
    return any(type(one).guarantees is not Defense.guarantees for one in parts(defense))


def _epsilon(defense: Defense) -> float | None:
    """Return the budget among the fields, of a stack's first defense that has one."""
    for one in parts(defense):
        value = getattr(one, "epsilon", None)
        if value is not None:
            return float(value)
    return None


def _parameters(defense: Defense) -> Mapping[str, Scalar]:
    """Return the fields; in a stack with the names of their defenses."""
    combined = parts(defense)
    return {
        f"{one.name}.{name}" if len(combined) > 1 else name: value
        for one in combined
        for name, value in as_table(one).items()
        if name != "name"
    }


def _label(defense: Defense, epsilon: float | None, strength: Strength | None) -> str:
    """Return a short label; several settings may have the same one."""
    if defense.name == "none":
        return "no DP"
    if epsilon is not None:
        combined = parts(defense)
        budget = next(one for one in combined if getattr(one, "epsilon", None) is not None)
        return " + ".join([f"ε = {epsilon:g}", *(one.name for one in combined if one is not budget)])
    return setting_id(defense) if strength is None else f"{strength.name} = {strength.value:g}"


def _strength(defense: Defense, defenses: Sequence[Defense]) -> Strength | None:
    """Return how strong a setting is: by the field that its defense names, else by the one numeric field that varies.

    None if there is no such field, or several.
    """
    combined = parts(defense)
    prefix = {one.name: f"{one.name}." if len(combined) > 1 else "" for one in combined}
    declared = [(one, one.strength_field) for one in combined if one.strength_field is not None]
    if len(declared) == 1:
        owner, field = declared[0]
        name = prefix[owner.name] + field
    else:
        same = [one for one in defenses if _names(one) == _names(defense)]
        varying = [key for key in _numbers(defense) if len({_numbers(one).get(key) for one in same}) > 1]
        if declared or len(varying) != 1:
            return None
        name = varying[0]
        owner = next(one for one in combined if name.startswith(prefix[one.name]))
        field = name.removeprefix(prefix[owner.name])
    value = _numbers(defense).get(name)
    if value is None:
        return None
    neutral = getattr(type(owner), "neutral", {}).get(field)
    return Strength(
        name=name,
        value=value,
        unit=owner.strength_unit if owner.strength_field == field else "",
        neutral=_number(neutral),
    )


def _names(defense: Defense) -> tuple[str, ...]:
    return tuple(one.name for one in parts(defense))


def _numbers(defense: Defense) -> dict[str, float]:
    return {key: number for key, value in _parameters(defense).items() if (number := _number(value)) is not None}


def _number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]
