"""Brickwork graphs against the definition in the literature, counted from 1."""

import numpy as np
import pytest

from qfl_sec.protocols.brickwork import Brickwork


def edges_by_definition(rows: int, columns: int) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Definition 1 of arXiv:0807.4154, with its own numbering, moved to numbering from 0."""
    found = {((i, j), (i, j + 1)) for i in range(1, rows + 1) for j in range(1, columns)}
    for j in range(1, columns + 1):
        for i in range(1, rows):
            if (j % 8 == 3 and i % 2 == 1) or (j % 8 == 7 and i % 2 == 0):
                found |= {((i, k), (i + 1, k)) for k in (j, j + 2) if k <= columns}
    return {((a - 1, b - 1), (c - 1, d - 1)) for (a, b), (c, d) in found}


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 9, 13, 17, 25, 29])
def test_edges_corrections_colours_and_parities_follow_the_definition(rows: int, columns: int) -> None:
    graph, edges = Brickwork(rows=rows, columns=columns), edges_by_definition(rows, columns)
    assert graph.edges == len(edges)
    assert graph.nodes == rows * columns
    assert {((i, j), (i + 1, j)) for j in range(columns) for i in graph.vertical(j)} == {
        e for e in edges if e[0][1] == e[1][1]
    }
    colours = graph.colours()
    assert all(colours[one] != colours[other] for one, other in edges)
    bits = np.random.default_rng(1).integers(0, 2, (rows, columns, 7), np.uint8)
    expected = np.zeros_like(bits)
    for one, other in edges:
        expected[one] ^= bits[other]
        expected[other] ^= bits[one]
    assert np.array_equal(graph.neighbour_parity(bits), expected)


@pytest.mark.parametrize(("rows", "columns"), [(1, 9), (3, 9), (4, 17)])
def test_corrections_are_those_of_the_flow(rows: int, columns: int) -> None:
    """f(i, j) = (i, j + 1): X on the successor of each measured node, Z on the successor's other neighbours."""
    graph, edges = Brickwork(rows=rows, columns=columns), edges_by_definition(rows, columns)
    outcomes = np.random.default_rng(2).integers(0, 2, (rows, columns), np.uint8)
    x, z = np.zeros_like(outcomes), np.zeros_like(outcomes)
    for i in range(rows):
        for j in range(columns - 1):
            x[i, j + 1] ^= outcomes[i, j]
            for edge in edges:
                if (i, j + 1) in edge:
                    other = edge[0] if edge[1] == (i, j + 1) else edge[1]
                    if other != (i, j):
                        z[other] ^= outcomes[i, j]
    for j in range(columns):
        assert np.array_equal(graph.x_correction(outcomes, j), x[:, j])
        assert np.array_equal(graph.z_correction(outcomes, j), z[:, j])


def test_impossible_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="rows=0"):
        Brickwork(rows=0, columns=5)
