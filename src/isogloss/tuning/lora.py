"""LoRA (Hu et al. 2022; Table 5) and DoRA (Liu et al. 2024): low-rank updates, made by PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraModel
from torch import nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.model.layers import blocks
from isogloss.model.pieces import in_pieces
from isogloss.tuning.adapter_files import WEIGHTS_FILE, read_tensors, write_adapter
from isogloss.tuning.tuning import StartIds, Tuning, Weights

ADAPTER = "default"  # PEFT's name for the one adapter there is; not in the saved names
BEFORE = "base_model.model."  # what PEFT puts in front of every saved name


@final
@dataclass(frozen=True)
class Lora(Tuning):
    """Low-rank updates of every linear layer in the model's blocks, kept in fp32.

    Table 5 does not give rank, alpha and dropout; they are AdaMergeX's (Zhao et al. 2025b). With
    `dora` a magnitude for every output is learnt too.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    dora: bool = False
    name: str = "lora"

    learns: ClassVar[str] = "low-rank updates"

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ConfigError(f"LoRA's {name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"LoRA's dropout is {self.dropout}; it must be 0 or more and below 1")

    @property
    def prompt_length(self) -> int:
        """0: there is no soft prompt."""
        return 0

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """Fresh updates, which change nothing yet: PEFT's start, decided by the seed.

        Raises:
            ConfigError: magnitudes, which start from whole weights, of a model in pieces.
        """
        if self.dora and in_pieces(model):
            raise ConfigError(
                "DoRA starts from the norms of whole weights and cannot learn in a model that "
                "FSDP2 holds in pieces; take lora, or start without FSDP"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with self._injected(model):
                return {
                    name: nn.Parameter(parameter.detach().float().clone())
                    for name, parameter in model.named_parameters()
                    if _is_learnt(name)
                }

    @contextmanager
    def attached(self, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
        """The model with the updates beside its linear layers; PEFT takes them off again."""
        with self._injected(model):
            for name, parameter in weights.items():
                owner, _, last = name.rpartition(".")
                setattr(model.get_submodule(owner), last, parameter)
            yield model

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """PEFT's LoRA adapter: adapter_config.json and adapter_model.safetensors."""
        config = self._config(model)
        config.base_model_name_or_path = model.config.name_or_path
        config.inference_mode = True
        write_adapter(folder, config, {_saved(n): p for n, p in weights.items()})

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved updates, on the model's device."""
        path = folder / WEIGHTS_FILE
        saved = read_tensors(path)
        fresh = self._fresh(model)
        for name, shape in fresh.items():
            found = tuple(saved[_saved(name)].shape) if _saved(name) in saved else None
            if found != shape:
                raise ModelError(
                    f"{path}: found {_saved(name)} of shape {found or 'none'}; expected {shape} "
                    "for this model, so it was made with another one"
                )
        return {name: nn.Parameter(saved[_saved(name)].float().to(model.device)) for name in fresh}

    def _fresh(self, model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
        """The shapes of the updates that this model has, or would have, by name."""
        there = {n: tuple(p.shape) for n, p in model.named_parameters() if _is_learnt(n)}
        if there:  # attached, where training goes on from a checkpoint
            return there
        with torch.random.fork_rng(devices=[]), self._injected(model):
            return {n: tuple(p.shape) for n, p in model.named_parameters() if _is_learnt(n)}

    @contextmanager
    def _injected(self, model: PreTrainedModel) -> Iterator[None]:
        """The model with PEFT's layers in it and its own parameters frozen."""
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tuner = LoraModel(model, self._config(model), ADAPTER)
        model.train(model.training)  # new layers are in training mode, and would drop out at test
        try:
            for parameter in learning:
                parameter.requires_grad_(False)
            yield
        finally:
            tuner.unload()
            for name in ("peft_config", "peft_type", "_hf_peft_config_loaded"):
                if name in vars(model):
                    delattr(model, name)
            for parameter in learning:
                parameter.requires_grad_(True)

    def _config(self, model: PreTrainedModel) -> LoraConfig:
        return LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_dora=self.dora,
            target_modules=sorted(_linear_names(model)),
        )


def _linear_names(model: PreTrainedModel) -> set[str]:
    """The last names of the linear layers in the blocks, q_proj ... down_proj, attached or not."""
    found = [
        name.removesuffix(".base_layer")
        for name, module in blocks(model).named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    ]
    return {name.rpartition(".")[2] for name in found}


def _is_learnt(name: str) -> bool:
    return f".{ADAPTER}" in name and ".lora_" in name


def _saved(name: str) -> str:
    """A parameter's name in PEFT's file, which keeps a magnitude without `.weight`."""
    plain = BEFORE + name.replace(f".{ADAPTER}", "")
    return plain.removesuffix(".weight") if "lora_magnitude_vector" in plain else plain
