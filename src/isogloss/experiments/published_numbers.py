"""Printed scores as text to numbers, so that a table's file looks like the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LLAMA, QWEN = "Llama-3.1-8B", "Qwen2.5-7B"
XQUAD = ("zh", "es", "tr", "el")
XCOPA = ("zh", "tr", "sw", "qu")
XNLI = ("zh", "tr", "sw", "el")
Published = dict[tuple[str, str, str, str, str], float]
Averages = dict[tuple[str, str, str, str], float]
METRICS = {"xquad": ("exact_match", "f1"), "xcopa": ("accuracy",), "xnli": ("accuracy",)}


def read_scores(
    model: str, languages: Mapping[str, Sequence[str]], printed: Mapping[str, str]
) -> tuple[Published, Averages]:
    """Scores and averages from each row's printed line.

    A line has a block for each task, divided by `|`; a block has a score for each language and then
    their average; an XQuAD score is exact match and F1, `58.0/63.7`.

    >>> scores, averages = read_scores("m", {"xcopa": ("zh", "tr")}, {"MTL": "80.0 60.0 70.0"})
    >>> scores["m", "MTL", "xcopa", "tr", "accuracy"], averages["m", "MTL", "xcopa", "accuracy"]
    (60.0, 70.0)
    """
    scores: Published = {}
    averages: Averages = {}
    for row, line in printed.items():
        for (task, codes), block in zip(languages.items(), line.split("|"), strict=True):
            *own, average = block.split()
            for code, text in zip(codes, own, strict=True):
                for metric, number in zip(METRICS[task], text.split("/"), strict=True):
                    scores[model, row, task, code, metric] = float(number)
            for metric, number in zip(METRICS[task], average.split("/"), strict=True):
                averages[model, row, task, metric] = float(number)
    return scores, averages
