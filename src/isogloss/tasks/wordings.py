"""What the benchmarks' wordings share (Section 6.1): their names, and the harness's text forms.

"default" asks in English in every language, so that the answers are the same in all. "harness"
asks in the item's own language, in the forms of EleutherAI's lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from isogloss.errors import ConfigError, suggestion

WORDING_NAMES = ("default", "harness")

_FINAL_MARKS = ".。．!！?？।۔…"

Row = TypeVar("Row")


def check_choice(given: str, known: tuple[str, ...], what: str) -> None:
    """Make sure that a setting has one of its values.

    Raises:
        ConfigError: it has not; what was given, what there is and what is near are said.
    """
    if given not in known:
        near = suggestion(given, known)
        raise ConfigError(f"no {what} '{given}'; there are {', '.join(known)}{near}")


def harness_row(table: Mapping[str, Row], language: str, task: str) -> Row:
    """A language's row in a task's table of harness words.

    Raises:
        ConfigError: the language has none; those that have one are listed.
    """
    if language not in table:
        raise ConfigError(
            f"{task} has no harness wording for '{language}'; "
            f"it has one for {', '.join(table)}; use the wording 'default', or add a row"
        )
    return table[language]


def without_final_mark(text: str) -> str:
    """A sentence without the mark that ends it. The harness cuts any last character of XCOPA's
    premises; we cut marks only, because Thai sentences have none.

    >>> without_final_mark("She left. "), without_final_mark("她走了。"), without_final_mark("ok")
    ('She left', '她走了', 'ok')
    """
    text = text.rstrip()
    return text[:-1] if text[-1:] and text[-1] in _FINAL_MARKS else text


def lower_first(text: str, language: str) -> str:
    """A text with its first letter lower-cased, by Turkish rules for Turkish.

    >>> lower_first("It fell.", "en"), lower_first("Işık söndü.", "tr")
    ('it fell.', 'ışık söndü.')
    """
    first = text[:1]
    if language == "tr":
        first = {"I": "ı", "İ": "i"}.get(first, first)
    return first.lower() + text[1:]
