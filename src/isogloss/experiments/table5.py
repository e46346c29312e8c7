"""Table 5: MTL and CL-ICT by prompt tuning (PT) or LoRA on XCOPA (Section 6.3)."""

from __future__ import annotations

from isogloss.experiments.grid import Experiment, Row
from isogloss.experiments.published_numbers import LLAMA, XCOPA, read_scores

LANGUAGES = {"xcopa": XCOPA}
ROWS = (
    Row("PT MTL", "mtl-prompt"),
    Row("PT CL-ICT", "cl-ict-prompt"),
    Row("LoRA MTL", "mtl-lora"),
    Row("LoRA CL-ICT", "cl-ict-lora"),
)
_PUBLISHED, _AVERAGES = read_scores(
    LLAMA,
    LANGUAGES,
    {
        "PT MTL": "56.4 55.8 52.6 50.6 53.8",
        "PT CL-ICT": "87.6 77.9 58.8 49.1 68.4",
        "LoRA MTL": "87.4 75.6 59.7 50.0 68.2",
        "LoRA CL-ICT": "88.2 81.5 63.3 53.1 71.5",
    },
)

TABLE5 = Experiment(
    name="table5",
    title="MTL and CL-ICT by only training prompts (PT) or LoRA blocks, on XCOPA",
    section="6.3",
    rows=ROWS,
    languages=LANGUAGES,
    baseline="LoRA MTL",
    published=_PUBLISHED,
    averages=_AVERAGES,
)
