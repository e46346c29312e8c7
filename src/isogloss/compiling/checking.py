"""A prefix written and checked: the same logits behind it, here and in plain PEFT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from isogloss.compiling.ground import Ground
from isogloss.compiling.prefixing import Prefix
from isogloss.errors import ModelError
from isogloss.model.answer import last_logits
from isogloss.tasks.example import Example
from isogloss.tuning.adapter_files import WEIGHTS_FILE
from isogloss.tuning.key_values import peft_misfit

CONFIG_FILE = "adapter_config.json"
# How far logits may be apart, as a share of the largest: float error, and that of 8 bits of it.
CLOSE, CLOSE_HALF = 1e-4, 0.1


@dataclass(frozen=True)
class Kept:
    """How a prefix was saved and how far logits are from those of prompt and demonstrations.

    `peft` is the difference in plain PEFT, the greatest of all tokens; None where PEFT cannot hold
    the prefix, and then `why` says so. `own` is that in this package.
    """

    own: float
    peft: float | None
    why: str | None


def save_prefix(ground: Ground, prefix: Prefix, item: Example, folder: Path) -> Kept:
    """Write the prefix, and compare the logits behind an item with those of the uncompiled run.

    PEFT's adapter is written only where plain PEFT gives the same logits.

    Raises:
        ModelError: the model does not give the same logits behind the prefix.
    """
    model = ground.loaded.model
    prefix.tune.save(prefix.weights, folder, model)
    wanted = _uncompiled(ground, prefix, item)
    episodes = prefix.episodes(ground)
    front = episodes.encoder.demonstration_set(())
    ids = front.ids + episodes.encoder.target(ground.opened.task.render(item), 0).ids
    with prefix.tune.attached(model, prefix.weights):
        own = _apart(_next_logits(model, ids), wanted)
    if not own <= _allowed(model, wanted):
        raise ModelError(
            f"a {model.config.model_type} model answers otherwise behind a compiled prefix (logits "
            f"are up to {own:.3g} apart), so it cannot be compiled; Llama, Qwen and Gemma 3 can"
        )
    why = peft_misfit(prefix.tune.front(prefix.weights, model))
    apart = None if why else _in_peft(model, folder, ids[prefix.tune.length :], wanted)
    if isinstance(apart, float):
        return Kept(own, apart, None)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (folder / name).unlink(missing_ok=True)
    return Kept(own, None, why or apart)


def _uncompiled(ground: Ground, prefix: Prefix, item: Example) -> Tensor:
    opened, loaded = ground.opened, ground.loaded
    encoder = opened.episodes(loaded, tuned=True).encoder
    front = encoder.demonstration_set([opened.task.render(d) for d in prefix.demonstrations])
    target = encoder.target(opened.task.render(item), len(prefix.demonstrations))
    with opened.tuned(loaded):
        return _next_logits(loaded.model, front.ids + target.ids)


def _next_logits(model: PreTrainedModel | PeftModel, ids: Sequence[int]) -> Tensor:
    """Of the token after a sequence, fp32, (vocabulary,)."""
    (found,) = last_logits(model, [ids], count=1)
    return found[0]


def _in_peft(
    model: PreTrainedModel, folder: Path, ids: Sequence[int], wanted: Tensor
) -> float | str:
    """How far plain PEFT's logits are from those wanted, or why it does not give them."""
    try:
        with _peft(model, folder) as plain:
            found = _apart(_next_logits(plain, ids), wanted)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        return f"PEFT fails on it ({str(error).strip().partition(chr(10))[0]})"
    if found <= _allowed(model, wanted):
        return found
    return f"in PEFT its logits are up to {found:.3g} apart from those of the run"


@contextmanager
def _peft(model: PreTrainedModel, folder: Path) -> Iterator[PeftModel]:
    """The model as PEFT loads an adapter of a folder; PEFT's prefixes change nothing inside it."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        yield PeftModel.from_pretrained(model, str(folder)).eval()
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max())


def _allowed(model: PreTrainedModel, wanted: Tensor) -> float:
    share = CLOSE if model.dtype == torch.float32 else CLOSE_HALF
    return share * max(1.0, float(wanted.abs().max()))
