"""YAML in which every value keeps its line and is read as it is written: `no` stays "no"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import yaml

from isogloss.errors import Problem, suggestion
from isogloss.tasks.reading import read_text
from isogloss.tasks.sources import described

_PLAIN = frozenset({"bool", "float", "int", "merge", "null", "str", "timestamp", "value"})


@final
@dataclass(frozen=True)
class Entry:
    """One value of a YAML file: a text, a list, a mapping, or nothing.

    `key` is the dotted path of keys to it ("" for the whole file) and `line` is the line of its
    own key, or of the value itself in a list.
    """

    file: str
    line: int
    key: str
    value: str | tuple[Entry, ...] | Mapping[str, Entry] | None

    def problem(self, expected: str, *, found: str | None = None) -> Problem:
        """A problem at this entry; unless said, what was found is its value."""
        return Problem(self.file, found or self.shown(), expected, self.line, self.key or None)

    def shown(self) -> str:
        """The value as an error shows it.

        >>> Entry("a.yaml", 1, "name", None).shown(), Entry("a.yaml", 1, "name", "x").shown()
        ('nothing', "'x'")
        """
        if isinstance(self.value, tuple):
            return "a list"
        return "a mapping" if isinstance(self.value, Mapping) else described(self.value)

    def child(self, name: str) -> Entry | None:
        """The entry under a key; None where this is no mapping or lacks the key."""
        return self.value.get(name) if isinstance(self.value, Mapping) else None


def read_yaml(path: Path, problems: list[Problem]) -> Entry | None:
    """The one document of a YAML file; what cannot be read is None and a problem with its line."""
    before = len(problems)
    text = read_text(path, problems)
    if len(problems) > before:
        return None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            return _entry(node, Entry(str(path), 1, "", None), set(), problems)
        problems.append(Problem(str(path), "nothing but comments", "the keys of a task", 1))
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        problems.append(_broken(path, text, error))
    return None


def as_text(entry: Entry, problems: list[Problem], *, expected: str = "a text") -> str | None:
    """The text of an entry; None and a problem where it is something else, or blank."""
    if not isinstance(entry.value, str) or not entry.value.strip():
        problems.append(entry.problem(expected))
        return None
    if not is_sound(entry.value):
        problems.append(entry.problem("a text without NUL characters and lone surrogates"))
        return None
    return entry.value


def as_texts(entry: Entry, problems: list[Problem], *, least: int = 1) -> tuple[str, ...] | None:
    """The different texts of a list; None and problems where it is none, too short or repeats."""
    if not isinstance(entry.value, tuple):
        problems.append(entry.problem("a list, such as [one, two]"))
        return None
    before = len(problems)
    first_lines: dict[str, int] = {}
    for one in entry.value:
        text = as_text(one, problems, expected="a text (in quotes if it is the word null)")
        if text is not None and text in first_lines:
            found = f"'{text}' again (first in line {first_lines[text]})"
            problems.append(one.problem("each value once", found=found))
        if text is not None:
            first_lines.setdefault(text, one.line)
    if len(entry.value) < least:
        problems.append(entry.problem(f"{least} or more", found=f"{len(entry.value)}"))
    return tuple(first_lines) if len(problems) == before else None


def as_text_mapping(entry: Entry, problems: list[Problem]) -> dict[str, str] | None:
    """The texts of a mapping by key; None and problems where it is none or holds other values."""
    if not isinstance(entry.value, Mapping):
        problems.append(entry.problem("a mapping, such as {cause: because}"))
        return None
    texts = {name: as_text(one, problems) for name, one in entry.value.items()}
    known = {name: text for name, text in texts.items() if text is not None}
    return known if len(known) == len(texts) else None


def check_keys(entry: Entry, known: Iterable[str], problems: list[Problem]) -> None:
    """Note every key of a mapping that is not one of the known ones."""
    names = tuple(known)
    if not isinstance(entry.value, Mapping):
        return
    for name, one in entry.value.items():
        if name not in names:
            expected = f"one of {', '.join(names)}{suggestion(name, names)}"
            problems.append(one.problem(expected, found=f"the unknown key '{name}'"))


def _broken(path: Path, text: str, error: Exception) -> Problem:
    """What PyYAML says about a file that is no YAML, with the line where it stopped."""
    line: int | None = None
    reason = str(error).partition("\n")[0]
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        reason = ", ".join(filter(None, (error.context, error.problem)))
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character U+{ord(text[error.position]):04X}, which is not allowed"
    elif isinstance(error, RecursionError):
        reason = "values nested far too deeply"
    return Problem(str(path), f"broken YAML ({reason})", "YAML", line)


def _entry(node: yaml.Node, place: Entry, seen: set[int], problems: list[Problem]) -> Entry:
    """A node as an entry at a place; what is no plain value becomes nothing and a problem."""
    value: str | tuple[Entry, ...] | Mapping[str, Entry] | None = None
    if node.tag.removeprefix("tag:yaml.org,2002:") not in {*_PLAIN, "seq", "map"}:
        found = f"the tag {node.tag}"
        problems.append(place.problem("a text, a list or a mapping without a tag", found=found))
    elif isinstance(node, yaml.ScalarNode):
        value = None if node.tag.endswith(":null") else str(node.value)
    elif id(node) in seen:  # also what would make a value that holds itself
        problems.append(place.problem("the value itself", found="an alias of a list or mapping"))
    elif isinstance(node, yaml.MappingNode):
        seen.add(id(node))
        value = _mapping(node, place, seen, problems)
    elif isinstance(node, yaml.SequenceNode):
        seen.add(id(node))
        value = tuple(
            _entry(one, Entry(place.file, _line(one), place.key, None), seen, problems)
            for one in node.value
        )
    return Entry(place.file, place.line, place.key, value)


def _mapping(
    node: yaml.MappingNode, place: Entry, seen: set[int], problems: list[Problem]
) -> Mapping[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not (key.value.strip() and is_sound(key.value)):
            here = Entry(place.file, _line(key), place.key, None)
            problems.append(here.problem("a text as key", found="a key that is no text or blank"))
            continue
        name = str(key.value)
        dotted = f"{place.key}.{name}" if place.key else name
        here = Entry(place.file, _line(key), dotted, None)
        if name in entries:
            found = f"the key '{name}' again (first in line {entries[name].line})"
            problems.append(here.problem("each key once", found=found))
            continue
        entries[name] = _entry(value, here, seen, problems)
    return entries


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def is_sound(text: str) -> bool:
    """Whether a text can be written to a file and used as a path."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
