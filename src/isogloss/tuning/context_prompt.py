"""CPT, context-aware prompt tuning (Blau et al. 2024): the prompt is a demonstration set.

The tokens of solved examples are the prompt; a small change of each learns, kept inside a ball
around the token's own vector by projection before every pass. Answers are not changed. This is
PEFT's CPT, in its file format; what the loss is made of is in `isogloss.methods.cpt`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, final

import torch
from peft import CPTConfig, TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.encoding import EncodedSet, Span
from isogloss.errors import ConfigError
from isogloss.model.prompt import Vectors, embedded, embedding_width, prompted
from isogloss.tuning.adapter_files import (
    PROMPT_KEY,
    check_shape,
    read_tensors,
    write_adapter,
    write_tensors,
)
from isogloss.tuning.tuning import StartIds, Tuning, Weights

KEY = "delta"
CHANGE_FILE = "change.safetensors"  # the change alone: PEFT's file holds its sum with the tokens
# PEFT's kinds of token, counted up by 4 from one demonstration to the next.
FORMAT_BEFORE, INPUT, FORMAT_AFTER, ANSWER = 1, 2, 3, 4


@final
@dataclass(frozen=True)
class ContextPrompt(Tuning):
    """The vectors of `demonstrations` solved examples, each changed by at most an epsilon.

    `epsilon` is for the tokens of inputs, `format_epsilon` for those around them, both times
    sqrt(width / 2048); `decay` weighs the answers in the prompt, see `isogloss.methods.cpt`. The
    numbers are those of the notebook that comes with PEFT. `tokens` and `kinds` are empty until
    `filled` sets them.
    """

    demonstrations: int = 3
    epsilon: float = 0.2
    format_epsilon: float = 0.1
    decay: float = 0.95
    tokens: tuple[int, ...] = ()
    kinds: tuple[int, ...] = ()
    name: str = "context-prompt"

    learns: ClassVar[str] = "the vectors of the demonstrations in its prompt"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if self.demonstrations < 1:
            raise ConfigError(
                f"demonstrations is {self.demonstrations}; the prompt of CPT has at least 1"
            )
        for name, value in (("epsilon", self.epsilon), ("format epsilon", self.format_epsilon)):
            if not value >= 0:
                raise ConfigError(f"{name} is {value}; it must be 0 or more")
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; it must be 0 or more and at most 1")

    @property
    def prompt_length(self) -> int:
        """The tokens of the demonstrations; 0 until they are known."""
        return len(self.tokens)

    def filled(self, front: EncodedSet) -> ContextPrompt:
        """The same with the tokens of a demonstration set, encoded without a soft prompt."""
        assert not len(front.prompt), "the demonstrations are the prompt"
        return replace(self, tokens=front.ids, kinds=_kinds(front))

    @property
    def answers(self) -> tuple[Span, ...]:
        """The answers in the prompt, in their order."""
        spans = []
        for number in range(1, self.demonstrations + 1):
            places = [p for p, kind in enumerate(self.kinds) if kind == ANSWER * number]
            spans.append(Span(places[0], places[-1] + 1))
        return tuple(spans)

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """No change, fp32, (m, width): the model begins with the demonstrations as they are."""
        assert self.tokens, "the demonstrations are known before training starts"
        shape = (len(self.tokens), embedding_width(model))
        return {KEY: nn.Parameter(torch.zeros(shape, device=model.device))}

    def attached(
        self, model: PreTrainedModel, weights: Weights
    ) -> AbstractContextManager[PreTrainedModel]:
        """The model reading ids V, V+1, ... from tokens and change."""
        return prompted(model, weights[KEY], self._vectors(model))

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """PEFT's CPT adapter, and the change alone in a file of its own."""
        config = CPTConfig(
            task_type=TaskType.CAUSAL_LM,
            cpt_token_ids=list(self.tokens),
            cpt_mask=[1] * len(self.tokens),
            cpt_tokens_type_mask=list(self.kinds),
            opt_weighted_loss_type="decay",
            opt_loss_decay_factor=self.decay,
            opt_projection_epsilon=self.epsilon,
            opt_projection_format_epsilon=self.format_epsilon,
            base_model_name_or_path=model.config.name_or_path,
            inference_mode=True,
        )
        delta = weights[KEY].detach().clone()
        write_adapter(folder, config, {PROMPT_KEY: self._vectors(model)(delta)})
        write_tensors(folder / CHANGE_FILE, {KEY: weights[KEY]})

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved change, on the model's device."""
        path = folder / CHANGE_FILE
        delta = read_tensors(path).get(KEY, torch.zeros(0)).float()
        wanted = (len(self.tokens), embedding_width(model))
        check_shape(path, "a change of the prompt", delta, wanted)
        return {KEY: nn.Parameter(delta.to(model.device))}

    def _vectors(self, model: PreTrainedModel) -> Vectors:
        """From the change to the prompt's vectors; projects the change, in its place."""
        own = embedded(model, self.tokens)
        radius = self._radius(own.shape[1]).to(own.device)[:, None]
        learns = (radius > 0).to(own.dtype)

        def vectors(delta: Tensor) -> Tensor:
            with torch.no_grad():
                length = delta.norm(dim=1, keepdim=True)
                delta.mul_(radius / length.clamp(min=1e-30).maximum(radius))
            return own + delta * learns

        return vectors

    def _radius(self, width: int) -> Tensor:
        """How far each token may move, (m,): answers not at all."""
        by_kind = {
            FORMAT_BEFORE: self.format_epsilon,
            INPUT: self.epsilon,
            FORMAT_AFTER: self.format_epsilon,
        }
        scale = float(width / 2048) ** 0.5
        return torch.tensor([by_kind.get(kind % 4, 0.0) * scale for kind in self.kinds])


def _kinds(front: EncodedSet) -> tuple[int, ...]:
    """PEFT's kind of every token of a demonstration set.

    What follows the last answer is format of its demonstration: PEFT adds the greatest kind to
    those of the target, which must stay a multiple of 4 apart.
    """
    kinds: list[int] = []
    for number, (asked, answer) in enumerate(zip(front.inputs, front.answers, strict=True)):
        base = 4 * number
        kinds += [base + FORMAT_BEFORE] * (asked.start - len(kinds))
        kinds += [base + INPUT] * len(asked)
        kinds += [base + FORMAT_AFTER] * (answer.start - len(kinds))
        kinds += [base + ANSWER] * len(answer)
    last = 4 * (len(front.answers) - 1) + FORMAT_AFTER
    return tuple(kinds + [last] * (len(front.ids) - len(kinds)))
