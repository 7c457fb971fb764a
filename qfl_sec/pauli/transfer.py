"""Pauli transfer matrices: what gates and channels do to the expectation values of Pauli words.

A state is the real vector of its expectation values phi_P = tr(P rho), words in base four with I, X, Y, Z for 0 to 3
and the first wire most significant. A channel E maps phi to T phi with T_PQ = tr(P E(Q)) / 2^n, and the coefficients c
of an observable, as a row, to c T. Every T here is real; that of a rotation is affine in its angle's cosine and sine.

Reference: Greenbaum 2015, Introduction to quantum gate set tomography, arXiv 1509.02921, section 2.2.
"""

from collections.abc import Sequence

import numpy as np

from qfl_sec.gates import Array

LETTERS = "IXYZ"

_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_EXACT = 1e-12


def word_matrices(n_qubits: int) -> Array:
    """Return all Pauli words as matrices, (4^n, 2^n, 2^n)."""
    words = np.ones((1, 1, 1))
    for _ in range(n_qubits):
        words = np.einsum("pij,qkl->pqikjl", words, _PAULIS).reshape(4 * len(words), *[2 * words.shape[1]] * 2)
    return words


def transfer_matrix(kraus: Sequence[Array]) -> Array:
    """Return the transfer matrix (4^n, 4^n) of a channel with these Kraus matrices (2^n, 2^n).

    Example:
        >>> transfer_matrix([np.diag([1.0, -1.0])]).diagonal()
        array([ 1., -1., -1.,  1.])
    """
    dimension = len(kraus[0])
    words = word_matrices(dimension.bit_length() - 1)
    images = sum(np.einsum("ij,qjk,lk->qil", factor, words, factor.conj()) for factor in kraus)
    matrix: Array = np.einsum("pij,qji->pq", words, images).real / dimension
    result: Array = np.where(np.abs(matrix) < _EXACT, 0.0, matrix)
    return result


def rotation_parts(letter: str) -> Array:
    """Return T_0, T_1, T_2 of exp(-i angle/2 P) on one qubit: T = T_0 + cos(angle) T_1 + sin(angle) T_2, (3, 4, 4)."""
    axis = LETTERS.index(letter) - 1
    first, second = (axis + 1) % 3 + 1, (axis + 2) % 3 + 1
    parts = np.zeros((3, 4, 4))
    parts[0, 0, 0] = parts[0, axis + 1, axis + 1] = 1.0
    parts[1, first, first] = parts[1, second, second] = 1.0
    parts[2, second, first], parts[2, first, second] = 1.0, -1.0
    return parts


def signed_permutation(matrix: Array) -> tuple[Array, Array] | None:
    """Return (index, sign) with (c T)_Q = sign_Q c_index(Q) if each column has one entry, of size one; None if not."""
    entries = np.abs(matrix) > _EXACT
    if (entries.sum(0) != 1).any() or (entries.sum(1) != 1).any() or np.abs(np.abs(matrix[entries]) - 1).max() > _EXACT:
        return None
    index = entries.argmax(0)
    return index, np.sign(matrix[index, np.arange(len(matrix))])


def digits(n_qubits: int) -> Array:
    """Return the letters of all words, (4^n, n)."""
    words = np.arange(4**n_qubits)
    return np.stack([(words >> (2 * (n_qubits - 1 - wire))) & 3 for wire in range(n_qubits)], 1)


def word_number(letters: Sequence[int]) -> int:
    """Return the number of the word with these letters."""
    number = 0
    for letter in letters:
        number = 4 * number + int(letter)
    return number


def embedded(index: Array, sign: Array, wires: Sequence[int], n_qubits: int) -> tuple[Array, Array]:
    """Return a signed permutation of some wires' words as one of all words: index and sign, (4^n,) each."""
    letters = digits(n_qubits)
    local = sum(letters[:, wire] << (2 * (len(wires) - 1 - place)) for place, wire in enumerate(wires))
    source = index[local]
    moved = np.arange(4**n_qubits)
    for place, wire in enumerate(wires):
        shift = 2 * (n_qubits - 1 - wire)
        letter = (source >> (2 * (len(wires) - 1 - place))) & 3
        moved = (moved & ~(3 << shift)) | (letter << shift)
    return moved, sign[local]


def word_rotation(letters: Sequence[int]) -> tuple[Array, Array]:
    """Return how exp(-i angle/2 W) moves coefficients: (c T)_Q = c_Q, or cos c_Q + sin sign_Q c_index(Q).

    Args:
        letters: The word W.

    Returns:
        index and sign, (4^n,) each; the sign is zero for words that commute with W, which stay as they are.
    """
    others = digits(len(letters))
    product = np.zeros_like(others)
    phase = np.zeros(len(others), dtype=int)  # of i in W Q
    for wire, letter in enumerate(letters):
        other = others[:, wire]
        product[:, wire] = letter ^ other
        turn = (other - letter) % 3
        phase += np.where((letter == 0) | (other == 0) | (letter == other), 0, np.where(turn == 1, 1, 3))
    # Q goes to cos Q + sin (i/2)[W, Q] backwards; for anticommuting words i W Q is a signed word.
    index = product @ 4 ** np.arange(len(letters))[::-1]
    anticommute = phase % 2 == 1
    image_sign = np.where(anticommute, np.where((phase + 1) % 4 == 0, 1.0, -1.0), 0.0)  # of i W Q
    # (c T)_Q takes what the word whose image contains Q contributes; that word is index(Q) itself.
    return np.where(anticommute, index, np.arange(len(index))), image_sign[index] * anticommute
