"""The items that are measured on: real ones, or made up in their lengths, as a task folder.

The folder is a task of one's own: benchmark wording, training and test items in two languages, and
no validation items, as judging them is no part of what is compared.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engine import lengths
from isogloss import BenchmarkSettings, Example, Task, open_task
from isogloss.tasks.splits import make_split, read_test
from isogloss.tasks.xcopa import Xcopa
from isogloss.tasks.xnli import Xnli
from isogloss.tasks.xquad import Xquad

TASKS = {"xcopa": Xcopa(None), "xnli": Xnli(None), "xquad": Xquad(None)}
LABELS = ("entailment", "neutral", "contradiction")
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How many items there are of D_s, of D_t and of the test set."""

    dominant: int = 100
    target: int = 100
    test: int = 16

    def files(self, target: str) -> tuple[tuple[str, str, int], ...]:
        """Language, split and count of each file."""
        return (("en", "train", self.dominant), (target, "train", self.target)) + (
            (target, "test", self.test),
        )


@dataclass(frozen=True)
class Maker:
    """Makes items of a data set up: `words` of both languages, `known` lengths, times `scale`."""

    task: str
    words: tuple[Sequence[str], Sequence[str]]
    known: lengths.Lengths
    scale: float = 1.0

    def rows(self, language: str, split: str, count: int, seed: int) -> Iterator[Row]:
        """The items of a file, one after the other."""
        # Lengths of a source of their own: longer items are the same ones, made longer.
        drawn, worded = (random.Random(f"{seed}/{language}/{split}/{n}") for n in range(2))
        for number in range(count):
            texts = {}
            for name, table in self.known[language].items():
                factor = 1.0 if name == "answer" else self.scale
                tokens = max(1, round(_between(table, drawn.random()) * factor))
                known = self.words[language != "en"]
                texts[name] = " ".join(worded.choices(known, k=tokens))
            yield {"id": f"{split}-{number}", **self._solved(texts, number)}

    def _solved(self, texts: dict[str, str], number: int) -> Row:
        if self.task == "xcopa":
            question = ("cause", "effect")[number % 2]
            return {**texts, "question": question, "label": f"choice{number // 2 % 2 + 1}"}
        if self.task == "xnli":
            return {**texts, "label": LABELS[number % 3]}
        answer = texts.pop("answer")
        return {**texts, "label": [answer]}


def _between(table: Sequence[int], share: float) -> float:
    """The value below which this share of all lies, by a table of quantiles from 0 to 100%."""
    place = share * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    return table[low] + (place - low) * (table[low + 1] - table[low])


def real_rows(task: Task, target: str, sizes: Sizes, seed: int) -> dict[tuple[str, str], list[Row]]:
    """Items of a benchmark's release as rows, by language and split; fewer if there are fewer."""
    split = make_split(task, target, seed=seed)
    test = read_test(task, target, seed=seed, limit=sizes.test).examples
    sides = {("en", "train"): split.dominant[: sizes.dominant], (target, "test"): test}
    sides[target, "train"] = split.target[: sizes.target]
    return {side: [_row(task, example) for example in items] for side, items in sides.items()}


def _row(task: Task, example: Example) -> Row:
    answer = list(example.answers[:1]) if task.kind == "span" else example.answers[0]
    return {"id": example.id, **example.fields, "label": answer}


def write_task(folder: Path, name: str, files: Mapping[tuple[str, str], Iterator[Row]]) -> Path:
    """A task folder of these rows, in the wording of the benchmark."""
    task, (target, _) = TASKS[name], lengths.FIELDS[name]
    wording = task.wording("en")
    fields = {"xcopa": ["premise", "question"], "xnli": ["premise", "hypothesis"]}
    options = {"xcopa": ["choice1", "choice2"], "xnli": list(LABELS)}
    content = {
        "name": f"{name}-lengths",
        "kind": task.kind,
        "dominant": "en",
        "languages": ["en", target],
        "fields": fields.get(name, ["context", "question"]),
        "answer": "label",
        "id": "id",
        "wording": {"input": wording.input, "answer": wording.answer},
        "files": "{language}/{split}.jsonl",
    }
    if name in options:
        content["options"] = options[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    for (language, split), rows in files.items():
        (folder / language).mkdir(exist_ok=True)
        with (folder / language / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return folder


def write_items(folder: Path, maker: Maker, sizes: Sizes, *, seed: int, data: str | None) -> Path:
    """The task folder of a benchmark's release in `data`, or else of what the maker makes up."""
    target, _ = lengths.FIELDS[maker.task]
    if data:
        task = open_task(maker.task, data, BenchmarkSettings())
        found = real_rows(task, target, sizes, seed)
        return write_task(folder, maker.task, {side: iter(rows) for side, rows in found.items()})
    made = {
        (language, split): maker.rows(language, split, count, seed)
        for language, split, count in sizes.files(target)
    }
    return write_task(folder, maker.task, made)
