"""Sentences of two languages that are translations of each other: from a task or from files."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from isogloss.errors import ConfigError, DataError, Problem, no_such
from isogloss.tasks.example import Example, Task
from isogloss.tasks.reading import read_text
from isogloss.tasks.splits import Split

LEAST = 20  # pairs; an interval over fewer says little


@final
@dataclass(frozen=True)
class ParallelText:
    """Sentence pairs, the dominant language first.

    `clusters`: for each pair what it came from (an item's id, a line); pairs of one cluster are
    resampled together. `where` says in words where the text is from.
    """

    own: tuple[str, ...]
    other: tuple[str, ...]
    clusters: tuple[str, ...]
    where: str

    def sampled(self, count: int, *, seed: int) -> ParallelText:
        """At most `count` pairs, drawn by the seed, in the order that they came in."""
        if count >= len(self.own):
            return self
        chosen = sorted(random.Random(f"{seed}/pairs").sample(range(len(self.own)), count))
        return self.of(chosen)

    def of(self, places: Sequence[int]) -> ParallelText:
        """The pairs at these places."""
        own, other, clusters = (
            tuple(side[place] for place in places) for side in (self.own, self.other, self.clusters)
        )
        return ParallelText(own, other, clusters, self.where)


def from_task(task: Task, split: Split, fields: Sequence[str] = ()) -> ParallelText:
    """The texts of training items that both languages have, by id; a pair for each field.

    `fields` are those that the task calls sentences, unless some are named. A pair of texts that
    came before is left out, and so is one without words in a language.

    Raises:
        ConfigError: the task has no such field.
        DataError: no item has a translation.
    """
    translations = {item.id: item for item in split.target}
    pairs = [(item, translations[item.id]) for item in split.dominant if item.id in translations]
    if not pairs:
        raise DataError(
            f"{task.name}: no training item of '{task.dominant}' has the id of one in "
            f"'{split.target[0].language}'; give translated items one id, or parallel text with "
            "--parallel"
        )
    names = _fields(task, pairs[0][0], fields)
    found: dict[tuple[str, str], str] = {}
    for own, other in pairs:
        for name in names:
            texts = own.fields[name].strip(), other.fields[name].strip()
            if all(texts):
                found.setdefault(texts, own.id)
    where = f"{task.name}: {', '.join(names)} of the training items"
    return ParallelText(
        tuple(own for own, _ in found),
        tuple(other for _, other in found),
        tuple(found.values()),
        where,
    )


def _fields(task: Task, example: Example, asked: Sequence[str]) -> list[str]:
    known = list(example.fields)
    for name in asked:
        if name not in known:
            raise no_such(f"field in {task.name}", name, known)
    return list(asked or task.sentence_fields() or known)


def from_files(paths: Sequence[Path], source: str, target: str) -> ParallelText:
    """The pairs of a table with a column for each language, or of two files line by line.

    A table is tab-separated, its first line the languages' codes.

    Raises:
        DataError: a file is missing or not text, has no column of a language, the two are not
            aligned, or every translation is the sentence itself; all problems are listed.
        ConfigError: neither one file nor two.
    """
    if len(paths) == 1:
        return _from_table(paths[0], source, target)
    if len(paths) != 2:
        raise ConfigError(
            f"parallel text is one table or two files, the dominant language first; found "
            f"{len(paths)} files"
        )
    return _from_two(paths[0], paths[1])


def _from_two(first: Path, second: Path) -> ParallelText:
    problems: list[Problem] = []
    own, other = (_lines(path, problems) for path in (first, second))
    if problems:
        raise DataError(problems)
    if len(own) != len(other):
        raise DataError(
            Problem(
                str(second),
                f"{len(other)} lines",
                f"{len(own)}, as many as {first} has: line by line one is the other's translation",
            )
        )
    rows = dict(enumerate(zip(own, other, strict=True), start=1))
    for number, texts in rows.items():
        if any(texts) and not all(texts):
            empty = first if not texts[0] else second
            problems.append(
                Problem(str(empty), "an empty line", "a sentence, as the other file has", number)
            )
    if problems:
        raise DataError(problems)
    return _text(rows, f"{first.name} and {second.name}")


def _from_table(path: Path, source: str, target: str) -> ParallelText:
    problems: list[Problem] = []
    lines = _lines(path, problems)
    if problems:
        raise DataError(problems)
    codes = [code.strip() for code in lines[0].split("\t")]
    for code in (source, target):
        if codes.count(code) != 1:
            raise DataError(
                Problem(
                    str(path),
                    f"the columns {', '.join(codes)}",
                    f"one column '{code}' (tab-separated, codes in the first line)",
                    1,
                )
            )
    places = codes.index(source), codes.index(target)
    rows = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        if len(cells) != len(codes) or not all(cells[place] for place in places):
            found = f"{len(cells)} columns" if len(cells) != len(codes) else "an empty cell"
            problems.append(Problem(str(path), found, f"{len(codes)} columns with text", number))
            continue
        rows[number] = cells[places[0]], cells[places[1]]
    if problems:
        raise DataError(problems)
    return _text(rows, path.name)


def _text(rows: Mapping[int, tuple[str, str]], where: str) -> ParallelText:
    kept: dict[tuple[str, str], str] = {}
    for number, texts in rows.items():
        if all(texts):
            kept.setdefault(texts, f"line {number}")
    if kept and all(own == other for own, other in kept):
        raise DataError(
            f"{where}: found the same text in both languages; expected each sentence's translation"
        )
    return ParallelText(
        tuple(own for own, _ in kept),
        tuple(other for _, other in kept),
        tuple(kept.values()),
        where,
    )


def _lines(path: Path, problems: list[Problem]) -> list[str]:
    """The file's lines but the empty ones at its end; none and a problem noted if unreadable."""
    text = read_text(path, problems)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.strip() if "\t" not in line else line for line in lines]


def check_enough(count: int, what: str, advice: str) -> None:
    """Refuse to measure on fewer than 20 pairs.

    Raises:
        DataError: says how many there are, of what, and what to do.
    """
    if count < LEAST:
        raise DataError(f"{what}: found {count} sentence pairs; {LEAST} are the least. {advice}")
