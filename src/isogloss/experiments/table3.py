"""Table 3: CL-ICP with other demonstrations on XCOPA (Section 6.3)."""

from __future__ import annotations

from isogloss.experiments.grid import Experiment, Row
from isogloss.experiments.published_numbers import LLAMA, XCOPA, read_scores

LANGUAGES = {"xcopa": XCOPA}
ROWS = (
    Row("English, 3", "cl-icp", {"demonstration_languages": "dominant", "demonstrations": 3}),
    Row("Target, 3", "cl-icp", {"demonstration_languages": "target", "demonstrations": 3}),
    Row("Mixed, 1", "cl-icp", {"demonstration_languages": "mixed", "demonstrations": 1}),
    Row("Mixed, 3", "cl-icp", {"demonstration_languages": "mixed", "demonstrations": 3}),
)
_PUBLISHED, _AVERAGES = read_scores(
    LLAMA,
    LANGUAGES,
    {
        "English, 3": "86.0 74.4 55.9 50.1 66.6",
        "Target, 3": "87.3 77.1 56.7 50.9 68.0",
        "Mixed, 1": "83.7 75.7 57.9 49.7 66.8",
        "Mixed, 3": "87.6 77.9 58.8 49.1 68.4",
    },
)

TABLE3 = Experiment(
    name="table3",
    title="CL-ICP with different demonstrations on XCOPA",
    section="6.3",
    rows=ROWS,
    languages=LANGUAGES,
    baseline="English, 3",
    published=_PUBLISHED,
    averages=_AVERAGES,
)
