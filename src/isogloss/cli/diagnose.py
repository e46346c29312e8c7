"""`isogloss diagnose`."""

from __future__ import annotations

from collections.abc import Sequence

from isogloss.cli.output import print_json, print_table, say
from isogloss.diagnosing.closeness import Closeness
from isogloss.diagnosing.diagnosis import Diagnosis, diagnose
from isogloss.diagnosing.verdict import Finding
from isogloss.runs import DIAGNOSIS
from isogloss.settings import DiagnoseSettings

WIDEST = 24  # columns of the longest bar
MARK = "  "


def run(settings: DiagnoseSettings) -> None:
    """Print the page: a question, its answer, and the sentences with the numbers."""
    found = diagnose(settings)
    if settings.json:
        print_json(found.content)
        return
    tell(found)
    say(f"all numbers: {found.folder / DIAGNOSIS} ({found.seconds:.0f} s)")


def tell(found: Diagnosis) -> None:
    """The page of one diagnosis."""
    task = f", {found.task}" if found.task else ""
    say(f"{found.model}: {found.source} to {found.target}{task} ({found.now.closeness.where})")
    _tell_findings(found.findings)
    _layers(found.now.closeness, found.after.closeness if found.after else None)
    if found.findings_after:
        say(f"after {found.method}:")
        _tell_findings(found.findings_after)


def _tell_findings(findings: Sequence[Finding]) -> None:
    for each in findings:
        say(f"{each.question} {each.answer}")
        for sentence in each.sentences:
            say(f"{MARK}{sentence}")


def _layers(now: Closeness, after: Closeness | None) -> None:
    """The layers' table, a bar for the deviation."""
    most = max((abs(each.deviation.value) for each in now.layers), default=1.0) or 1.0
    later = {each.layer: each for each in after.layers} if after else {}
    rows = [
        {
            "layer": each.layer,
            "deviation": each.deviation.value,
            "low": each.deviation.low,
            "high": each.deviation.high,
            "": ("█" if each.deviation.value > 0 else "░")  # below 0: nearer than a stranger
            * round(WIDEST * abs(each.deviation.value) / most),
            "centred": each.centred.value,
            "retrieval": each.retrieval.value,
            "deviation after": later[each.layer].deviation.value if later else None,
            "retrieval after": later[each.layer].retrieval.value if later else None,
        }
        for each in now.layers
    ]
    title = "cosine deviation of each layer (95% interval), and how often translations are nearest"
    print_table(title, rows, list(rows[0]))
