"""Figures of the paper's theory: Fig. 1's panels, and Eq. 3's drop of the loss, foretold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from isogloss.alignment.linear_example import Panel
from isogloss.alignment.taylor import TaylorCheck
from isogloss.reporting.drawing import (
    COLOURS,
    INK,
    MARKERS,
    Drawing,
    legend,
    panels,
    style,
    written,
)

EDGE = 1.35  # of a panel of Fig. 1, in units of the features


def draw_figure1(cases: Sequence[Panel]) -> Drawing:
    """Fig. 1: features of D_train and D_t on the axes of the solution space."""
    with style():
        figure, drawn = panels(len(cases), width=7.4, height=3.0)
        for axes, case in zip(drawn, cases, strict=True):
            _panel(axes, case)
        said = "; ".join(
            f"({case.name}) RepAlign 1 {case.first:+.2f}, RepAlign 2 {case.second:+.2f}, inner "
            f"product of the gradients {case.inner:+.2f}"
            for case in cases
        )
        title = "Gradient alignment through representations in the plane (Fig. 1)"
        return written(figure, "fig1", title, f"Two features in each of three panels. {said}.")


def _panel(axes: Axes, case: Panel) -> None:
    for place, (axis, size) in enumerate(zip(case.axes, case.sizes, strict=True)):
        axes.axline((0, 0), axis, color="#8a8a8a", linewidth=0.9, linestyle="--")
        x, y = EDGE * 0.9 * abs(axis[0]), EDGE * 0.9 * abs(axis[1])
        note = f"p{place + 1}, λ={size:.2f}"
        axes.annotate(note, (x, y), ha="right" if x > y else "left", va="bottom", fontsize=7.5)
    for place, (name, vector) in enumerate((("x_train", case.train), ("x_t", case.target))):
        colour = COLOURS[place]
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8}
        axes.annotate("", vector, (0, 0), arrowprops=arrow)
        axes.annotate(name, vector, (3, 3), textcoords="offset points", color=colour, fontsize=8)
    lines = (
        f"RepAlign 1 {case.first:+.2f}",
        f"RepAlign 2 {case.second:+.2f}",
        f"inner product {case.inner:+.2f}",
    )
    axes.set(xlim=(-EDGE * 0.6, EDGE), ylim=(-EDGE * 0.45, EDGE), aspect="equal")
    axes.text(0.03, 0.02, "\n".join(lines), transform=axes.transAxes, fontsize=7.5, color=INK)
    axes.set_title(f"({case.name}) {case.says}", fontsize=7.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def draw_equation3(checks: Mapping[str, TaylorCheck]) -> Drawing:
    """Eq. 3: the measured drop of the loss by learning rate, and what either order foretells."""
    with style():
        figure, drawn = panels(len(checks), width=3.4 * len(checks) + 0.6, height=3.2)
        for axes, (name, check) in zip(drawn, checks.items(), strict=True):
            rates = [row.learning_rate for row in check.rows]
            series = {
                "measured": [row.measured for row in check.rows],
                "first order": [row.first for row in check.rows],
                "second order": [row.second for row in check.rows],
            }
            scale = max(abs(value) for value in series["measured"]) or 1.0
            for place, (label, values) in enumerate(series.items()):
                axes.plot(
                    rates,
                    [value / scale for value in values],
                    color=COLOURS[place],
                    marker=MARKERS[place],
                    linestyle=("-", "--", ":")[place],
                    label=label,
                )
            axes.set_xscale("log")
            axes.set_xticks(rates, [f"{rate:.2g}" for rate in rates])
            axes.minorticks_off()
            first, second = check.orders
            axes.set_title(f"{name}: errors fall as rate^{first:.2f}, rate^{second:.2f}")
            axes.set_xlabel(f"learning rate ({check.rows[0].steps} steps)")
        drawn[0].set_ylabel("drop of the loss on D_t\n(share of the largest)")
        legend(figure, drawn[0])
        said = "; ".join(
            f"{name}: errors fall with the power {check.orders[0]:.2f} and {check.orders[1]:.2f}"
            for name, check in checks.items()
        )
        title = "The drop of the loss that gradient alignment foretells (Eq. 3)"
        return written(figure, "eq3", title, f"{said}.")
