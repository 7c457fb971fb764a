"""How the records are dealt to the clients: at random, with skewed labels or sizes, or sorted by label."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from qfl_sec.checking import InputError

Scheme = Literal["iid", "dirichlet", "by_label", "quantity_skew"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
"""The names of the schemes."""

WITH_ALPHA = ("dirichlet", "quantity_skew")
"""Those that draw shares from a Dirichlet distribution, and need its concentration."""

LARGEST_ALPHA = 1e6
"""Above this concentration the Dirichlet shares are equal for every practical purpose."""

Clients = npt.NDArray[np.int64]


def check_scheme(scheme: str, alpha: float | None) -> None:
    """Refuse a scheme that does not exist and a concentration that the scheme cannot use.

    Args:
        scheme: One of `SCHEMES`.
        alpha: Concentration of the Dirichlet distribution, in (0, `LARGEST_ALPHA`]; None for schemes without one.

    Raises:
        InputError: If either is impossible, or both do not belong together.
    """
    if scheme not in SCHEMES:
        raise InputError(f"Unknown partition={scheme!r}. Expected one of {', '.join(SCHEMES)}.")
    if scheme not in WITH_ALPHA:
        if alpha is not None:
            remedy = f"Remove it, or choose one of {', '.join(WITH_ALPHA)}."
            raise InputError(f"Expected no alpha={alpha} with partition={scheme!r}. {remedy}")
    elif alpha is None:
        raise InputError(f"partition={scheme!r} has no alpha. Add one; a smaller alpha gives more unequal clients.")
    elif not 0 < alpha <= LARGEST_ALPHA:
        remedy = "Choose a number near 1, or partition='iid' for equal clients."
        raise InputError(f"Expected 0 < alpha={alpha} <= {LARGEST_ALPHA:g}. {remedy}")


def deal(
    labels: npt.ArrayLike, clients: int, *, scheme: str = "iid", alpha: float | None = None, rng: np.random.Generator
) -> Clients:
    """Return the client of each record; every client gets at least one.

    - "iid": a random permutation, dealt round robin: sizes differ by at most one.
    - "dirichlet": for each class k, shares p_k ~ Dirichlet(alpha, ..., alpha) over the clients are drawn, and client j
      gets the share p_kj of the class's records, chosen at random. Labels and sizes are both skewed. A client left with
      nothing gets the first record of the largest client (the lowest number among equals), in the order of their
      numbers.
    - "quantity_skew": one vector of shares p ~ Dirichlet(alpha, ..., alpha) over the clients is drawn, and client j
      gets the share p_j of all records, chosen at random: sizes are skewed, labels only by chance. A client left with
      nothing is helped out as above.
    - "by_label": records are sorted by label, at random inside a label, and cut into contiguous shards, one a client:
      sizes differ by at most one.

    Args:
        labels: (records,), integers; a tensor on the CPU will do.
        clients: Number of clients, from 1 to the number of records.
        scheme: One of `SCHEMES`.
        alpha: Concentration for "dirichlet" and "quantity_skew": towards 0 each class, or everything, lies with one
            client, at large values the clients are alike.
        rng: Source of every random choice.

    Returns:
        (records,), client numbers from 0.

    Raises:
        InputError: If the scheme, alpha or the number of clients is impossible.

    Reference:
        Yurochkin et al. 2019 (arXiv 1905.12022), experiments; Li et al. 2022 (arXiv 2102.02079), "distribution-based
        label imbalance" and "quantity skew": for each class, or once for all records, shares over the clients. These
        are the variants used here. Hsu, Qi & Brown 2019 (arXiv 1909.06335) draw, for each client, shares over the
        classes instead, and keep the clients' sizes equal.

    Example:
        >>> deal([0, 0, 1, 1], 2, scheme="by_label", rng=np.random.default_rng(0)).tolist()
        [0, 0, 1, 1]
    """
    check_scheme(scheme, alpha)
    known = np.asarray(labels)
    if known.ndim != 1:
        raise InputError(f"Expected labels of shape {known.shape} to have one dimension.")
    if not 1 <= clients <= len(known):
        remedy = "Choose fewer clients, or smaller test and reference fractions."
        raise InputError(f"Expected 1 <= clients={clients} <= {len(known)}, the number of train records. {remedy}")
    if alpha is not None:
        classes = known if scheme == "dirichlet" else np.zeros_like(known)
        return _deal_dirichlet(classes, clients, alpha, rng)
    if scheme == "by_label":
        return _deal_by_label(known, clients, rng)
    return rng.permutation(len(known)) % clients


def _deal_dirichlet(labels: npt.NDArray[np.generic], clients: int, alpha: float, rng: np.random.Generator) -> Clients:
    owners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        records = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        cuts = np.floor(np.cumsum(shares)[:-1] * len(records)).astype(np.int64)
        for client, part in enumerate(np.split(records, cuts)):
            owners[part] = client
    return _fill_empty(owners, clients)


def _fill_empty(owners: Clients, clients: int) -> Clients:
    """Give each empty client the first record of the client that is the largest by then."""
    filled = owners.copy()
    for client in range(clients):
        sizes = np.bincount(filled, minlength=clients)
        if sizes[client] == 0:
            filled[np.flatnonzero(filled == int(np.argmax(sizes)))[0]] = client
    return filled


def _deal_by_label(labels: npt.NDArray[np.generic], clients: int, rng: np.random.Generator) -> Clients:
    shuffled = rng.permutation(len(labels))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    owners = np.empty(len(labels), dtype=np.int64)
    for client, shard in enumerate(np.array_split(ordered, clients)):
        owners[shard] = client
    return owners
