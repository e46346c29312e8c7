"""Items, groups and a slow obvious twin of the computation, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from isogloss.encoding import EncodedSet, EncodedTarget, Encoder
from isogloss.model.load import Loaded
from isogloss.model.prompt import vocabulary_rows
from isogloss.packing import EncodedGroup
from isogloss.tasks.example import Example, Rendered

OPTIONS = (" (A)", " (B)", " neutral contradiction")


def sample(number: int, language: str = "en") -> Rendered:
    """A rendered item whose length depends on its number."""
    text = f"Premise: the {'very ' * (number % 5 * 3)}old man {number}\nAnswer:"
    return Rendered(f"item-{number}", language, text, OPTIONS[number % 3], OPTIONS)


def encoder_for(loaded: Loaded, prompt_length: int = 5) -> Encoder:
    return Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), prompt_length)


def groups_for(
    encoder: Encoder, *, groups: int = 2, targets: int = 3, demonstrations: int = 2
) -> list[EncodedGroup]:
    made = []
    for group in range(groups):
        solved = [sample(10 * group + place) for place in range(demonstrations)]
        front = encoder.demonstration_set(solved)
        asked = [
            encoder.target(sample(100 + 7 * group + place, "tr"), demonstrations)
            for place in range(targets)
        ]
        made.append(EncodedGroup(front, tuple(asked)))
    return made


def plain_log_probability(
    loaded: Loaded,
    prompt: torch.Tensor,
    front: EncodedSet,
    target: EncodedTarget,
    answer: Sequence[int],
) -> torch.Tensor:
    """log p of each answer token by one unpadded forward pass over embeddings: the obvious way."""
    text = [*front.ids[len(front.prompt) :], *target.ids, *answer]
    table = loaded.model.get_input_embeddings()
    vectors = torch.cat([prompt, table(torch.tensor(text))])[None]
    logits = loaded.model(inputs_embeds=vectors).logits[0].log_softmax(-1)
    first = vectors.shape[1] - len(answer) - 1
    return torch.stack([logits[first + place, token] for place, token in enumerate(answer)])


def greedy(
    model: torch.nn.Module, sequence: Sequence[int], steps: int, stops: set[int]
) -> tuple[int, ...]:
    """One token at a time without a cache: the obvious way."""
    ids = list(sequence)
    for _ in range(steps):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] in stops:
            break
    return tuple(ids[len(sequence) :])


def items(count: int, language: str, *, start: int = 0) -> tuple[Example, ...]:
    """Examples with ids item-START, item-START+1, ...: parallel over languages."""
    return tuple(
        Example(
            f"item-{number}",
            language,
            {"text": f"{language} text {number}"},
            ("yes", "no"),
            ("yes" if number % 2 else "no",),
        )
        for number in range(start, start + count)
    )


PARITY = """name: parity
kind: label
dominant: en
languages: [en, tr]
fields: [text]
answer: label
id: id
options: [yes, no]
wording:
  input: "Text: {text}\\nIs it so?"
files: "{language}/{split}.jsonl"
"""


def parity_task(folder: Path, *, test: int = 10) -> Path:
    """A label task in en and tr, 10 parallel training items each, and no validation items."""
    (folder / "task.yaml").write_text(PARITY)
    for language in ("en", "tr"):
        (folder / language).mkdir()
        for split, first, count in (("train", 0, 10), ("test", 50, test)):
            text = ""
            for n in range(first, first + count):
                words = f"{language} {'so ' * (n % 3)}{n}"
                text += json.dumps({"id": f"i{n}", "text": words, "label": ("yes", "no")[n % 2]})
                text += "\n"
            (folder / language / f"{split}.jsonl").write_text(text)
    return folder / "task.yaml"


WORDS = ("red", "old", "big", "far", "new")


def parallel_parity(folder: Path, *, shared: int = 24) -> Path:
    """A label task of 24 items in each language, `shared` of them translations."""
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(PARITY)
    for language, shift in (("en", 0), ("tr", 24 - shared)):
        (folder / language).mkdir()
        for split, first in (("train", shift), ("test", 100), ("validation", 200)):
            lines = []
            for n in range(first, first + 24):
                text = f"{language} {WORDS[n % 5]} {WORDS[n % 3]} thing {n}"
                label = ("yes", "no")[n % 2]
                lines.append(json.dumps({"id": f"i{n}", "text": text, "label": label}))
            (folder / language / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "task.yaml"


def snapshot(loaded: Loaded) -> dict[str, object]:
    """Everything of a model that attaching could change."""
    return {
        "modules": [(name, id(module)) for name, module in loaded.model.named_modules()],
        "parameters": [(n, id(p), p.requires_grad) for n, p in loaded.model.named_parameters()],
        "training": [module.training for module in loaded.model.modules()],
        "numbers": [float(p.detach().double().sum()) for p in loaded.model.parameters()],
        "attributes": sorted(vars(loaded.model)),
        "hooks": sum(len(module._forward_hooks) for module in loaded.model.modules()),
    }
