"""Printed scores as text to numbers, so that a table's file looks like the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LLAMA, QWEN = "Llama-3.1-8B", "Qwen2.5-7B"
XQUAD = ("zh", "es", "tr", "el")
XCOPA = ("zh", "tr", "sw", "qu")
XNLI = ("zh", "tr", "sw", "el")
Key = tuple[str, str, str, str, str]
Published = Mapping[Key, float]
Averages = Mapping[tuple[str, str, str, str], float]
METRICS = {"xquad": ("exact_match", "f1"), "xcopa": ("accuracy",), "xnli": ("accuracy",)}


def read_scores(
    model: str, languages: Mapping[str, Sequence[str]], printed: Mapping[str, str]
) -> tuple[dict[Key, float], dict[tuple[str, str, str, str], float]]:
    """Scores and averages from each row's printed line.

    A line has a block for each task, divided by `|`; a block has a score for each language and then
    their average; an XQuAD score is exact match and F1, `58.0/63.7`.

    >>> scores, averages = read_scores("m", {"xcopa": ("zh", "tr")}, {"MTL": "80.0 60.0 70.0"})
    >>> scores["m", "MTL", "xcopa", "tr", "accuracy"], averages["m", "MTL", "xcopa", "accuracy"]
    (60.0, 70.0)
    """
    scores: dict[Key, float] = {}
    averages: dict[tuple[str, str, str, str], float] = {}
    for row, line in printed.items():
        for (task, codes), block in zip(languages.items(), line.split("|"), strict=True):
            *own, average = block.split()
            for code, text in zip(codes, own, strict=True):
                for metric, number in zip(METRICS[task], text.split("/"), strict=True):
                    scores[model, row, task, code, metric] = float(number)
            for metric, number in zip(METRICS[task], average.split("/"), strict=True):
                averages[model, row, task, metric] = float(number)
    return scores, averages


# Which of the paper's models a model's numbers stand beside; any other one has Llama's.
BESIDE = {"qwen2.5-7b": QWEN, "llama-3.1-8b": LLAMA}


def printed_beside(
    model: str, scores: Published, averages: Averages
) -> list[dict[str, str | float]]:
    """The printed numbers that stand beside a model's, averages included."""
    there = {key[0] for key in scores}
    own = next((name for mark, name in BESIDE.items() if mark in model.lower()), LLAMA)
    beside = own if own in there else LLAMA
    places = [(*key, score) for key, score in scores.items()]
    places += [(*key[:3], "average", key[3], score) for key, score in averages.items()]
    return [
        {
            "model": model,
            "row": row,
            "task": task,
            "language": language,
            "metric": metric,
            "percent": score,
        }
        for name, row, task, language, metric, score in places
        if name == beside
    ]
