"""The `files` key of a user's task: a pattern, or one path for each language and split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from isogloss.errors import Problem
from isogloss.tasks.example import SplitName
from isogloss.tasks.own_wording import template_names
from isogloss.tasks.own_yaml import Entry, as_text, check_keys

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv")
_PLACES = ("language", "split")

Files = Mapping[tuple[str, SplitName], Path]


def read_files(
    entry: Entry, folder: Path, languages: tuple[str, ...], problems: list[Problem]
) -> Files:
    """The path of each language and split that has one, relative ones from `folder` on.

    Empty, and problems noted, where anything in it is wrong.
    """
    before = len(problems)
    files: dict[tuple[str, SplitName], Path] = {}
    if isinstance(entry.value, Mapping):
        check_keys(entry, languages or entry.value, problems)
        for code, splits in entry.value.items():
            files |= {(code, split): folder / path for split, path in _named(splits, problems)}
        _check_differ(entry, files, problems)
    elif _is_pattern(entry, problems):
        files = {
            (code, split): folder / str(entry.value).format(language=code, split=split)
            for code in languages
            for split in SPLITS
        }
    return files if len(problems) == before else {}


def _is_pattern(entry: Entry, problems: list[Problem]) -> bool:
    """Whether the text of an entry names a file for each language and split."""
    before = len(problems)
    names = template_names(entry, problems)
    if names is None:
        return False
    _has_known_ending(entry, problems)
    wrong = [name for name in names if name not in _PLACES]
    wrong += [name for name in _PLACES if name not in names]
    if wrong:
        expected = "{language} and {split} and no other name in braces, or a mapping of paths"
        problems.append(entry.problem(expected))
    return len(problems) == before


def _named(splits: Entry, problems: list[Problem]) -> Iterator[tuple[SplitName, str]]:
    """The splits of one language that have a good path."""
    if not isinstance(splits.value, Mapping):
        problems.append(splits.problem("a mapping split -> path"))
    check_keys(splits, SPLITS, problems)
    for split in SPLITS:
        entry = splits.child(split)
        path = None if entry is None else as_text(entry, problems)
        if entry is not None and path is not None and _has_known_ending(entry, problems):
            yield split, path


def _has_known_ending(entry: Entry, problems: list[Problem]) -> bool:
    if str(entry.value).lower().endswith(_ENDINGS):
        return True
    problems.append(entry.problem(f"a path that ends in {', '.join(_ENDINGS)}"))
    return False


def _check_differ(entry: Entry, files: Files, problems: list[Problem]) -> None:
    """Note every file that is named twice."""
    first_places: dict[Path, str] = {}
    for (code, split), path in files.items():
        splits = entry.child(code)
        here = None if splits is None else splits.child(split)
        if here is not None and path in first_places:
            found = f"'{here.value}', which is also the file of '{first_places[path]}'"
            problems.append(here.problem("a file of its own", found=found))
        first_places.setdefault(path, f"{code}.{split}")
