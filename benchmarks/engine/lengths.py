"""How long the fields of XCOPA, XNLI and XQuAD are in tokens, as quantiles in lengths.json.

    python -m benchmarks.engine.lengths --data FOLDER smollm2=FOLDER gemma3=FOLDER

writes that file again from the benchmarks' releases and model folders with these tokenizers.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from isogloss import BenchmarkSettings, Example, open_task
from isogloss.encoding import Encoder
from isogloss.tasks.splits import make_split

FILE = Path(__file__).parent / "lengths.json"
# The other language beside English, and the fields that differ in length from item to item.
FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "xcopa": ("tr", ("premise", "choice1", "choice2")),
    "xnli": ("sw", ("premise", "hypothesis")),
    "xquad": ("tr", ("context", "question", "answer")),
}
PARTS = 20  # quantiles in steps of 5%

Lengths = Mapping[str, Mapping[str, Sequence[int]]]  # language, field, quantiles from 0% to 100%


def read(task: str, tokenizer: str) -> Lengths:
    """The quantiles of a data set's fields in a tokenizer's tokens, for both languages."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return dict(content[tokenizer][task])


def quantiles(values: Sequence[int]) -> list[int]:
    """The least, the greatest, and what stands at every 5% between."""
    inner = statistics.quantiles(values, n=PARTS, method="inclusive")
    return [min(values), *(round(value) for value in inner), max(values)]


def measure(tokenizer: PreTrainedTokenizerBase, data: str) -> dict[str, Lengths]:
    """The quantiles of every data set, over the training items of both languages."""
    encoder = Encoder(tokenizer, len(tokenizer))
    found: dict[str, Lengths] = {}
    for name, (target, fields) in FIELDS.items():
        task = open_task(name, data, BenchmarkSettings())
        split = make_split(task, target, seed=42)
        found[name] = {
            language: {field: quantiles(counts(encoder, items, field)) for field in fields}
            for language, items in ((task.dominant, split.dominant), (target, split.target))
        }
    return found


def counts(encoder: Encoder, items: Sequence[Example], field: str) -> list[int]:
    """The tokens of a field in every item, as it stands after a space."""
    texts = [item.answers[0] if field == "answer" else item.fields[field] for item in items]
    return [len(encoder.text_ids(f" {text}")) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the releases")
    parser.add_argument("models", nargs="+", help="NAME=FOLDER")
    settings = parser.parse_args()
    content = {}
    for given in settings.models:
        name, _, folder = given.partition("=")
        content[name] = measure(AutoTokenizer.from_pretrained(folder), settings.data)
    text = re.sub(
        r"\[[^]]*]", lambda found: " ".join(found[0].split()), json.dumps(content, indent=1)
    )
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
