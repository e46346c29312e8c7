"""Fig. 6: CL-ICP and in-context fine-tuning, CL-ICT (Section 6.3). The text prints no numbers."""

from __future__ import annotations

from isogloss.experiments.fig5 import SHARES
from isogloss.experiments.grid import Experiment, Row
from isogloss.experiments.published_numbers import XCOPA

FIG6 = Experiment(
    name="fig6",
    title="CL-ICP and in-context fine-tuning (CL-ICT)",
    section="6.3",
    rows=(Row("CL-ICP", "cl-icp"), Row("CL-ICT", "cl-ict")),
    languages={"xcopa": XCOPA},
    baseline="CL-ICT",
    shares=SHARES,
)
