"""What shift and contrast should compute, one sequence at a time in plain transformers, and a task.

Nothing here calls the code under test: text is tokenised by the tokenizer itself, states are moved
behind blocks, and losses are written as the formulas of METHODS and the paper have them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import byte_level_tokenizer, tiny_config
from isogloss.runs import Run, read_lines

DEPTH = 6
WORDS = {"en": "number", "tr": "sayı", "sw": "namba"}
SEPARATOR = "\n\n"


def text_of(language: str, number: int) -> str:
    return f"Text: {'so ' * (number % 3)}{WORDS[language]} {number}\nIs it even?"


def parity_task(
    folder: Path,
    *,
    dominant: Iterable[int] = range(12),
    target: Iterable[int] = range(8),
    validation: Iterable[int] = (),
    answers: Mapping[str, tuple[str, str]] | None = None,
) -> Path:
    """A label task in three languages, ids by number; `answers` of even and odd items by split."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(
        "name: parity\nkind: label\ndominant: en\nlanguages: [en, tr, sw]\nfields: [text]\n"
        "answer: label\nid: id\noptions: ['yes', 'no']\nmetric: accuracy\n"
        'wording: {input: "{text}", answer: " {answer}"}\n'
        'files: "{language}/{split}.jsonl"\n'
    )
    numbers = {
        "en": {"train": dominant, "test": range(100, 105)},
        "tr": {"train": target, "validation": validation, "test": range(100, 105)},
        "sw": {"train": range(3), "test": range(100, 103)},
    }
    for language, splits in numbers.items():
        (folder / language).mkdir(exist_ok=True)
        for split, own in splits.items():
            labels = (answers or {}).get(split, ("yes", "no"))
            lines = [
                {"id": f"i{n}", "text": text_of(language, n), "label": labels[n % 2]} for n in own
            ]
            if lines:
                text = "".join(json.dumps(line) + "\n" for line in lines)
                (folder / language / f"{split}.jsonl").write_text(text)
    return folder / "task.yaml"


def deep_model(folder: Path) -> Path:
    """A random Llama of six blocks, so that a block of layers has an inside."""
    tokenizer = byte_level_tokenizer()
    config = tiny_config("llama", len(tokenizer))
    config.num_hidden_layers = DEPTH
    config.initializer_range = 0.2
    torch.manual_seed(11)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Plain:
    """A model folder in plain transformers."""

    def __init__(self, folder: Path, tokenizer: Path | None = None) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer or folder)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text).input_ids)

    def means(self, item: tuple[str, int], layers: Sequence[int]) -> Tensor:
        """sentpool of hidden_states[layer] of one plain sequence without its first token."""
        ids = torch.tensor([self.ids(text_of(*item))])
        states = self.model(ids, output_hidden_states=True).hidden_states
        return torch.stack([states[layer][0, 1:].mean(0) for layer in layers])

    def vectors(self, numbers: Iterable[int], layers: Sequence[int]) -> dict[str, Tensor]:
        """The language vectors of items that both languages have, (layers, width)."""
        with torch.no_grad():
            return {
                code: torch.stack([self.means((code, n), layers) for n in numbers]).mean(0)
                for code in ("en", "tr")
            }

    def log_probabilities(
        self, item: tuple[str, int], answer: str, moves: Mapping[int, Tensor], *, end: bool
    ) -> Tensor:
        """Of the answer's tokens; `moves` are added to every token's state at a layer."""
        ids = [*self.ids(text_of(*item)), *self.ids(answer)]
        start = len(self.ids(text_of(*item)))
        if end:
            ids.append(self.ids(SEPARATOR)[0])
        with ExitStack() as stack:
            for layer, vector in moves.items():
                # What block L - 1 gives is what block L is given.
                hook = self.model.model.layers[layer - 1].register_forward_hook(
                    lambda _, __, output, vector=vector: output + vector
                )
                stack.callback(hook.remove)
            values = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return torch.stack([values[at - 1, ids[at]] for at in range(start, len(ids))])

    def shifted_answer(
        self, name: str, vectors: Mapping[str, Tensor], layers: tuple[int, int]
    ) -> Tensor:
        """The answer loss of an item `language/iN`, shifted there and back unless English."""
        item = item_of(name)
        gap = vectors["en"] - vectors["tr"]
        moves = {} if item[0] == "en" else {layers[0]: gap[0], layers[1]: -gap[1]}
        answer = (" yes", " no")[item[1] % 2]
        return -self.log_probabilities(item, answer, moves, end=True).mean()

    def contrast(
        self, numbers: Sequence[int], layers: Sequence[int], temperature: float = 1.0
    ) -> Tensor:
        """The contrastive loss of a batch of pairs, recentred: every pair, every negative."""
        means = {code: [self.means((code, n), layers) for n in numbers] for code in ("en", "tr")}
        losses = []
        for layer in range(len(layers)):
            own = [vectors[layer] / vectors[layer].norm() for vectors in means["en"]]
            other = [vectors[layer] / vectors[layer].norm() for vectors in means["tr"]]
            gap = sum(own) / len(own) - sum(other) / len(other)
            other = [vector + gap for vector in other]
            for n in range(len(numbers)):
                row = torch.stack([own[n] @ one for one in other]) / temperature
                column = torch.stack([one @ other[n] for one in own]) / temperature
                losses.append((row.logsumexp(0) - row[n] + column.logsumexp(0) - column[n]) / 2)
        return torch.stack(losses).mean()

    def gradient_norm(self, loss: Tensor) -> float:
        """Over all parameters, each of which must have one."""
        self.model.zero_grad()
        loss.backward()
        found = {name: p.grad for name, p in self.model.named_parameters()}
        assert all(grad is not None and grad.abs().max() > 0 for grad in found.values())
        return float(torch.stack([grad.norm() for grad in found.values()]).norm())


def item_of(name: str) -> tuple[str, int]:
    """`tr/i5` as language and number."""
    language, _, number = name.partition("/i")
    return language, int(number)


def batches_of(run: Run) -> list[list[dict]]:
    """The groups of each batch of training as the run recorded them, in their order."""
    found: dict[tuple[int, int, int], list[dict]] = {}
    for line in read_lines(run.folder / "demonstrations.jsonl"):
        found.setdefault((line["stage"], line["epoch"], line["batch"]), []).append(line)
    return list(found.values())


def steps_of(run: Run) -> list[dict]:
    """The log's entries of updates, without the time they took."""
    return [
        {key: value for key, value in entry.items() if key != "seconds"}
        for entry in run.log
        if "loss" in entry
    ]


def saved(run: Run, name: str) -> dict[str, Tensor]:
    return load_file(run.adapter / name)
