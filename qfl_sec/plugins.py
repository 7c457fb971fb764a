"""Names to classes: the attacks, defenses and protocols that come with the package, with others, or from a file.

Built-in classes are named by module, so that asking for one imports that one alone. Others come from the entry-point
group `qfl_sec.plugins` of installed packages, from a file (`load_file`), or as an object in Python (`use`). A name
belongs to one class: a second one is refused.
"""

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args, overload

from qfl_sec.checking import InputError

if TYPE_CHECKING:
    from qfl_sec.contracts import Attack, Defense
    from qfl_sec.protocol_contracts import DelegatedComputation, KeySource, MessageCarrier

ProtocolClass: TypeAlias = "type[KeySource] | type[MessageCarrier] | type[DelegatedComputation]"
Plugin: TypeAlias = "type[Attack] | type[Defense] | ProtocolClass"
Kind = Literal["attack", "defense", "protocol"]

KINDS: tuple[Kind, ...] = ("attack", "defense", "protocol")
GROUP = "qfl_sec.plugins"
"""Entry-point group by which an installed package offers modules or classes."""

BUILT_IN: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        "attack": {
            "gradient_inversion": "qfl_sec.attacks.gradient_inversion",
            "loss_membership": "qfl_sec.attacks.loss_membership",
            "update_membership": "qfl_sec.attacks.update_membership",
            "sender_linkage": "qfl_sec.attacks.sender_linkage",
            "circuit_reading": "qfl_sec.attacks.circuit_reading",
            "circuit_membership": "qfl_sec.attacks.circuit_membership",
        },
        "defense": {
            "none": "qfl_sec.defenses.none",
            "dp_sgd": "qfl_sec.defenses.dp_sgd",
            "gaussian_noise": "qfl_sec.defenses.gaussian_noise",
            "laplace_noise": "qfl_sec.defenses.laplace_noise",
            "gradient_pruning": "qfl_sec.defenses.gradient_pruning",
            "secure_aggregation": "qfl_sec.defenses.secure_aggregation",
            "anonymous_forwarding": "qfl_sec.defenses.anonymous_forwarding",
        },
        "protocol": {
            "bb84": "qfl_sec.protocols.bb84",
            "two_step_qsdc": "qfl_sec.protocols.two_step_qsdc",
            "one_step_qsdc": "qfl_sec.protocols.one_step_qsdc",
            "blind": "qfl_sec.protocols.blind",
        },
    }
)
"""Module of each built-in plug-in."""

FILE_MODULE = "qfl_sec_plugin_"
"""A plug-in file's module name is this and its stem, so that processes which load the same file share pickles."""


_ANY = "attack, defense or protocol"
_BASES = "Attack, Defense, KeySource, MessageCarrier, DelegatedComputation"


class PluginError(InputError):
    """A plug-in that does not exist, does not load, or is no plug-in; exit status 2."""


@dataclass
class _Registry:
    """What has been registered so far in this process.

    Attributes:
        classes: Class of each kind and name.
        files: Loaded plug-in files, resolved, and the classes that each defines.
        installed: Whether entry points have been read.
    """

    classes: dict[tuple[Kind, str], Plugin] = field(default_factory=dict)
    files: dict[Path, list[Plugin]] = field(default_factory=dict)
    installed: bool = False


_registry = _Registry()


@overload
def get(kind: Literal["attack"], name: str) -> "type[Attack]": ...
@overload
def get(kind: Literal["defense"], name: str) -> "type[Defense]": ...
@overload
def get(kind: Literal["protocol"], name: str) -> "ProtocolClass": ...
def get(kind: Kind, name: str) -> Plugin:
    """Return the class of this kind and name.

    Raises:
        PluginError: If there is none; the message lists the known ones and the nearest. Also if an installed plug-in
            fails to load, which might be the one.
    """
    _load_installed()
    if (kind, name) in _registry.classes:
        return _registry.classes[kind, name]
    if name not in BUILT_IN[kind]:
        known = names(kind)
        remedy = "One that a file of yours defines needs --plugin FILE"
        raise PluginError(f"Unknown {kind} {name!r}. {nearest(name, known)}Known: {', '.join(known)}. {remedy}.")
    where = BUILT_IN[kind][name]
    found = [c for c in _defined_in(importlib.import_module(where)) if kind_of(c) == kind and c.name == name]
    if len(found) != 1:
        raise ImportError(f"Expected {where} to define the one {kind} {name!r}, found {len(found)}.")
    _registry.classes[kind, name] = found[0]
    return found[0]


def names(kind: Kind) -> tuple[str, ...]:
    """Return every known name of a kind, the built-in ones first."""
    _load_installed()
    others = sorted(name for one, name in _registry.classes if one == kind and name not in BUILT_IN[kind])
    return (*BUILT_IN[kind], *others)


def register(cls: Plugin) -> Plugin:
    """Make a class known under its name; may be used as a decorator. Registering a class again does nothing.

    Raises:
        PluginError: If the class is no valid plug-in, or another one has its name.
    """
    _check(cls)
    _refuse_duplicate(cls)
    _registry.classes[kind_of(cls), cls.name] = cls
    return cls


def use(plugins: Iterable[object]) -> list[Plugin]:
    """Register attacks, defenses and protocols given in Python, as classes or as instances, and return their classes.

    Raises:
        PluginError: If one is no attack, defense or protocol, or its name is taken.
    """
    return [register(cast(Plugin, one if isinstance(one, type) else type(one))) for one in plugins]


def load_file(path: str | Path) -> list[Plugin]:
    """Load a plug-in file and register every concrete attack, defense and protocol that it defines itself.

    Args:
        path: A Python file. Loading it again does nothing.

    Returns:
        The classes, in the order of their definition.

    Raises:
        PluginError: If the file cannot be loaded, defines no plug-in, or one that is invalid or has a taken name.
    """
    resolved = Path(path).resolve()
    if resolved not in _registry.files:
        module = _import_file(resolved, path)
        try:
            found = _defined_in(module)
            if not found:
                raise PluginError(f"{path}: defines no {_ANY}. Subclass one of {_BASES} in it.")
            _register_together(found)
        except PluginError:
            sys.modules.pop(module.__name__, None)
            raise
        _registry.files[resolved] = found
    return list(_registry.files[resolved])


def files() -> tuple[Path, ...]:
    """Return the loaded plug-in files, in the order of loading: for hashing, and for worker processes to load."""
    return tuple(_registry.files)


def kind_of(cls: Plugin) -> Kind:
    """Return whether a class is an attack, a defense or a protocol."""
    from qfl_sec.contracts import Attack, Defense

    return "attack" if issubclass(cls, Attack) else "defense" if issubclass(cls, Defense) else "protocol"


def description(cls: type) -> str:
    """Return the first line of a class's docstring, without its full stop; empty if it has none."""
    text = cls.__dict__.get("__doc__") or ""
    generated = text.startswith(f"{cls.__name__}(")
    return "" if generated else next(iter(inspect.cleandoc(text).splitlines()), "").removesuffix(".")


def parameters(cls: type) -> dict[str, dict[str, Any]]:
    """Return type and default of each parameter of a plug-in or of a table; without "default" it has to be given.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Shots:
        ...     count: int = 100
        >>> parameters(Shots)
        {'count': {'type': 'int', 'default': 100}}
    """
    found: dict[str, dict[str, Any]] = {}
    for one in (each for each in fields(cls) if each.init):
        hint = one.type.__name__ if isinstance(one.type, type) else str(one.type).replace("typing.", "")
        found[one.name] = {"type": hint}
        if one.default is not MISSING:
            found[one.name]["default"] = one.default
        elif one.default_factory is not MISSING:
            found[one.name]["default"] = one.default_factory()
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the question "Did you mean ...? " for the known name that is nearest; empty if none is near.

    Example:
        >>> nearest("dp-sgd", ["none", "dp_sgd"])
        "Did you mean 'dp_sgd'? "
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _load_installed() -> None:
    """Register what installed packages offer, once."""
    if _registry.installed:
        return
    _registry.installed = True
    try:
        for entry in entry_points(group=GROUP):
            _load_entry(entry)
    except PluginError:
        _registry.installed = False
        raise


def _load_entry(entry: EntryPoint) -> None:
    package = entry.dist.name if entry.dist else "an installed package"
    place = f"Plug-in {entry.name!r} ({entry.value}) of {package}"
    loaded = _run(entry.load, place=place, remedy=f"Mend or uninstall {package}.")
    found = list(_defined_in(loaded)) if isinstance(loaded, ModuleType) else [loaded]
    if not found:
        raise PluginError(f"{place}: defines no {_ANY}. Mend or uninstall {package}.")
    try:
        _register_together(found)
    except PluginError as error:
        raise PluginError(f"{place}: {error}") from None


def _import_file(path: Path, shown: str | Path) -> ModuleType:
    """Run a plug-in file as a module of its own and leave it in `sys.modules`."""
    if not path.is_file() or path.suffix != ".py":
        raise PluginError(f"Plug-in {shown}: not a Python file. Name an existing file that ends in .py.")
    name = FILE_MODULE + re.sub(r"\W", "_", path.stem)
    taken = [str(other) for other in _registry.files if FILE_MODULE + re.sub(r"\W", "_", other.stem) == name]
    if taken:
        raise PluginError(f"Plug-in {shown}: {taken[0]} bears the same name. Rename one of the two files.")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"Plug-in {shown}: not a Python file. Name an existing file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        _run(lambda: loader.exec_module(module), place=f"Plug-in {shown}", remedy="Mend the file.", file=path)
    except PluginError:
        sys.modules.pop(name, None)
        raise
    return module


def _run(load: Callable[[], Any], *, place: str, remedy: str, file: Path | None = None) -> Any:
    """Run third-party code that may raise anything, and say so in one message."""
    try:
        return load()
    except PluginError as error:
        raise PluginError(f"{place}: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        line = _line_in(error, file) if file else None
        at = f" in line {line}" if line else ""
        cause = str(error).splitlines()[0] if str(error) else "no message"
        raise PluginError(f"{place}: fails on import{at} with {type(error).__name__}: {cause}. {remedy}") from error


def _line_in(error: BaseException, file: Path) -> int | None:
    """Return the last line of a file that a traceback went through."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _defined_in(module: ModuleType) -> list[Plugin]:
    """Return the concrete plug-ins that a module, or a package with its modules, defines."""
    bases = _bases()

    def own(cls: type) -> bool:
        return cls.__module__ == module.__name__ or cls.__module__.startswith(f"{module.__name__}.")

    found: list[Plugin] = []
    for value in vars(module).values():
        plugin = isinstance(value, type) and issubclass(value, bases) and own(value)
        if plugin and not inspect.isabstract(value) and value not in found:
            found.append(value)
    return found


def _register_together(found: list[Plugin]) -> None:
    """Register all of them or none."""
    for cls in found:
        _check(cls)
        _refuse_duplicate(cls)
    keys = [(kind_of(cls), cls.name) for cls in found]
    for cls, key in zip(found, keys, strict=True):
        if keys.count(key) > 1:
            raise PluginError(f"{_place(cls)}: two classes have the {key[0]} name {key[1]!r}. Rename one.")
    for cls in found:
        register(cls)


def _bases() -> tuple[type, ...]:
    """Return the classes whose subclasses are plug-ins."""
    from qfl_sec.contracts import Attack, Defense
    from qfl_sec.protocol_contracts import DelegatedComputation, KeySource, MessageCarrier

    return Attack, Defense, KeySource, MessageCarrier, DelegatedComputation


def _check(cls: Any) -> None:
    """Refuse what is no valid plug-in class."""
    if not (isinstance(cls, type) and issubclass(cls, _bases())):
        raise PluginError(f"{cls!r} is no {_ANY}. Subclass one of {_BASES}.")
    for mistake in _mistakes(cast(Plugin, cls)):
        raise PluginError(f"{_place(cls)}: {mistake}")


def _mistakes(cls: Plugin) -> Iterator[str]:
    from qfl_sec.contracts import Attack, Defense, Question, View

    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        yield f"does not define {', '.join(missing)}. Add it."
    own: dict[str, Any] = dict(vars(cls))
    if "__dataclass_params__" not in own or not own["__dataclass_params__"].frozen:
        yield "is not a frozen dataclass. Put @dataclass(frozen=True, kw_only=True) before it."
    elif "name" in {one.name for one in fields(cast(Any, cls))}:
        yield 'has name as a field. Write name: ClassVar[str] = "..." in it.'
    elif not isinstance(getattr(cls, "name", None), str):
        yield 'has no name. Write name: ClassVar[str] = "..." in it.'
    elif not re.fullmatch(r"[A-Za-z]\w*", cls.name, re.ASCII):
        yield f"Expected name={cls.name!r} to be letters, digits and underscores, a letter first."
    elif issubclass(cls, Attack):
        if getattr(cls, "question", None) not in get_args(Question):
            yield 'has no question. Write question: ClassVar[Question] = "membership", "reconstruction" or "linkage".'
        required = getattr(cls, "requires", ())
        if not required or not all(isinstance(one, type) and issubclass(one, View) for one in required):
            yield "has no views in requires. Write requires: ClassVar = (UpdatesView,), or others."
    elif issubclass(cls, Defense):
        strength: str | None = getattr(cls, "strength_field", None)
        if strength is not None and strength not in {one.name for one in fields(cast(Any, cls))}:
            yield f"Expected strength_field={strength!r} to name one of its fields."


def _refuse_duplicate(cls: Plugin) -> None:
    kind = kind_of(cls)
    other = _registry.classes.get((kind, cls.name))
    if other is cls:
        return
    built_in = BUILT_IN[kind].get(cls.name)
    if built_in == cls.__module__:
        return
    if other is not None or built_in is not None:
        place = _place(other) if other is not None else built_in
        raise PluginError(f"{_place(cls)}: the {kind} name {cls.name!r} is taken by {place}. Choose another name.")


def _place(cls: type) -> str:
    """Return where a class is defined, for messages."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    return f"{cls.__qualname__} in {file or cls.__module__}"
