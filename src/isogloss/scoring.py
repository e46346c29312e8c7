"""Answers beside the right ones, item by item (Section 6.1)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isogloss.answering import Prediction
from isogloss.runs import (
    Json,
)
from isogloss.tasks.example import Example, Task
from isogloss.tasks.metrics import exact_match, f1

COLUMNS = {"accuracy": "correct"}  # a metric's column in predictions.jsonl, where the names differ


def judged(prediction: Prediction, example: Example, task: Task) -> Json:
    """A prediction beside the right answer: `correct` for options, EM and F1 for spans.

    zh has MLQA's mixed segmentation (Lewis et al. 2020) as a second pair of columns.
    """
    entry = prediction.entry() | {"answer": list(example.answers)}
    if task.kind != "span":
        return entry | {
            "answer": example.answers[0],
            "correct": prediction.prediction in example.answers,
        }
    language, text = example.language, prediction.text
    scores = {
        "exact_match": exact_match(text, example.answers, language=language),
        "f1": f1(text, example.answers, language=language),
    }
    if language == "zh":
        scores["exact_match_mixed"] = exact_match(
            text, example.answers, language=language, rule="mixed"
        )
        scores["f1_mixed"] = f1(text, example.answers, language=language, rule="mixed")
    return entry | scores


def values_of(entries: Iterable[Mapping[str, Any]], metric: str) -> Sequence[float]:
    """The items' values of a metric, in [0, 1]."""
    return array("d", (float(entry[COLUMNS.get(metric, metric)]) for entry in entries))


def option_loss(entry: Mapping[str, Any]) -> float | None:
    """The negative log of the right option's share among the options, in nats; None for spans.

    None too where training came to no number.

    >>> scores = {"a": 0.0, "b": 0.0}
    >>> round(option_loss({"answer": "a", "log_probabilities": scores}), 3)
    0.693
    """
    scores = entry.get("log_probabilities")
    if not scores:
        return None
    top = max(scores.values())
    total = math.log(sum(math.exp(score - top) for score in scores.values()))
    found = top + total - float(scores[entry["answer"]])
    return found if math.isfinite(found) else None
