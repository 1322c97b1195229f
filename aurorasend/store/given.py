"""Many rows as arguments of one statement of PostgreSQL.

Called by postgres. The whole numbers go as one array of two dimensions, a line for each column that is never NULL, every other
column as an array: asyncpg asks of each member of an array whether it is an array too, but for the later lines of one that is; and the
server reads a matrix faster than it unfolds as many arrays.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, LargeBinary, Table, Text


class _Order(NamedTuple):
    """Which columns are lines of the matrix, and the others, by number."""

    lines: tuple[int, ...]
    others: tuple[int, ...]


@lru_cache(512)  # all that the code asks for
def _order(table: Table, columns: tuple[str, ...]) -> _Order:
    """A column that may be NULL is none of the matrix: where some are, the server counts its way to each member."""
    lines = [n for n, name in enumerate(columns) if _type(table, name) == "bigint" and not table.c[name].nullable]
    return _Order(tuple(lines), tuple(n for n in range(len(columns)) if n not in lines))


def _type(table: Table, column: str) -> str:
    kind = table.c[column].type
    for known, name in ((BigInteger, "bigint"), (LargeBinary, "bytea"), (Text, "text")):
        if isinstance(kind, known):
            return name
    raise TypeError(f"{table.name}.{column}: only BigInteger, Text and LargeBinary are used")


def given_rows(table: Table, columns: tuple[str, ...], after: int) -> tuple[str, int]:
    """The SQL of a relation of `columns`, `given`, its arguments numbered from `after` on, and how many they are."""
    order = _order(table, columns)
    matrix, count = f"(${after + 1}::bigint[])", len(order.others) + bool(order.lines)
    of_others = [f"${n}::{_type(table, columns[other])}[]" for n, other in enumerate(order.others, after + count - len(order.others) + 1)]
    unfolded = [f"{matrix}[1:1]", *of_others] if order.lines else of_others
    names = [columns[n] for n in (*order.lines[:1], *order.others)]
    shown = list(columns)
    for line, n in enumerate(order.lines[1:], 2):
        shown[n] = f"{matrix}[{line}][nth] AS {columns[n]}"
    relation = f"unnest({', '.join(unfolded)}) WITH ORDINALITY AS rows ({', '.join(names)}, nth)"
    return f"(SELECT {', '.join(shown)} FROM {relation}) AS given", count


def given_arguments(table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The arguments for `rows`, one at least, a value for each of `columns` in each."""
    order, of_columns = _order(table, columns), list(zip(*rows, strict=True))
    if len(of_columns) != len(columns):
        raise ValueError(f"{table.name}: {len(of_columns)} values for {len(columns)} columns")
    others: list[Any] = [of_columns[n] for n in order.others]
    return [[list(of_columns[n]) for n in order.lines], *others] if order.lines else others
