"""Diagnoses in a report: beside the scores, how the languages stand to each other (Section 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

from isogloss.gathering.diagnosed import Diagnosed, Said
from isogloss.reporting.drawing import Drawing, slug
from isogloss.reporting.layer_figures import AFTER, BEFORE, draw_layers
from isogloss.runs import Json

LONGEST = 120  # letters of a figure's name


@final
@dataclass(frozen=True)
class Shown:
    """A diagnosis as the page shows it: a title of its own, and its figure."""

    found: Diagnosed
    title: str
    drawing: Drawing

    @property
    def questions(self) -> dict[str, list[tuple[str, Said]]]:
        """What is said to each question, with the state of the model: before, then after."""
        states = {BEFORE: self.found.findings, AFTER: self.found.findings_after}
        made: dict[str, list[tuple[str, Said]]] = {}
        for state, findings in states.items():
            for said in findings:
                label = state if self.found.findings_after else ""
                made.setdefault(said.question, []).append((label, said))
        return made

    @property
    def numbers(self) -> Json:
        """The diagnosis as report.json has it."""
        found = self.found
        names = ("model", "task", "source", "target", "method", "where")
        return {
            "folder": str(found.folder),
            "title": self.title,
            **{name: getattr(found, name) for name in names},
            "findings": [asdict(each) for each in found.findings],
            "findings_after": [asdict(each) for each in found.findings_after],
            "layers": [asdict(each) for each in found.layers],
            "layers_after": [asdict(each) for each in found.after],
            "figure": self.drawing.name,
        }


def shown_diagnoses(diagnosed: Sequence[Diagnosed]) -> list[Shown]:
    """The diagnoses with their figures; those of one title have their folder in it."""
    counts = Counter(each.title for each in diagnosed)
    taken: set[str] = set()
    made = []
    for each in diagnosed:
        title = each.title if counts[each.title] == 1 else f"{each.title} ({each.folder})"
        name = _free(slug("layers", each.title)[:LONGEST].strip("-"), taken)
        taken.add(name)
        made.append(Shown(each, title, draw_layers(each, name, f"By layer, {title}")))
    return made


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken.

    >>> _free("layers-a", {"layers-a", "layers-a-2"})
    'layers-a-3'
    """
    number = 1
    while (free := f"{name}-{number}" if number > 1 else name) in taken:
        number += 1
    return free
