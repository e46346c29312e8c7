"""A small span task in two languages: what is red?"""

from __future__ import annotations

import json
from pathlib import Path


def write_spans(folder: Path) -> Path:
    (folder / "task.yaml").write_text(
        "name: reds\nkind: span\ndominant: en\nlanguages: [en, tr]\n"
        "fields: [passage, question]\nanswer: answers\nid: id\ncontext: passage\n"
        'wording: {input: "{passage}\\nQuestion: {question}\\nAnswer:"}\n'
        'files: "{language}/{split}.jsonl"\n'
    )
    for language, what in (("en", "Part"), ("tr", "Parça")):
        (folder / language).mkdir()
        for split, numbers in (("train", range(9)), ("test", range(20, 26))):
            lines = [
                {
                    "id": f"i{n}",
                    "passage": f"{what} {'very ' * (n % 4)}{n} is red.",
                    "question": f"{what} {n}?",
                    "answers": ["red"],
                }
                for n in numbers
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / language / f"{split}.jsonl").write_text(text)
    return folder / "task.yaml"
