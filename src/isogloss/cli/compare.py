"""`isogloss compare`."""

from __future__ import annotations

from isogloss.cli.output import print_json, print_table, say
from isogloss.comparing.comparing import Compared, compare
from isogloss.reporting.comparisons import LEVEL
from isogloss.reporting.rendering import STATES, percent
from isogloss.runs import Json
from isogloss.settings import CompareSettings

COLUMNS = (
    *("method", "test, % (95% interval)", "held out, %", "training"),
    *("trained parameters", "added tokens", "seeds"),
)

LEGEND = (
    f"* above and ° below zero-shot on the test items, by a paired test with p < {LEVEL} after "
    "Holm's correction over the methods.",
    "held out: on items of the target language that were not trained on; they choose, test items "
    "do not. training and the tokens added at inference: means over seeds.",
)


def run(settings: CompareSettings) -> None:
    """Compare, print the table, and say which run to use and why."""
    made = compare(settings)
    if settings.json:
        print_json(made.content)
        return
    _tell(made)


def _tell(made: Compared) -> None:
    print_table(made.title, [_shown(row) for row in made.rows], COLUMNS)
    for line in LEGEND:
        say(line)
    for row in made.rows:
        for reason in row["reasons"]:
            say(f"failed: {row['method']}, {reason}")
    for name, reason in made.left_out.items():
        say(f"does not fit: {name}: {reason}")
    for note in made.notes:
        say(f"note: {note}")
    left = made.content["runs_left"]
    if left:
        say(f"{left} run{'s' * (left > 1)} left; the same command goes on")
    if made.recommendation:
        say(made.recommendation.why)
        say(f"use it: isogloss predict {made.folder / 'best'} --field NAME=TEXT")
        say(f"all numbers: isogloss report {made.folder} --baseline zero-shot")


def _shown(row: Json) -> dict[str, str | None]:
    """A row as people read it."""
    parameters, tokens = row["trained_parameters"], row["added_tokens"]
    return {
        "method": row["method"],
        COLUMNS[1]: _score(row),
        COLUMNS[2]: None if row["held_out"] is None else percent(row["held_out"]),
        "training": None if row["seconds"] is None else _duration(row["seconds"]),
        "trained parameters": None if parameters is None else f"{parameters:,.0f}",
        "added tokens": None if tokens is None else f"{tokens:.0f}",
        "seeds": " ".join(map(str, row["seeds"])),
    }


def _score(row: Json) -> str:
    if row["score"] is None:
        return STATES.get(row["state"], str(row["state"]))
    return f"{percent(row['score'])}{row['marks']} [{percent(row['low'])}, {percent(row['high'])}]"


def _duration(seconds: float) -> str:
    """Seconds, from two minutes on minutes, from two hours on hours.

    >>> _duration(90.4), _duration(600), _duration(9000)
    ('90 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
