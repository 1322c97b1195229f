"""The figures of a run and the one table that they are printed in."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One line: what was measured in every round, against what it is held, and which bar it has to pass.

    `against` and `bar` are of the same kind: a ratio of medians, or the figure itself when there is no `base`.
    """

    part: str
    what: str
    rounds: Sequence[float]
    unit: str
    base: "Figure | None" = None
    bar: float | None = None
    goal: float | None = None
    at_most: bool = False  # whether less is better

    @property
    def median(self) -> float:
        return statistics.median(self.rounds) if self.rounds else float("nan")

    @property
    def compared(self) -> float:
        return self.median / self.base.median if self.base else self.median

    def verdict(self) -> str:
        if self.bar is None or not self.rounds:
            return ""
        met = self.compared <= self.bar if self.at_most else self.compared >= self.bar
        if not met:
            return "BELOW THE BAR" if not self.at_most else "ABOVE THE BAR"
        reached = self.goal is not None and (self.compared <= self.goal if self.at_most else self.compared >= self.goal)
        return "goal reached" if reached else "bar met"


@dataclass
class Table:
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, figure: Figure) -> Figure:
        self.figures.append(figure)
        return figure

    def text(self) -> str:
        heads = ("part", "figure", "median", "range of rounds", "ratio", "bar (goal)", "verdict")
        rows = [heads, *(row(figure) for figure in self.figures)]
        widths = [max(len(line[column]) for line in rows) for column in range(len(heads))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, "", *self.remarks])


def row(figure: Figure) -> tuple[str, ...]:
    if not figure.rounds:
        return (figure.part, figure.what, "not run", "", "", "", "")
    ratio = f"{figure.compared:.2f}x {figure.base.what}" if figure.base else ""
    return (
        figure.part,
        figure.what,
        f"{number(figure.median)} {figure.unit}",
        f"{number(min(figure.rounds))} - {number(max(figure.rounds))}" if len(figure.rounds) > 1 else "",
        ratio,
        bar_text(figure),
        figure.verdict(),
    )


def bar_text(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    sign, unit = ("<=" if figure.at_most else ">="), "x" if figure.base else f" {figure.unit}"
    goal = f" ({figure.goal:g}{unit})" if figure.goal is not None else ""
    return f"{sign} {figure.bar:g}{unit}{goal}"


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
