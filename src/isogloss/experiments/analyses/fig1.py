"""Fig. 1: the linear example in the plane (Section 3, Eq. 2)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from isogloss.alignment.linear_example import figure1
from isogloss.experiments.analyses.analysis import Analysis, Findings
from isogloss.reporting.theory_figures import draw_figure1
from isogloss.settings import ReproduceSettings


def make(settings: ReproduceSettings, folder: Path) -> Findings:
    """The three panels, each by Eq. 2 and by the gradients themselves."""
    seed = settings.seeds[0] if settings.seeds else 0
    panels = figure1(seed)
    rows = tuple(
        {
            "panel": panel.name,
            "says": panel.says,
            "RepAlign 1": panel.first,
            "RepAlign 2": panel.second,
            "by Eq. 2": panel.inner,
            "of the gradients": panel.measured,
        }
        for panel in panels
    )
    sentences = (
        "(w - w*)(w - w*)^T has rank 1: for one w there is one axis alone. The two axes here are "
        f"those of the mean over starts of w, with lambda {panels[0].sizes[0]:.2f} and "
        f"{panels[0].sizes[1]:.2f}.",
        "The factor of Eq. 2 is 4 / (n_t n_train) for the squared loss; the paper leaves 4 out.",
    )
    content = {"panels": [asdict(panel) for panel in panels], "seed": seed}
    return Findings(rows, sentences, (draw_figure1(panels),), content)


FIG1 = Analysis("fig1", "Different alignments in the plane", "3.2", make, ())
