"""Make the reference values that `isogloss diagnose` holds its numbers against.

    python benchmarks/references.py diagnoses --studies studies/table2-span studies/fig2c-span

reads every diagnosis.json below the folders and the scores of the studies' runs, and puts a row for
each diagnosis into src/isogloss/diagnosing/references.json. It takes the place of the older row of
its model, languages and task, whose transfer stays where no study has it; all other rows stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from isogloss.diagnosing.references import PLACE
from isogloss.errors import IsoglossError, RunError
from isogloss.gathering.grid import read_grid
from isogloss.lab.shipped import DIALS
from isogloss.runs import DIAGNOSIS, Json, json_text, read_json_file, write_together

NEEDED = ("zero-shot", "direct-transfer")
Place = tuple[str, str, str]


def reference(content: Json, transfers: dict[Place, Json]) -> Json:
    """The row of one diagnosis."""
    now = content["now"]
    close, direction, reading = now["closeness"], now["direction"], now["attention"]
    place = content["model"], content["task"], content["target"]
    made = content["model"] in DIALS and content["source"] == "a"
    return {
        "model": f"lab {content['model']}" if made else content["model"],
        "source": content["source"],
        "target": content["target"],
        "task": content["task"] or "",
        "command": command(content, made=made),
        "deviation": rounded(close["deviation"]["value"]),
        "centred": rounded(close["centred"]["value"]),
        "retrieval": rounded(max(each["retrieval"]["value"] for each in close["layers"])),
        "cosine": rounded(direction["alignment"]["cosine"]["value"]) if direction else None,
        "excess": rounded(direction["excess"]["value"]) if direction else None,
        "reading": (
            rounded(reading["leave_one_out"]["whole"]["difference"]["value"]) if reading else None
        ),
        "transfer": transfers.get(place),
    }


def command(content: Json, *, made: bool) -> str:
    """What gives the numbers again, where model and data are at hand."""
    now = content["now"]
    parts = ["isogloss diagnose", f"--model {content['model']}"]
    if content["task"]:
        parts += [f"--task tasks/{content['task']}" if made else f"--task {content['task']}"]
    parts += [f"--source {content['source']}"] if made else []
    parts += [f"--target {content['target']}"]
    parts += ["--parallel parallel.tsv"] if made else []
    if now["direction"]:
        parts += [f"--items {now['direction']['items'][1]}"]
    if now["attention"]:
        read = now["attention"]
        parts += [f"--readers {read['targets']} --demonstrations {read['demonstrations']}"]
    return " ".join([*parts, f"--seed {content['seed']}"])


def merged(known: Sequence[Json], found: Sequence[Json]) -> list[Json]:
    """Old rows and new ones in order of name, the new in the place of the old of their name."""
    rows = {_name(row): row for row in known}
    for row in found:
        older = rows.get(_name(row), {})
        rows[_name(row)] = row | {"transfer": row["transfer"] or older.get("transfer")}
    return [rows[name] for name in sorted(rows)]


def _name(row: Json) -> tuple[str, ...]:
    return tuple(row[part] for part in ("model", "task", "source", "target"))


def rounded(value: float) -> float:
    """Four places, no more than its interval carries."""
    return round(value, 4)


def transfers_of(studies: Sequence[Path]) -> dict[Place, Json]:
    """By model, task and language what methods came to: means over seeds, all data of D_t."""
    scores: dict[Place, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    items: dict[Place, int] = {}
    for folder in studies:
        for outcome in read_grid(folder).outcomes:
            own = outcome.place
            if own.share == 1:
                place = own.model, own.task, own.language
                scores[place][outcome.method][own.seed] = outcome.score
                items[place] = len(outcome.items)
    found = {}
    for place, methods in scores.items():
        if set(NEEDED) <= set(methods):
            seeds = min(len(by_seed) for by_seed in methods.values())
            means = {
                name: rounded(sum(by_seed.values()) / len(by_seed))
                for name, by_seed in sorted(methods.items())
            }
            found[place] = {"scores": means, "seeds": seeds, "items": items[place]}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the folders, and write the references."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders with diagnoses below them")
    parser.add_argument("--studies", nargs="*", type=Path, default=[], help="studies' folders")
    parser.add_argument("--about", default="", help="what the models and data were")
    parser.add_argument("--out", type=Path, default=PLACE)
    given = parser.parse_args(arguments)
    try:
        transfers = transfers_of(given.studies)
        paths = [path for folder in given.folders for path in sorted(folder.rglob(DIAGNOSIS))]
        if not paths:
            raise RunError(f"found no {DIAGNOSIS} below {', '.join(map(str, given.folders))}")
        older = read_json_file(given.out) if given.out.is_file() else {}
        found = [reference(read_json_file(path), transfers) for path in paths]
        rows = merged(older.get("references", []), found)
        about = given.about or older.get("about", "")
        write_together({given.out: json_text({"about": about, "references": rows})})
    except IsoglossError as error:
        print(f"references: {error}", file=sys.stderr)
        return 2
    print(
        json.dumps(
            {"references": len(rows), "with transfer": sum(r["transfer"] is not None for r in rows)}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
