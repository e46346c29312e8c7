"""The model that a compiled prefix belongs to: the base, or one with what was learnt inside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError

from isogloss.errors import ConfigError, ModelError
from isogloss.finished import Opened
from isogloss.methods.method import Method
from isogloss.model.load import Loaded, identify
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.full import FullParameters
from isogloss.tuning.lora import Lora
from isogloss.tuning.untuned import Untuned

MODEL = "model"  # a merged model's folder inside the compiled run's
LEFT_BEHIND = ("peft_config", "peft_type", "_hf_peft_config_loaded")  # PEFT's, after merging


@dataclass(frozen=True)
class Ground:
    """A loaded model and the run as it stands in it.

    `method` is as the run recorded it. Where what was learnt is inside the model, `opened` has one
    that tunes nothing more, and `note` says so in words; it is None for the run's base.
    """

    method: Method
    opened: Opened
    loaded: Loaded
    note: str | None = None


def check_compilable(opened: Opened) -> None:
    """Refuse a run of which no prefix for all items can be made.

    Raises:
        ConfigError: says why, and which runs can be compiled.
    """
    method, name = opened.method, opened.run.folder
    if method.shift is not None:
        raise ConfigError(
            f"{name} shifts the target's hidden states (method '{method.name}'), which no prefix "
            "can do; runs without a representation shift can be compiled, such as cl-icp"
        )
    if isinstance(method.tune, Compiled):
        raise ConfigError(f"{name} is compiled already; give the run that it was made from")
    quantization = opened.record["model"]["quantization"]
    if isinstance(method.tune, Lora) and quantization != "none":
        raise ConfigError(
            f"{name} has low-rank updates beside a model held in {quantization}, and they cannot "
            "be merged into it; train it without --quantization, or compile a soft prompt's run"
        )


def ground_of(opened: Opened, device: str, out: Path) -> Ground:
    """The run's model, loaded; low-rank updates are merged into a copy below `out`.

    Raises:
        ModelError: the model cannot be loaded or written.
    """
    tune = opened.method.tune
    if isinstance(tune, FullParameters):
        place = str(opened.run.adapter.resolve())
        inside = _inside(opened, place)
        note = f"the prefix belongs to the run's own model, {place}"
        return Ground(opened.method, inside, inside.load(device), note)
    loaded = opened.load(device)
    if not isinstance(tune, Lora):
        return Ground(opened.method, opened, loaded)
    place = str((out / MODEL).resolve())
    merged = _merged(opened, loaded, Path(place))
    note = f"the low-rank updates are merged into a copy of the model, {place}"
    return Ground(opened.method, _inside(opened, place), merged, note)


def _inside(opened: Opened, place: str) -> Opened:
    """The run with what it learnt inside the model at a place."""
    method = dataclasses.replace(opened.method, tune=Untuned(), stages=())
    return dataclasses.replace(opened, method=method, model_name=place)


def _merged(opened: Opened, loaded: Loaded, place: Path) -> Loaded:
    model = PeftModel.from_pretrained(loaded.model, str(opened.run.adapter)).merge_and_unload()
    for name in LEFT_BEHIND:
        if name in vars(model):
            delattr(model, name)
    model.eval()
    try:
        model.save_pretrained(place)
        loaded.tokenizer.save_pretrained(place)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write the merged model to {place}: {error}") from error
    return Loaded(str(place), model, loaded.tokenizer, identify(str(place)))
