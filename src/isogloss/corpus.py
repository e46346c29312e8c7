"""Plain sentences of the training items: for the choice of layers and for language vectors."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from isogloss.alignment.layer_choice import choose_layers, layer_distances, usual_layers
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import DataError
from isogloss.model.layers import blocks, padded, sentence_means
from isogloss.representation_shift import (
    LanguageVectors,
    Shifter,
    language_vectors,
    load_vectors,
)
from isogloss.runs import read_json_file, write_json_file
from isogloss.tasks.splits import Split

SENTENCES = 128  # of each language: means and covariances change little with more
LEAST = 8  # with fewer of a language, no distance is measured
EPOCH_FILE = "language_vectors.json"
Sentences = Mapping[str, tuple[tuple[int, ...], ...]]  # token ids by language


@dataclass(frozen=True)
class LayerChoice:
    """L_to and L_back, how they were found, and the distance of layers 1, 2, ... where measured."""

    to: int
    back: int
    how: str
    distances: tuple[float, ...] = ()


def sample_sentences(
    split: Split, episodes: EpisodeEncoder, target: str, *, seed: int
) -> Sentences:
    """The inputs of training items of both languages, translations of each other where there are.

    At most 128 of a language, by the seed, of those that the model's context can hold.
    """
    sides = {
        code: [item for item in items if episodes.sentences([item])]
        for code, items in ((episodes.task.dominant, split.dominant), (target, split.target))
    }
    translated = set.intersection(*({item.id for item in items} for items in sides.values()))
    parallel = len(translated) >= min(LEAST, len(split.target))
    sentences = {}
    for code, items in sides.items():
        kept = [item for item in items if item.id in translated or not parallel]
        kept.sort(key=lambda item: item.id)
        random.Random(f"{seed}/sentences").shuffle(kept)
        sentences[code] = episodes.sentences(kept[:SENTENCES])
    return sentences


def choose_from(model: PreTrainedModel, sentences: Sentences) -> LayerChoice:
    """The contiguous 30% of layers where the two languages are closest, in the model as it is.

    With fewer than 8 sentences of a language: 40% and 70% of the depth.

    Raises:
        ConfigError: the model has too few layers.
    """
    count = len(blocks(model))
    if min(len(own) for own in sentences.values()) < LEAST:
        return LayerChoice(
            *usual_layers(count),
            f"40% and 70% of the depth: fewer than {LEAST} items of a language",
        )
    own, other = (_means(model, side, tuple(range(1, count))) for side in sentences.values())
    distances = layer_distances(own, other)
    how = f"least distance over {len(own)} and {len(other)} sentences"
    return LayerChoice(*choose_layers(distances, count), how, tuple(distances))


@torch.no_grad()
def _means(
    model: PreTrainedModel, sentences: Sequence[Sequence[int]], layers: tuple[int, ...]
) -> Tensor:
    parts = [
        sentence_means(model, *padded(sentences[at : at + 8]), layers).cpu()
        for at in range(0, len(sentences), 8)
    ]
    return torch.cat(parts)


@final
class Corpus:
    """The language vectors of a model in training, made anew where an epoch begins.

    `moving` is whether training changes what the model makes of a plain sentence; a soft prompt
    does not, so its vectors are made once.
    """

    def __init__(
        self, shifter: Shifter, sentences: Sentences, dominant: str, *, moving: bool
    ) -> None:
        for code, own in sentences.items():
            if not own:
                raise DataError(
                    f"no training item in '{code}' fits the model's context, so the language has "
                    "no vector; give shorter items, or raise --max-length if the model allows"
                )
        self.shifter, self.sentences, self.dominant = shifter, sentences, dominant
        self.moving = moving
        self.epoch: int | None = None

    def begin(self, epoch: int) -> None:
        """Have the vectors of an epoch."""
        if self.epoch is None or (self.moving and self.epoch != epoch):
            self.renew()
            self.epoch = epoch

    def renew(self) -> None:
        """Make the vectors of the model as it is now, in passes without shift."""
        model, layers = self.shifter.model, (self.shifter.to, self.shifter.back)
        self.shifter.rest()
        training = model.training
        model.eval()
        try:
            vectors = language_vectors(model, self.sentences, self.dominant, layers)
        finally:
            model.train(training)
        self.shifter.vectors = vectors

    def vectors(self) -> LanguageVectors:
        """The vectors that the shift has now."""
        assert self.shifter.vectors is not None, "made when training began"
        return self.shifter.vectors

    def save(self, folder: Path) -> None:
        """Keep the vectors and their epoch beside a checkpoint's weights."""
        self.vectors().save(folder)
        write_json_file(folder / EPOCH_FILE, {"epoch": self.epoch})

    def load(self, folder: Path) -> None:
        """Go on with the vectors that a checkpoint kept."""
        self.shifter.vectors = load_vectors(folder)
        self.epoch = read_json_file(folder / EPOCH_FILE)["epoch"]
