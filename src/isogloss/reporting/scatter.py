"""One number against another over models or languages, each with its interval (Fig. 2c)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from isogloss.reporting.drawing import COLOURS, MARKERS, Drawing, legend, panels, style, written


@final
@dataclass(frozen=True)
class Point:
    """One thing: its name, the series it is of, and both numbers with their intervals' ends."""

    label: str
    series: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


@final
@dataclass(frozen=True)
class Axes:
    """What the two axes say."""

    x: str
    y: str


def scatter(points: Sequence[Point], name: str, title: str, axes: Axes) -> Drawing:
    """The points with their intervals as crosses, a colour and marker for each series."""
    names = list(dict.fromkeys(point.series for point in points))
    with style():
        figure, (drawn,) = panels(1, width=5.4, height=3.6)
        for place, series in enumerate(names):
            own = [point for point in points if point.series == series]
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            drawn.errorbar(
                [point.x[0] for point in own],
                [point.y[0] for point in own],
                xerr=_ends([point.x for point in own]),
                yerr=_ends([point.y for point in own]),
                fmt=marker,
                color=colour,
                elinewidth=0.8,
                label=series,
            )
            for point in own:
                at = (point.x[0], point.y[0])
                drawn.annotate(point.label, at, (4, 4), textcoords="offset points", fontsize=7.5)
        drawn.set(xlabel=axes.x, ylabel=axes.y)
        drawn.grid(visible=True, axis="x")
        legend(figure, drawn)
        said = "; ".join(
            f"{point.series}, {point.label}: {point.x[0]:.3f}, {point.y[0]:.3f}" for point in points
        )
        return written(figure, name, title, f"{axes.y} by {axes.x}. {said}.")


def _ends(numbers: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """How far the interval goes below and above, as errorbar wants it."""
    below = [max(0.0, value - low) for value, low, _ in numbers]
    return [below, [max(0.0, high - value) for value, _, high in numbers]]
