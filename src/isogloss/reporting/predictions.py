"""Predictions of all systems, item by item, as one compact value for the page's script."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from isogloss.outcomes import Outcome
from isogloss.reporting.comparisons import Line
from isogloss.reporting.texts import Texts
from isogloss.runs import Json


def prediction_data(
    placed: Mapping[Line, Sequence[Outcome]], texts: Mapping[tuple[str, str], Texts]
) -> Json:
    """What the page's script reads.

    `texts` holds every text once; all else refers to it by number. A block is a test set with its
    items (id, fields, right answer), a system one outcome: `at` are its items' places in the block
    (null: all, in order), `got` its answers, `value` its metric in percent.
    """
    strings = _Strings()
    blocks: list[Json] = []
    systems: list[Json] = []
    sets: dict[tuple[str, str], list[tuple[str, Outcome]]] = defaultdict(list)
    for line, outcomes in placed.items():
        for outcome in outcomes:
            sets[outcome.place.task, outcome.place.language].append((line.group, outcome))
    for (task, language), members in sets.items():
        answers = {e["id"]: e["answer"] for _, each in members for e in each.entries}
        places = {name: place for place, name in enumerate(answers)}
        fields = texts.get((task, language), Texts()).fields
        items = [
            [strings.number(name), _fields(fields.get(name, {}), strings), strings.number(_text(a))]
            for name, a in answers.items()
        ]
        block = {"task": task, "language": language, "metric": members[0][1].metric, "items": items}
        systems += [
            _system(each, len(blocks), places, strings) | {"group": group}
            for group, each in members
        ]
        blocks.append(block)
    return {"texts": strings.all, "blocks": blocks, "systems": systems}


def _system(outcome: Outcome, block: int, places: Mapping[str, int], strings: _Strings) -> Json:
    at = [places[entry["id"]] for entry in outcome.entries]
    values = outcome.values[outcome.metric]
    return {
        "block": block,
        "row": outcome.place.row,
        "seed": outcome.place.seed,
        "at": None if at == list(range(len(places))) else at,
        "got": [strings.number(_text(entry["prediction"])) for entry in outcome.entries],
        "value": [round(100 * values[entry["id"]]) for entry in outcome.entries],
    }


class _Strings:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    @property
    def all(self) -> list[str]:
        return list(self.numbers)


def _fields(fields: Mapping[str, str], strings: _Strings) -> list[list[int]]:
    return [[strings.number(name), strings.number(text)] for name, text in fields.items()]


def _text(value: Any) -> str:
    return " / ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def script_json(content: Any) -> str:
    r"""JSON that may stand in a script element: nothing in it can end the element or begin one.

    >>> script_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    signs = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    signs |= {"\u2028": "\\u2028", "\u2029": "\\u2029"}
    return "".join(signs.get(sign, sign) for sign in text)
