"""Fig. 3: in-context learning without training (Section 5.2). The text prints no numbers."""

from __future__ import annotations

from isogloss.experiments.grid import Experiment, Row
from isogloss.experiments.published_numbers import XCOPA, XNLI, XQUAD

FIG3 = Experiment(
    name="fig3",
    title="In-context learning with different demonstration samples",
    section="5.2",
    rows=(
        Row("English, 1", "icl-dominant", {"demonstrations": 1}),
        Row("Target, 1", "icl-target", {"demonstrations": 1}),
        Row("English, 3", "icl-dominant", {"demonstrations": 3}),
        Row("Target, 3", "icl-target", {"demonstrations": 3}),
    ),
    languages={"xquad": XQUAD, "xcopa": XCOPA, "xnli": XNLI},
    baseline="English, 1",
)
