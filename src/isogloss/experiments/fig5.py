"""Fig. 5: shares of the non-dominant language's data (Section 6.2). The text prints no numbers."""

from __future__ import annotations

from isogloss.experiments.grid import Experiment, Row
from isogloss.experiments.published_numbers import XCOPA, XNLI, XQUAD

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # the text names 10, 25 and 100%

FIG5 = Experiment(
    name="fig5",
    title="Performance with different ratios of non-dominant language data",
    section="6.2",
    rows=(
        Row("MTL, s-t", "mtl"),
        Row("CL-ICP, s-t", "cl-icp"),
        Row("FT, t-t", "ft"),
        Row("CL-ICP, t-t", "cl-icp", {"demonstration_languages": "target"}),
    ),
    languages={"xquad": XQUAD, "xcopa": XCOPA, "xnli": XNLI},
    baseline="MTL, s-t",
    shares=SHARES,
)
