"""A tiny XCOPA folder in the release's layout, for tests of commands."""

from __future__ import annotations

import json
from pathlib import Path


def rows(count: int, *, labelled: bool = True) -> list[dict]:
    """Items whose two choices differ in length, and from item to item."""
    made = []
    for number in range(count):
        row = {
            "premise": f"Adam {number} musluğu açtı.",
            "choice1": f"Su aktı{', çok aktı' * (number % 3)}.",
            "choice2": f"Musluk {number} kırıldı ve düştü.",
            "question": "cause" if number % 2 else "effect",
            "idx": number,
        }
        made.append(row | ({"label": number // 2 % 2} if labelled else {}))
    return made


def write(path: Path, entries: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def write_xcopa(folder: Path) -> Path:
    write(folder / "copa" / "train.jsonl", rows(12))
    write(folder / "copa" / "val.jsonl", rows(8))
    write(folder / "copa" / "test.jsonl", rows(10, labelled=False))
    write(folder / "xcopa" / "tr" / "val.tr.jsonl", rows(8))
    write(folder / "xcopa" / "tr" / "test.tr.jsonl", rows(10))
    return folder
