"""What surrounds a plug-in while it is checked: global random state, a truth within reach, copies of the process."""

import contextlib
import hashlib
import multiprocessing
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from qfl_sec.testing.scorecard import SkippedError, shown
from qfl_sec.transcript import Truth


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed every global random generator inside the block, and restore them after."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def with_truth_in_reach(call: Callable[[], bytes], members: Tensor) -> bytes:
    """Return what `call` gives where a truth lies about: in a caller's variable, and on disk below this folder.

    Args:
        call: What is tested: it should not look.
        members: (candidates,), true for members.
    """
    truth = Truth(
        members=members,
        clients=torch.zeros(len(members), dtype=torch.int64),
        batch_records=members.nonzero()[:2].reshape(1, 1, -1),
        test_hits=members[:1],
        majority_hits=members[:1],
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "transcripts" / "training"
        place.mkdir(parents=True)
        tensors = {name: value.clone() for name, value in vars(truth).items() if value is not None}
        save_file(tensors, place / "truth.safetensors")
        with contextlib.chdir(folder):
            return call()


def digest(value: Any) -> bytes:
    """Return a hash of what a plug-in returned, whatever that is; equal values have equal hashes, NaN included."""
    return hashlib.sha256(_as_bytes(value)).digest()


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, Tensor):
        dense = value.detach().cpu().contiguous()
        return f"{dense.dtype}{tuple(dense.shape)}".encode() + dense.numpy().tobytes()
    if isinstance(value, list | tuple):
        return b"".join(hashlib.sha256(_as_bytes(one)).digest() for one in value)
    if hasattr(value, "__dataclass_fields__"):
        return _as_bytes([f"{type(value).__name__}", *(part for pair in vars(value).items() for part in pair)])
    return repr(value).encode()


def outcome(call: Callable[[], Any]) -> bytes:
    """Return a hash of what a call returns, or of what it raises."""
    try:
        return digest(call())
    except Exception as error:
        return digest(shown(error))


def in_a_copy(call: Callable[[], bytes]) -> bytes:
    """Return what `call` gives in a copy of this process, so that whatever it leaves behind is gone with the copy.

    Raises:
        SkippedError: If this system cannot copy a process.
        RuntimeError: If the copy dies.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise SkippedError("This system cannot copy a process, in which the plug-in would meet no earlier training.")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn where threads are waiting
        child = os.fork()
    if child == 0:
        _answer_and_end(call, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"the process died with status {os.waitstatus_to_exitcode(status)}")
    return answer


def _answer_and_end(call: Callable[[], bytes], writer: int) -> None:
    """Write the answer and leave at once: nothing that the parent has registered for its end may run here."""
    status = 1
    try:
        os.write(writer, call())
        status = 0
    finally:
        os._exit(status)
