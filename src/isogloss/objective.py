"""What a batch of training is asked: the answer loss, and where there is one the contrastive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from isogloss.corpus import Corpus
from isogloss.demonstrations.choose import Group
from isogloss.demonstrations.pairs import Pair
from isogloss.episodes import EpisodeEncoder
from isogloss.methods.contrast import Contrast, contrastive_loss
from isogloss.methods.cpt import PromptAnswer, with_prompt_answers
from isogloss.methods.losses import AnswerLoss, answer_loss
from isogloss.model.answer import token_log_probabilities
from isogloss.model.attention import default_layout
from isogloss.model.layers import padded, sentence_means
from isogloss.packing import Batch, pack
from isogloss.portions import Portion
from isogloss.representation_shift import Shifter

Tensors = dict[str, Any]  # of tensors, and of such dictionaries


@final
@dataclass(frozen=True)
class Objective:
    """The losses of a stage's steps, for one model.

    `demonstrations` is k. `layers` are those that `contrast` compares. A `shifter` is attached to
    the model; a `corpus` gives it language vectors that are made anew at every epoch. With
    `prompt_answers` the prompt's own answers are learnt too, as in CPT.
    """

    model: PreTrainedModel
    episodes: EpisodeEncoder
    loss: AnswerLoss
    demonstrations: int
    shifter: Shifter | None = None
    corpus: Corpus | None = None
    contrast: Contrast | None = None
    layers: tuple[int, ...] = ()
    prompt_answers: tuple[PromptAnswer, ...] = ()

    def tensors(self, portion: Portion) -> Tensors:
        """A process's portion of a step as tensors, for the data loader."""
        step = portion.step
        content: Tensors = {"epoch": torch.tensor(step.epoch)}
        content["targets"] = torch.tensor(portion.targets)
        content["counts"] = torch.tensor([portion.answers_count, portion.pairs_count])
        if step.groups:
            batch, marks = self._packed(step.groups, self.loss.places)
            if self.prompt_answers:
                rows = self.episodes.encoder.vocabulary
                batch, marks = with_prompt_answers(batch, marks, self.prompt_answers, rows)
            content |= {"batch": batch.tensors(), "is_demonstration": marks}
        if step.pairs:
            content["pairs"] = self._sentences(step.pairs)
        return content

    def value(self, content: Mapping[str, Any], targets: int, batches: int) -> Tensor:
        """A portion's share of an update's loss, in nats.

        `targets`, and the `batches` with pairs, are those of the whole update, whose mean is taken.
        """
        if self.corpus:
            self.corpus.begin(int(content["epoch"]))
        parts = []
        answers_count, pairs_count = content["counts"]  # 1, or 0 where others have the work
        if "batch" in content:
            batch = Batch.of(content["batch"])
            scale = self.loss.weight / max(1, self.loss.counted(self.demonstrations))
            total = self._answers(batch, content["is_demonstration"], scale) / targets
            weight = self.contrast.answer_weight if self.contrast else 1.0
            parts.append(total * weight * answers_count)
        if "pairs" in content:
            parts.append(self._contrasted(content["pairs"]) / batches * pairs_count)
        return torch.stack(parts).sum()

    def judge(self, group: Group) -> float:
        """The sum of the answer losses of a group's targets, without the demonstrations'."""
        batch, _ = self._packed([group], ())
        moved = batch.to(self.model.device)
        none = torch.zeros(len(moved.weight), dtype=torch.bool, device=self.model.device)
        return float(self._answers(moved, none, 0.0))

    def _packed(
        self, groups: Sequence[Group], places: Sequence[int] | None
    ) -> tuple[Batch, Tensor]:
        batch, answers = pack(
            [self.episodes.group(group) for group in groups],
            layout=default_layout(self.model),
            demonstration_answers=places,
            dominant=self.episodes.task.dominant if self.shifter else None,
        )
        return batch, torch.tensor([answer.kind == "demonstration" for answer in answers])

    def _answers(self, batch: Batch, is_demonstration: Tensor, scale: float) -> Tensor:
        if self.shifter:
            self.shifter.meet(batch)
        log_probabilities = token_log_probabilities(self.model, batch)
        return answer_loss(log_probabilities, batch, is_demonstration, scale)

    def _sentences(self, pairs: Sequence[Pair]) -> Tensors:
        sides = {"dominant": [one for one, _ in pairs], "target": [other for _, other in pairs]}
        return {
            side: dict(zip(("ids", "real"), padded(self.episodes.sentences(items)), strict=True))
            for side, items in sides.items()
        }

    def _contrasted(self, pairs: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """The weighted contrastive loss: both languages in passes without shift."""
        assert self.contrast is not None, "pairs are for a contrast"
        if self.shifter:
            self.shifter.rest()
        own, other = (
            sentence_means(self.model, pairs[side]["ids"], pairs[side]["real"], self.layers)
            for side in ("dominant", "target")
        )
        loss = contrastive_loss(
            own, other, temperature=self.contrast.temperature, recentre=self.contrast.recentre
        )
        return self.contrast.weight * loss
