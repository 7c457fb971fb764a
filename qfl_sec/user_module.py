"""A torch module of the user's own, as a model."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from qfl_sec.checking import InputError
from qfl_sec.checkpoints import InitialWeights
from qfl_sec.user_files import content_hash, first_line, load_object, settled, title

MAX_PARAMETERS = 10_000_000
"""Per-record gradients hold as many numbers for every record of every client at once."""


@dataclass(frozen=True, kw_only=True)
class UserModule(InitialWeights):
    """A torch module that a function or class in a file of your own builds.

    The weights are held as `nn.Parameter`s and read through `self`; training does not start before per-record gradients
    have been checked: see `qfl_sec.conformance`.

    Attributes:
        module: "FILE.py:NAME" of what makes a module from (n_features, n_classes): a function, or the module's class.
            `qfl_sec.user_files.reference_to` gives it. A relative path counts from the working directory, in an
            experiment file from that file's folder; it is kept as an absolute one.
        factory: The name in the file; set by itself.
        sha256: Of the file's content; set by itself.

    Raises:
        ValueError: If a value is impossible or the file does not exist.
    """

    name: ClassVar[str] = "user_module"
    module: str = field(metadata={"in_key": False})
    factory: str = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", settled(self.module, "module"))
        file, _, factory = self.module.rpartition(":")
        object.__setattr__(self, "factory", factory)
        object.__setattr__(self, "sha256", content_hash(Path(file)))
        self.settle_checkpoint()

    def check_fit(self, n_features: int, n_classes: int) -> None:
        """Build the module once, show it two records, and refuse what cannot be trained on such data.

        Raises:
            InputError: If the file cannot be used, it makes no module, or one without weights or of other outputs.
        """
        _checked_size(self, n_features, n_classes)

    def build(self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype) -> nn.Module:
        """Return the module with the weights that it draws by itself.

        Raises:
            InputError: If the file cannot be used, or it makes no module.
        """
        seed = int(torch.randint(1 << 62, (), generator=generator))
        make = load_object(self.module, self.sha256, "module")
        place = f"module {title(self.module)}"
        # Torch's layers draw from the global generator: it is seeded for this one call, and then as it was before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                made = make(n_features, n_classes)
            except Exception as error:
                remedy = "Let it take the numbers of features and classes"
                raise InputError(f"{place}: {first_line(error)}. {remedy}, or mend it.") from error
        if not isinstance(made, nn.Module):
            raise InputError(f"{place}: made a {type(made).__name__}. Expected a torch.nn.Module: return one.")
        return made.to(dtype)

    def n_parameters(self, n_features: int, n_classes: int) -> int:
        """Return how many trainable weights there are."""
        return _checked_size(self, n_features, n_classes)

    def summary(self) -> str:
        """Return the model in words."""
        return f"own module {title(self.module)} (sha256 {self.sha256[:16]})"


@lru_cache(maxsize=32)
def _checked_size(spec: UserModule, n_features: int, n_classes: int) -> int:
    """Return the number of trainable weights of a module that takes records to logits."""
    place = f"module {title(spec.module)}"
    made = spec.build(n_features, n_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = sum(one.numel() for one in made.parameters() if one.requires_grad)
    if not 1 <= size <= MAX_PARAMETERS:
        raise InputError(f"{place}: Expected 1 <= {size} trainable weights <= {MAX_PARAMETERS:,}. Change the module.")
    records = torch.linspace(-1, 1, 2 * n_features, dtype=torch.float64).reshape(2, n_features)
    try:
        with torch.no_grad():
            logits = made(records)
    except Exception as error:
        remedy = "Let forward take records (batch, features) of any floating type"
        raise InputError(
            f"{place}: fails on inputs of shape (2, {n_features}) ({first_line(error)}). {remedy}."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, n_classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        remedy = "Return one number a class for each record"
        raise InputError(
            f"{place}: gave {found} for 2 records. Expected (2, {n_classes}): {remedy[0].lower()}{remedy[1:]}."
        )
    return size
