"""Full-parameter tuning (Sections 5.1 and 6.1): all that learns when the model was made learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.model.pieces import in_pieces, let_go, piece_of, plain_class, whole_state
from isogloss.processes import is_main
from isogloss.tuning.tuning import StartIds, Tuning, Weights

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"  # in its place where the weights are several files


@final
@dataclass(frozen=True)
class FullParameters(Tuning):
    """All parameters of the model, in the number format that the model was loaded in.

    The learning parameters are a second copy beside the base model's own, which stay untouched;
    a tied parameter is one. A model in pieces learns in its own parameters, and the second copy is
    what they were. There are no fp32 masters: in bfloat16 an update smaller than
    1/512 of its weight is rounded away, so at the paper's learning rate most weights stay as they
    are. Train in float32 where memory allows.
    """

    name: str = "full"

    learns: ClassVar[str] = "all parameters"
    whole_model: ClassVar[bool] = True

    @property
    def prompt_length(self) -> int:
        """0: there is no soft prompt."""
        return 0

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """A copy of every parameter that is trainable; ids and seed decide nothing.

        Raises:
            ConfigError: the model is quantised.
        """
        if getattr(model, "is_quantized", False):
            raise ConfigError(
                "all parameters cannot be tuned in a quantised model; "
                "leave --quantization out, or take a method with a soft prompt"
            )
        let_go(model)
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if in_pieces(model):
            return own
        return {name: nn.Parameter(parameter.detach().clone()) for name, parameter in own.items()}

    @contextmanager
    def attached(self, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
        """The model with the weights in the place of its own parameters, which come back."""
        if in_pieces(model):
            with _remembered(model, weights):
                yield model
            return
        places = _places(model)
        own = dict(model.named_parameters())
        others = [p for name, p in own.items() if name not in weights and p.requires_grad]
        try:
            for parameter in others:
                parameter.requires_grad_(False)
            for name, parameter in weights.items():
                _put(places[name], parameter)
            yield model
        finally:
            for name in weights:
                _put(places[name], own[name])
            for parameter in others:
                parameter.requires_grad_(True)

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """A whole model folder, as transformers' `from_pretrained` reads it, without tokenizer."""
        state = whole_state(model) if in_pieces(model) else None
        if not is_main():
            return
        with nullcontext(model) if in_pieces(model) else self.attached(model, weights):
            try:
                model.save_pretrained(folder, state_dict=state)
            except SafetensorError as error:
                raise ModelError(f"cannot write the model to {folder}: {error}") from error

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved parameters, in the base model's number format and on its device."""
        let_go(model)
        saved = dict(_read(folder, model).named_parameters())
        wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
        _check_shapes(folder, saved, wanted)
        return {
            name: nn.Parameter(piece_of(saved.pop(name), base)) for name, base in wanted.items()
        }


@contextmanager
def _remembered(model: nn.Module, weights: Weights) -> Iterator[None]:
    """The model's own parameters, in pieces, which are afterwards what they were."""
    before = {name: parameter.detach().clone() for name, parameter in weights.items()}
    try:
        yield
    finally:
        let_go(model)
        with torch.no_grad():
            for name, parameter in weights.items():
                parameter.copy_(before[name])


def _places(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where each parameter stands, by its first name: a tied one stands in several modules."""
    first: dict[nn.Parameter, str] = {}
    places: dict[str, list[tuple[nn.Module, str]]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            whole = first.setdefault(parameter, f"{path}.{name}" if path else name)
            places.setdefault(whole, []).append((module, name))
    return places


def _put(places: list[tuple[nn.Module, str]], parameter: nn.Parameter) -> None:
    for module, name in places:
        setattr(module, name, parameter)


def _read(folder: Path, model: PreTrainedModel) -> PreTrainedModel:
    """The model saved in a folder, on the CPU: transformers reads what it wrote."""
    for names in ((CONFIG_FILE,), (WEIGHTS_FILE, INDEX_FILE)):
        if not any((folder / name).is_file() for name in names):
            raise ModelError(f"no such file of a saved model: {folder / names[0]}")
    try:
        found: Any = plain_class(model).from_pretrained(
            folder, dtype=model.dtype, use_safetensors=True, output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{folder}: found damaged files of a model ({reason}); expected "
            f"{CONFIG_FILE} and {WEIGHTS_FILE} as training wrote them"
        ) from None
    read, report = found
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"{folder / WEIGHTS_FILE}: found no {_some(missing)}; "
            "expected every parameter of the model"
        )
    assert isinstance(read, PreTrainedModel), "from_pretrained gives a model"
    return read


def _check_shapes(
    folder: Path, saved: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> None:
    for name, base in wanted.items():
        found = tuple(saved[name].shape) if name in saved else None
        if found != tuple(base.shape):
            raise ModelError(
                f"{folder / WEIGHTS_FILE}: found {name} of shape {found or 'none'}; expected "
                f"{tuple(base.shape)} for this model, so it was made with another one"
            )


def _some(names: list[str]) -> str:
    """The first three names and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
