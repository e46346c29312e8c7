"""Figures of the mechanism: alignment against gain, while learning, and by demonstration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isogloss.experiments.mechanism.before import Start
from isogloss.experiments.mechanism.during import METHODS, Moment
from isogloss.experiments.mechanism.kinds import KindMeasure
from isogloss.reporting.drawing import COLOURS, MARKERS, Drawing, legend, panels, style, written
from isogloss.reporting.scatter import Axes, Point, scatter


def draw_starts(starts: Sequence[Start]) -> Drawing:
    """Every place and method: gradient alignment at the start, and the gain in points."""
    points = []
    for start in starts:
        for number, (method, (value, low, high)) in enumerate(start.gains.items()):
            x = (start.cosine.value, start.cosine.low, start.cosine.high)
            label = "" if number else f"{start.place[0]}, {start.place[1]}"  # once, as x is one
            points.append(Point(label, method, x, (100 * value, 100 * low, 100 * high)))
    axes = Axes("cosine of mean gradients before training", "gain over zero-shot, points")
    title = "Gradient alignment at the start and the gain of transfer"
    return scatter(points, "mechanism-before", title, axes)


def draw_moments(found: Mapping[str, Sequence[Moment]]) -> Drawing:
    """For each model the runs of both methods: loss on unseen items, and alignment to them."""
    with style():
        figure, drawn = panels(len(found), width=3.4 * len(found) + 1.2, height=3.2)
        for axes, (name, moments) in zip(drawn, found.items(), strict=True):
            for place, method in enumerate(METHODS):
                own = [each for each in moments if each.method == method]
                axes.scatter(
                    [each.loss for each in own],
                    [each.cosine for each in own],
                    s=16,
                    color=COLOURS[place],
                    marker=MARKERS[place],
                    label=method,
                )
            axes.set_title(name)
            axes.set_xlabel("loss on unseen items, nats a token")
        drawn[0].set_ylabel("cosine of mean gradients")
        legend(figure, drawn[0])
        said = "; ".join(
            f"{name}, {each.method}, {each.steps} updates: loss {each.loss:.2f}, {each.cosine:.2f}"
            for name, moments in found.items()
            for each in moments
        )
        title = "Gradient alignment to unseen items while learning"
        return written(figure, "mechanism-during", title, f"{said}.")


def draw_kinds(found: Mapping[str, Sequence[KindMeasure]]) -> Drawing:
    """For each model and language: the cosine within an episode by kind of demonstration."""
    with style():
        figure, (axes,) = panels(1, width=6.0, height=3.2)
        for place, (name, kinds) in enumerate(found.items()):
            shift = (place - (len(found) - 1) / 2) * 0.8 / max(1, len(found))
            values = [each.within for each in kinds]
            axes.errorbar(
                [number + shift for number in range(len(kinds))],
                [each.value for each in values],
                yerr=[
                    [max(0.0, each.value - each.low) for each in values],
                    [max(0.0, each.high - each.value) for each in values],
                ],
                fmt=MARKERS[place % len(MARKERS)],
                color=COLOURS[place % len(COLOURS)],
                label=name,
            )
        longest = max(found.values(), key=len)
        axes.set_xticks(range(len(longest)), [each.kind for each in longest])
        axes.set_ylabel("cosine of the answers' gradients")
        legend(figure, axes)
        said = "; ".join(
            f"{name}, {each.kind}: {each.within.value:.3f}"
            for name, kinds in found.items()
            for each in kinds
        )
        title = "Gradients of demonstration and target in one episode, by demonstration"
        return written(figure, "mechanism-kinds", title, f"{said}.")
