"""Figure of a diagnosis: cosine deviation and translation retrieval by layer (Appendix B.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from isogloss.gathering.diagnosed import Diagnosed, Layer
from isogloss.intervals import Interval
from isogloss.reporting.drawing import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    Drawing,
    legend,
    panels,
    style,
    written,
)

BEFORE, AFTER = "before training", "after training"
SIZE = (8.4, 3.0)  # inches


@final
@dataclass(frozen=True)
class Measure:
    """What a panel shows: a field of a layer, its name, and how its numbers are written."""

    field: str
    name: str
    scale: int = 1
    sign: str = ""

    def of(self, layer: Layer) -> Interval:
        """The layer's interval."""
        found: Interval = getattr(layer, self.field)
        return found

    def value(self, layer: Layer) -> float:
        """The layer's number."""
        return self.scale * self.of(layer).value

    def said(self, layer: Layer) -> str:
        """The layer's number in words."""
        digits = 0 if self.sign else 3
        return f"{self.value(layer):.{digits}f}{self.sign} (layer {layer.layer})"


MEASURES = (
    Measure("deviation", "cosine deviation"),
    Measure("centred", "cosine deviation, centred"),
    Measure("retrieval", "translations nearest", scale=100, sign="%"),
)


def draw_layers(found: Diagnosed, name: str, title: str) -> Drawing:
    """A panel a measure, with a line and its 95% band before training and, in a run, after it."""
    states = {BEFORE: found.layers, AFTER: found.after} if found.after else {"": found.layers}
    with style():
        figure, drawn = panels(len(MEASURES), width=SIZE[0], height=SIZE[1], shared=False)
        for axes, measure in zip(drawn, MEASURES, strict=True):
            for place, (state, layers) in enumerate(states.items()):
                _line(axes, measure, layers, place, state)
            axes.set_title(measure.name + (f", {measure.sign}" if measure.sign else ""))
            axes.set_xlabel("layer")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
            axes.axhline(0, color=INK, linewidth=0.6)
        drawn[-1].set_ylim(bottom=0)
        if found.after:
            legend(figure, drawn[0])
        alt = ". ".join(_said(state, layers) for state, layers in states.items())
        return written(figure, name, title, f"{alt}.")


def _line(axes: Axes, measure: Measure, layers: Sequence[Layer], place: int, label: str) -> None:
    at = [layer.layer for layer in layers]
    lows, values, highs = (
        [measure.scale * getattr(measure.of(layer), end) for layer in layers]
        for end in ("low", "value", "high")
    )
    colour, dashes = COLOURS[place], DASHES[place]
    if len(at) > 1:
        axes.fill_between(at, lows, highs, color=colour, alpha=0.16, linewidth=0)
    else:  # a band of one layer would have no width
        axes.vlines(at, lows, highs, color=colour, linewidth=1.0)
    axes.plot(at, values, color=colour, ls=dashes, marker=MARKERS[place], ms=3.5, label=label)


def _said(state: str, layers: Sequence[Layer]) -> str:
    """Where each measure is lowest and highest."""
    parts = []
    for measure in MEASURES:
        lowest, highest = (end(layers, key=measure.value) for end in (min, max))
        ends = dict.fromkeys((measure.said(lowest), measure.said(highest)))
        parts.append(f"{measure.name} {' to '.join(ends)}")
    numbers = [layer.layer for layer in layers]
    span = f"layers {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"layer {numbers[0]}"
    return f"{state}, {span}: ".removeprefix(", ").capitalize() + ", ".join(parts)
