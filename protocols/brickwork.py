"""Brickwork graphs: where the entangling gates lie, in which order nodes are measured, and what is corrected.

Rows and columns count from 0 here; the literature counts from 1. Controlled-Z gates join neighbours in a row. Bricks of
four columns alternate: an even brick joins the rows 0-1, 2-3, ..., an odd one 1-2, 3-4, ...; each by two controlled-Z
gates, in its third column and in the first column after it. Measuring a node in the basis |+-_phi> applies
J(-phi) = H diag(1, e^(-i phi)) to its row. The last column is the output, measured in the computational basis.

Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv:0807.4154, definition 1 and protocol 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits

BRICK = 4
"""Columns of a brick."""


@dataclass(frozen=True, kw_only=True)
class Brickwork:
    """A brickwork graph.

    Attributes:
        rows: One a qubit of the circuit.
        columns: The output included; 4 bricks + 1 for whole bricks.

    Raises:
        ValueError: If there is no row or no column.

    Example:
        >>> graph = Brickwork.of_bricks(rows=4, bricks=6)
        >>> graph.columns, graph.nodes, graph.edges
        (25, 100, 114)
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"Expected rows={self.rows} >= 1 and columns={self.columns} >= 1.")

    @classmethod
    def of_bricks(cls, *, rows: int, bricks: int) -> "Brickwork":
        """Return the graph of so many whole bricks and the output column."""
        return cls(rows=rows, columns=BRICK * bricks + 1)

    @property
    def nodes(self) -> int:
        """How many nodes there are, one qubit each."""
        return self.rows * self.columns

    @property
    def edges(self) -> int:
        """How many controlled-Z gates join them."""
        vertical = sum(len(self.vertical(column)) for column in range(self.columns))
        return self.rows * (self.columns - 1) + vertical

    @property
    def rounds(self) -> int:
        """Messages with angles: a column's depend on the outcomes of the columns before alone."""
        return self.columns - 1

    def vertical(self, column: int) -> tuple[int, ...]:
        """Return the rows i with a controlled-Z gate between (i, column) and (i + 1, column)."""
        if column < 2 or column % 2:
            return ()
        brick = (column - 2) // BRICK
        return tuple(range(brick % 2, self.rows - 1, 2))

    def partners(self, column: int) -> NDArray[np.intp]:
        """Return the row that each row is joined to in a column, itself where to none, (rows,)."""
        found = np.arange(self.rows)
        for row in self.vertical(column):
            found[row], found[row + 1] = row + 1, row
        return found

    def colours(self) -> NDArray[np.uint8]:
        """Return a colouring with two colours, (rows, columns): no edge joins nodes of the same one."""
        rows, columns = np.indices((self.rows, self.columns))
        return ((rows + columns) % 2).astype(np.uint8)

    def neighbour_parity(self, bits: Bits) -> Bits:
        """Return the XOR over each node's neighbours.

        Args:
            bits: (rows, columns, ...).

        Returns:
            The same shape.
        """
        found = np.zeros_like(bits)
        found[:, 1:] ^= bits[:, :-1]
        found[:, :-1] ^= bits[:, 1:]
        for column in range(self.columns):
            for row in self.vertical(column):
                found[row, column] ^= bits[row + 1, column]
                found[row + 1, column] ^= bits[row, column]
        return found

    def x_correction(self, outcomes: Bits, column: int) -> Bits:
        """Return s_X of a column, which reverses its angles and flips its output.

        Args:
            outcomes: Of the columns so far, the client's own bits r removed, (rows, columns, ...).
            column: Which one.

        Returns:
            (rows, ...): the outcome one column before.
        """
        return outcomes[:, column - 1] if column else np.zeros_like(outcomes[:, 0])

    def z_correction(self, outcomes: Bits, column: int) -> Bits:
        """Return s_Z of a column, which turns its angles by pi.

        Args:
            outcomes: As for `x_correction`.
            column: Which one.

        Returns:
            (rows, ...): the outcome two columns before, and one column before in the rows joined to it in this column.
        """
        found = outcomes[:, column - 2].copy() if column > 1 else np.zeros_like(outcomes[:, 0])
        for row in self.vertical(column):
            found[row] ^= outcomes[row + 1, column - 1]
            found[row + 1] ^= outcomes[row, column - 1]
        return found
