"""The lab's studies: claims of the paper as grids of runs in a world whose alignment is set.

What is varied is the dial (which model), the method, the share of D_t, the demonstrations; all else
is the same in every cell. Settings are those of a model of this size; see docs/lab.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isogloss.experiments.grid import Row
from isogloss.lab.shipped import DIALS

StudyName = Literal["table2", "fig2c", "fig5", "demonstrations"]
ALL: Mapping[str, Any] = {"learning_rate": 1e-3, "epochs": 10}
ALONE: Mapping[str, Any] = {"learning_rate": 3e-4, "epochs": 20}  # of D_t alone
PROMPT: Mapping[str, Any] = {"learning_rate": 1e-2, "epochs": 20, "prompt_length": 10}
IN_CONTEXT: Mapping[str, Any] = {**PROMPT, "demonstrations": 3}


@dataclass(frozen=True)
class Study:
    """A claim as rows over dials and shares; `matched` gives every share as many updates as all."""

    name: StudyName
    title: str
    section: str
    rows: tuple[Row, ...]
    baseline: str
    dials: tuple[str, ...] = DIALS
    shares: tuple[float, ...] = (1.0,)
    matched: bool = False


def _kind(languages: str, count: int, **more: Any) -> Row:
    """CL-ICP with so many demonstrations of a kind."""
    names = {"dominant": "Dominant", "target": "Target", "mixed": "Mixed"}
    given = {**PROMPT, "demonstrations": count, "demonstration_languages": languages, **more}
    nearest = "nearest " if "demonstration_choice" in more else ""
    return Row(f"{names[languages]}, {nearest}{count}", "cl-icp", given)


STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        Study(
            "table2",
            "Table 2 in the lab: methods by dial",
            "6.2",
            (
                Row("Direct transfer", "direct-transfer", ALL),
                Row("FT", "ft", ALONE),
                Row("TL", "tl", ALL),
                Row("MTL", "mtl", ALL),
                Row("ShifCon", "shifcon", ALL),
                Row("MTL, prompt tuning", "mtl-prompt", {**PROMPT, "epochs": 10}),
                Row("CL-ICP", "cl-icp", IN_CONTEXT),
                Row("CL-ICP (S)", "cl-icp-s", IN_CONTEXT),
            ),
            baseline="MTL",
        ),
        Study(
            "fig2c",
            "Fig. 2c in the lab: direct transfer by cosine deviation",
            "4",
            (
                Row("Zero-shot", "zero-shot"),
                Row("ICL", "icl-mixed", {"demonstrations": 3}),
                Row("Direct transfer", "direct-transfer", ALL),
            ),
            baseline="Zero-shot",
        ),
        Study(
            "fig5",
            "Fig. 5 in the lab: shares of the non-dominant language's data",
            "6.2",
            (
                Row("MTL, s-t", "mtl", ALL),
                Row("CL-ICP, s-t", "cl-icp", IN_CONTEXT),
                Row("FT, t-t", "ft", ALONE),
                Row("CL-ICP, t-t", "cl-icp", {**IN_CONTEXT, "demonstration_languages": "target"}),
            ),
            baseline="MTL, s-t",
            dials=("middle",),
            shares=(0.25, 0.5, 0.75, 1.0),  # of a tenth, 4 items, none is left to demonstrate
            matched=True,
        ),
        Study(
            "demonstrations",
            "Table 3 in the lab: kind and number of demonstrations",
            "6.3",
            (
                *(_kind(kind, 1) for kind in ("dominant", "target", "mixed")),
                *(_kind(kind, 3) for kind in ("dominant", "target", "mixed")),
                _kind("mixed", 6),
                _kind("mixed", 3, demonstration_choice="bm25"),
            ),
            baseline="Mixed, 3",
            dials=("middle",),
        ),
    )
}
"""The studies by name."""
