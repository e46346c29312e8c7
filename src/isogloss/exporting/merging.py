"""The kind `merged`: LoRA's updates added to the weights, or tuned weights in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from isogloss.exporting.checking import KEPT, compare
from isogloss.exporting.work import Change, Work
from isogloss.model.answer import last_logits
from isogloss.tuning.full import FullParameters
from isogloss.tuning.tuning import Tuning, Weights


@contextmanager
def with_merged(work: Work) -> Iterator[Change]:
    """The base model with what was learnt in its own weights."""
    opened, loaded = work.opened, work.loaded
    weights = opened.weights(loaded)
    with opened.tuned(loaded, weights):
        own = last_logits(loaded.model, work.sequences, count=KEPT)
    with _merged(opened.method.tune, loaded.model, weights) as model:
        yield Change(model, compare(own, last_logits(model, work.sequences, count=KEPT), ()))


@contextmanager
def _merged(tune: Tuning, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
    """A plain model; LoRA's updates stay in it, tuned weights are taken out again at the end."""
    if isinstance(tune, FullParameters):
        with tune.attached(model, weights):
            yield model
        return
    with tune.attached(model, weights):
        for module in list(model.modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
    yield model
