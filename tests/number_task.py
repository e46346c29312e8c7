"""A small label task in two languages, with the sizes and answers that a test asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

STARTS = {"train": 0, "validation": 50, "test": 100}
SIZES = {"en": {"train": 12, "test": 6}, "tr": {"train": 8, "test": 6}}
VALIDATED = {
    "en": {"train": 12, "validation": 4, "test": 6},
    "tr": {"train": 8, "validation": 6, "test": 6},
}


def write_numbers(
    folder: Path,
    sizes: Mapping[str, Mapping[str, int]] = SIZES,
    *,
    left_out: frozenset[str] = frozenset(),
    swapped: tuple[str, ...] = (),
) -> Path:
    """Writes task.yaml and its files; `left_out` ids go from training, `swapped` splits err."""
    folder.mkdir(parents=True, exist_ok=True)
    wording = '{input: "Text: {text}\\nIs it even?", answer: " {answer}"}'
    (folder / "task.yaml").write_text(
        "name: numbers\nkind: label\ndominant: en\nlanguages: [en, tr]\nfields: [text]\n"
        f"answer: label\nid: id\noptions: ['yes', 'no']\nwording: {wording}\nmetric: accuracy\n"
        'files: "{language}/{split}.jsonl"\n'
    )
    for language, splits in sizes.items():
        (folder / language).mkdir(exist_ok=True)
        for split, count in splits.items():
            items = []
            for number in range(STARTS[split], STARTS[split] + count):
                even = (number % 2 == 0) != (split in swapped)
                text = f"{language} number {number}"
                items.append({"id": f"i{number}", "text": text, "label": "yes" if even else "no"})
            kept = [item for item in items if split != "train" or item["id"] not in left_out]
            lines = "".join(json.dumps(item) + "\n" for item in kept)
            (folder / language / f"{split}.jsonl").write_text(lines)
    return folder / "task.yaml"
