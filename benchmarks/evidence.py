"""Keep the evidence ledger: what runs and measurements say of each claim of the paper.

    python benchmarks/evidence.py studies reproductions diagnoses

reads every study (grid.json), analysis (analysis.json) and diagnosis (diagnosis.json) at or below
the folders, puts what they show into docs/evidence.json (a newer measurement of the same thing
replaces the older one, all others stay) and writes docs/evidence.md from it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from claims import CLAIMS, Numbers, Rows

from isogloss.errors import IsoglossError, RunError
from isogloss.gathering.grid import GRID, read_grid
from isogloss.outcomes import Outcome
from isogloss.runs import DIAGNOSIS, read_json_file, write_json_file, write_together
from isogloss.statistics import paired_tests

ROOT = Path(__file__).resolve().parents[1]
NUMBERS, PAGE = ROOT / "docs" / "evidence.json", ROOT / "docs" / "evidence.md"
ANALYSIS = "analysis.json"
Entry = dict[str, Any]
Values = dict[int, dict[str, float]]


def entries(folder: Path, commands: Mapping[str, str], day: str) -> Iterator[Entry]:
    """What every study, analysis and diagnosis at or below a folder says of the claims."""
    for place in places(folder):
        if place.name == GRID:
            name = str(read_json_file(place)["experiment"])
            found = _of_grid(name, place.parent)
        else:
            content = read_json_file(place)
            name = "diagnosis" if place.name == DIAGNOSIS else str(content["analysis"])
            found = _of_numbers(name, content)
        for claim, where, value, low, high, much in found:
            yield {
                "claim": claim,
                "measured by": name,
                "where": where,
                "value": value,
                "low": low,
                "high": high,
                "of": much,
                "verdict": verdict(low, high),
                "command": commands.get(name, f"isogloss {_command(name)}"),
                "day": day,
            }


def places(folder: Path) -> Iterator[Path]:
    """The files that are read, in order of name; a grid's own runs are not looked into."""
    if not folder.is_dir():
        raise RunError(f"no such folder: {folder}")
    names = [folder / name for name in (GRID, ANALYSIS, DIAGNOSIS)]
    own = [path for path in names if path.is_file()]
    yield from own
    if not own:
        for below in sorted(folder.iterdir()):
            if below.is_dir():
                yield from places(below)


def verdict(low: float, high: float) -> str:
    """What an effect's 95% interval says of a claim that it is above 0."""
    return "holds" if low > 0 else "does not" if high < 0 else "not decided"


def _command(name: str) -> str:
    if name == "diagnosis":
        return "diagnose"
    return name if name.startswith("lab ") else f"reproduce {name}"


def _of_numbers(name: str, content: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for claim in CLAIMS:
        for test in claim.tests:
            if isinstance(test, Numbers) and test.analysis == name:
                try:
                    found = test.find(content)
                except (KeyError, TypeError):
                    continue  # not measured there
                for one in found:
                    yield claim.name, *one


def _of_grid(name: str, folder: Path) -> Iterator[tuple[Any, ...]]:
    tests = [
        (claim.name, test)
        for claim in CLAIMS
        for test in claim.tests
        if isinstance(test, Rows) and test.study == name
    ]
    if not tests:
        return
    outcomes = read_grid(folder).outcomes
    models = list(dict.fromkeys(each.place.model for each in outcomes))
    task = outcomes[0].place.task if outcomes else ""
    for claim, test in tests:
        for model in models if test.models is None else [test.models[0]]:
            sides = _sides(outcomes, test, model)
            if sides is None:
                continue
            (found,) = paired_tests([[side] for side in sides], [(0, 1)], seed=0)
            if found is None:
                continue
            other = f" against {test.models[1]}" if test.models else ""
            where = f"lab, {task}, dial {model}{other}"
            much = f"{len(sides[0])} seeds, {found.items} items"
            yield claim, where, found.difference, found.low, found.high, much


def _sides(outcomes: Sequence[Outcome], test: Rows, model: str) -> tuple[Values, Values] | None:
    """What is met: two rows' values, or two differences of rows, over seeds that all have."""

    def row(label: str, model: str, share: float | None) -> Values:
        return {
            each.place.seed: dict(each.values[each.metric])
            for each in outcomes
            if each.place.row == label
            and each.place.model == model
            and (share is None or each.place.share == share)
        }

    if test.shares is not None:
        sides = tuple(
            _less(row(test.row, model, share), row(test.less, model, share))
            for share in test.shares
        )
    else:
        other = test.models[1] if test.models else model
        sides = row(test.row, model, None), row(test.less, other, None)
    seeds = sides[0].keys() & sides[1].keys()
    if not seeds:
        return None
    first, second = ({seed: side[seed] for seed in sorted(seeds)} for side in sides)
    return first, second


def _less(first: Values, second: Values) -> Values:
    return {
        seed: {name: first[seed][name] - second[seed][name] for name in first[seed]}
        for seed in first.keys() & second.keys()
    }


def merged(known: Sequence[Entry], found: Sequence[Entry]) -> list[Entry]:
    """Known entries with newer ones in place of those of the same claim, means and place."""

    def key(entry: Entry) -> tuple[str, str, str]:
        return entry["claim"], entry["measured by"], entry["where"]

    whole = {key(each): each for each in (*known, *found)}
    order = {claim.name: place for place, claim in enumerate(CLAIMS)}
    return sorted(whole.values(), key=lambda e: (order.get(e["claim"], len(order)), *key(e)[1:]))


def page(known: Sequence[Entry]) -> str:
    """The ledger as Markdown."""
    lines = [
        "# Evidence: the paper's claims, tested",
        "",
        "Kept by `python benchmarks/evidence.py FOLDERS`, which reads folders of studies,",
        "reproductions and diagnoses; not edited by hand. A claim *holds* where the 95% interval",
        "of its effect is above 0, *does not* where it is below, and is *not decided* where 0 is",
        "in it. Intervals are not corrected for how many there are.",
        "A verdict is of one place: a made-up world with three pre-trained models of 0.7 million",
        "parameters ([](lab.md)), or a small real model. Neither is the paper's 7 to 8 billion.",
        "",
    ]
    for claim in CLAIMS:
        own = [each for each in known if each["claim"] == claim.name]
        lines += [f"## {claim.name}", "", f"Section {claim.section}: {claim.says}.", ""]
        lines += [f"Effect: {claim.effect}.", ""]
        if not own:
            lines += ["Not measured yet.", ""]
            continue
        lines += ["| where | effect | 95% interval | of | verdict | command | measured |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for each in own:
            interval = f"[{each['low']:+.3f}, {each['high']:+.3f}]"
            cells = [each["where"], f"{each['value']:+.3f}", interval, each["of"], each["verdict"]]
            lines.append(f"| {' | '.join(cells)} | `{each['command']}` | {each['day']} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the folders, and keep the ledger."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders to read, at any depth")
    parser.add_argument("--commands", type=Path, help="JSON: the command by name of what it made")
    parser.add_argument("--numbers", type=Path, default=NUMBERS, help="the ledger's JSON file")
    parser.add_argument("--page", type=Path, default=PAGE, help="the ledger's page")
    parser.add_argument("--day", default=date.today().isoformat(), help="when it was measured")
    given = parser.parse_args(arguments)
    try:
        commands = read_json_file(given.commands) if given.commands else {}
        found = [one for folder in given.folders for one in entries(folder, commands, given.day)]
        known = read_json_file(given.numbers)["entries"] if given.numbers.is_file() else []
        kept = merged(known, found)
        write_json_file(given.numbers, {"entries": kept})
        write_together({given.page: page(kept)})
    except IsoglossError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"found": len(found), "kept": len(kept)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
