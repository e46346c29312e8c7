"""Representation shift (Section 5.2, Fig. 4): the target sample to the demonstrations and back.

    at L_to:    h <- h + sentpool(H_d) - sentpool(H_t)
    at L_back:  h <- h + sentpool(H_t) - sentpool(H_d)

for every token of the target sample {x_t, y_t}. What H_t means at L_back, where it has been
shifted, is not said: `Shift.back` has every reading.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.model.attention import forward_arguments, takes
from isogloss.model.layers import Edit, blocks, edited, padded, read, sentence_means
from isogloss.packing import Batch
from isogloss.spans import Spans

ShiftBack = Literal["unshifted", "running", "undo", "corpus", "none"]
ShiftTowards = Literal["tokens", "samples", "dominant", "nearest"]
ShiftedTokens = Literal["sample", "input"]
VECTORS_FILE = "language_vectors.safetensors"


@dataclass(frozen=True)
class Shift:
    """How the target sample's hidden states are moved.

    `back`, what is added at L_back: `unshifted` the gap of a plain pass; `running` the gap of the
    shifted states as they are there; `undo` what was added at L_to with the other sign; `corpus`
    moves by the difference of two language vectors both ways (LRP2, Xu et al. 2023; ShifCon);
    `none` nothing.

    `towards`, what stands for H_d: the mean over all demonstrations' input `tokens`, over
    `samples` (the mean of their means), over `dominant` demonstrations' tokens only, or the
    `nearest` demonstration. Where there is none such, nothing is shifted. `tokens`: the whole
    `sample` or its `input` only. `scale` multiplies what is added. `detach` keeps gradients out of
    it; None does so for all but `running`. Layers are hidden_states' numbers, None to be chosen
    from the data.
    """

    back: ShiftBack = "unshifted"
    towards: ShiftTowards = "tokens"
    tokens: ShiftedTokens = "sample"
    scale: float = 1.0
    detach: bool | None = None
    layers: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, kinds in (
            ("back", ShiftBack),
            ("towards", ShiftTowards),
            ("tokens", ShiftedTokens),
        ):
            known, value = kinds.__args__, getattr(self, name)  # type: ignore[attr-defined]
            if value not in known:
                raise ConfigError(f"shift {name} is '{value}'; it must be {' or '.join(known)}")
        object.__setattr__(self, "scale", float(self.scale))
        if not math.isfinite(self.scale):
            raise ConfigError(f"shift scale is {self.scale}; it must be a finite number")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            to, back = self.layers
            if not 0 < to < back:
                raise ConfigError(
                    f"shift layers are {to} and {back}; the first must be 1 or more and the "
                    "second greater"
                )

    @property
    def detached(self) -> bool:
        """Whether gradients are kept out of what is added."""
        return self.back != "running" if self.detach is None else self.detach


@final
@dataclass(frozen=True)
class LanguageVectors:
    """The mean hidden state of each language at L_to and L_back, (2, width) fp32 by code."""

    layers: tuple[int, int]
    dominant: str
    means: Mapping[str, Tensor]

    def difference(self) -> Tensor:
        """Dominant less target, (2, width)."""
        (target,) = (means for code, means in self.means.items() if code != self.dominant)
        return self.means[self.dominant] - target

    def save(self, folder: Path) -> None:
        """Write language_vectors.safetensors."""
        tensors = {code: means.cpu().contiguous() for code, means in self.means.items()}
        # One entry: safetensors writes several in any order, and the file's digest with them.
        about = json.dumps({"dominant": self.dominant, "layers": self.layers})
        try:
            save_file(tensors, folder / VECTORS_FILE, metadata={"about": about})
        except SafetensorError as error:
            raise ModelError(f"cannot write {folder / VECTORS_FILE}: {error}") from error


def load_vectors(folder: Path) -> LanguageVectors:
    """The vectors that a run saved.

    Raises:
        ModelError: the file is missing or damaged.
    """
    path = folder / VECTORS_FILE
    try:
        with safe_open(path, framework="pt") as stream:
            about = json.loads(stream.metadata()["about"])
            means = {code: stream.get_tensor(code) for code in stream.keys()}  # noqa: SIM118
        to, back = about["layers"]
        return LanguageVectors((to, back), about["dominant"], means)
    except FileNotFoundError:
        raise ModelError(f"no such file of language vectors: {path}") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: found a damaged file ({error}); expected language vectors"
        ) from None


@torch.no_grad()
def language_vectors(
    model: PreTrainedModel,
    sentences: Mapping[str, Sequence[Sequence[int]]],
    dominant: str,
    layers: tuple[int, int],
) -> LanguageVectors:
    """Mean over sentences of the mean over tokens, of an unshifted pass, for each language."""
    means = {
        code: torch.cat(
            [
                sentence_means(model, *padded(own[at : at + 8]), layers)
                for at in range(0, len(own), 8)
            ]
        ).mean(dim=0)
        for code, own in sentences.items()
    }
    return LanguageVectors(layers, dominant, means)


@final
class Shifter:
    """A shift in a model: told what the next pass holds, it moves that pass's hidden states."""

    def __init__(
        self, model: PreTrainedModel, shift: Shift, vectors: LanguageVectors | None = None
    ) -> None:
        assert shift.layers is not None, "the layers are settled before a shift is attached"
        if shift.layers[1] >= len(blocks(model)):
            raise ConfigError(
                f"shift layers are {shift.layers[0]} and {shift.layers[1]}, but the model's last "
                f"layer is {len(blocks(model)) - 1}"
            )
        self.model, self.shift, self.vectors = model, shift, vectors
        self.to, self.back = shift.layers
        self._samples: _Samples | None = None
        self._resting = True
        self._given: dict[int, Tensor] = {}  # what was moved at each layer, (rows, tokens, width)
        self._reference: Tensor | None = None  # what a plain pass has at L_back
        self._added: dict[int, Tensor] = {}  # (samples, width) by layer

    def meet(self, batch: Batch) -> None:
        """Say which batch the next forward pass is of."""
        assert batch.spans is not None, "a shifted batch has spans"
        self._meet(forward_arguments(self.model, batch), batch.spans)

    def meet_prompts(self, spans: Spans, ids: Tensor, mask: Tensor) -> None:
        """Say which prompts, padded on the left, text will be generated after."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        arguments = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        placed = {"position_ids": positions} if takes(self.model, "position_ids") else {}
        self._meet(arguments | placed, spans)

    def rest(self) -> None:
        """Shift nothing until the next batch is met."""
        self._resting = True

    def edits(self) -> dict[int, Edit]:
        """What is done at each layer."""
        return {layer: partial(self._moved, layer) for layer in (self.to, self.back)}

    def _meet(self, arguments: Mapping[str, object], spans: Spans) -> None:
        self._samples, self._reference, self._added, self._given = None, None, {}, {}
        samples = _Samples(spans.to(self.model.device), self.shift)
        if self.shift.back == "unshifted":
            with torch.no_grad():
                states = read(self.model, arguments, (self.to, self.back))
            nearest = samples.choose(states[self.to])
            self._reference = -samples.gap(states[self.back], nearest)
        self._samples, self._resting = samples, False

    def _moved(self, layer: int, hidden: Tensor) -> Tensor | None:
        """The hidden states (rows, tokens, width) as they enter the block at a layer."""
        samples = self._samples
        # Recomputed activations come again in the backward pass, whatever was passed since.
        again = hidden is self._given.get(layer)
        if samples is None or (self._resting and not again):
            return None
        if hidden.shape[1] != samples.width:  # a later token of generated text
            if self.shift.tokens == "input":
                return None
            return hidden + self._added[layer][samples.row_sample][:, None].to(hidden.dtype)
        deviation = self._deviation(layer, hidden, samples)
        if self.shift.detached:
            deviation = deviation.detach()
        self._added[layer], self._given[layer] = deviation, hidden
        return hidden + samples.spread(deviation).to(hidden.dtype)

    def _deviation(self, layer: int, hidden: Tensor, samples: _Samples) -> Tensor:
        """What is added to each sample at a layer, (samples, width) fp32."""
        back = self.shift.back
        if back == "corpus":
            assert self.vectors is not None, "corpus has vectors"
            sign = 1.0 if layer == self.to else -1.0
            vector = self.vectors.difference()[0 if layer == self.to else 1].to(hidden.device)
            return sign * self.shift.scale * samples.foreign[:, None] * vector
        if layer == self.to:
            samples.nearest = samples.choose(hidden)
            return self.shift.scale * samples.gap(hidden, samples.nearest)
        if back == "none":
            return torch.zeros_like(self._added[self.to])
        if back == "undo":
            return -self._added[self.to]
        if back == "unshifted":
            assert self._reference is not None, "met by a plain pass"
            return self.shift.scale * self._reference
        return -self.shift.scale * samples.gap(hidden, samples.nearest)


@contextmanager
def shifting(
    model: PreTrainedModel, shift: Shift | None, vectors: LanguageVectors | None = None
) -> Iterator[Shifter | None]:
    """The model with a shift in it, or as it is without one; undone at the end."""
    if shift is None:
        yield None
        return
    shifter = Shifter(model, shift, vectors)
    with edited(model, shifter.edits()):
        yield shifter


@final
class _Samples:
    """Pooling over a batch's samples, as weights: sums in a fixed order, so runs repeat."""

    def __init__(self, spans: Spans, shift: Shift) -> None:
        self.shift = shift
        self.width = spans.sample.shape[1]
        count = len(spans.sample_tree)
        device = spans.sample.device
        numbers = torch.arange(count, device=device)[:, None, None]
        own = (spans.sample == numbers) & spans.asked
        self.targets = own / own.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        shifted = spans.asked if shift.tokens == "input" else spans.sample >= 0
        self.member = torch.where(shifted, spans.sample, -1)
        self.foreign = spans.foreign.float()
        self.row_sample = spans.sample.amax(dim=1)
        slots = torch.arange(len(spans.demonstration_tree), device=device)[:, None, None]
        solved = spans.demonstration == slots
        lengths = solved.sum(dim=(1, 2))
        self.demonstrations = solved / lengths.clamp(min=1)[:, None, None]
        self.nearest: Tensor | None = None
        related = spans.sample_tree[:, None] == spans.demonstration_tree[None]
        self.related = related & (lengths > 0)
        self.weights = _weights(self.related, lengths, spans.dominant, shift.towards)

    def gap(self, hidden: Tensor, nearest: Tensor | None) -> Tensor:
        """sentpool(H_d) - sentpool(H_t), (samples, width) fp32; 0 without demonstrations."""
        weights = self.weights if nearest is None else nearest
        demonstrations = _pooled(self.demonstrations, hidden)
        there = (weights.sum(dim=1, keepdim=True) > 0).float()
        return weights @ demonstrations - there * _pooled(self.targets, hidden)

    def choose(self, hidden: Tensor) -> Tensor | None:
        """For `nearest`: weight 1 for the demonstration whose mean is nearest to the sample's."""
        if self.shift.towards != "nearest":
            return None
        own, others = _pooled(self.targets, hidden), _pooled(self.demonstrations, hidden)
        far = torch.cdist(own.detach(), others.detach()).masked_fill(~self.related, torch.inf)
        if far.shape[1] == 0:
            return torch.zeros_like(far)
        chosen = nn.functional.one_hot(far.argmin(dim=1), far.shape[1])
        return chosen * self.related.any(dim=1, keepdim=True).float()

    def spread(self, deviation: Tensor) -> Tensor:
        """(samples, width) to (rows, tokens, width), zero outside what is shifted."""
        # F.embedding, not indexing: its backward adds in a fixed order.
        rows = nn.functional.embedding(self.member.clamp(min=0), deviation)
        return rows * (self.member >= 0)[..., None]


def _weights(related: Tensor, lengths: Tensor, dominant: Tensor, towards: ShiftTowards) -> Tensor:
    """What each demonstration's mean counts for each sample, (samples, demonstrations)."""
    counts = torch.ones_like(lengths) if towards == "samples" else lengths
    chosen = related & dominant if towards == "dominant" else related
    weights = chosen * counts.float()
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1)


def _pooled(weights: Tensor, hidden: Tensor) -> Tensor:
    return torch.einsum("nrt,rtw->nw", weights, hidden.float())
