"""Adapter folders in PEFT's format: adapter_config.json beside adapter_model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from peft import PeftConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from isogloss.errors import ModelError
from isogloss.processes import is_main

WEIGHTS_FILE = "adapter_model.safetensors"
PROMPT_KEY = "prompt_embeddings"  # PEFT's name for what a soft prompt or a prefix learnt


def write_adapter(folder: Path, config: PeftConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter as PEFT's `save_pretrained` does; its numbers are fp32.

    Of several processes the main one writes.

    Raises:
        ModelError: the file cannot be written.
    """
    if not is_main():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    write_tensors(folder / WEIGHTS_FILE, tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file of fp32 numbers; of several processes the main one does.

    Raises:
        ModelError: the file cannot be written.
    """
    if not is_main():
        return
    numbers = {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(numbers, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise ModelError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"no such adapter file: {path}")
    try:
        # A copy: what safetensors gives is the file itself, and goes when the file is written anew.
        return {name: value.clone() for name, value in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: found a damaged file ({error}); expected safetensors") from None


def read_prompt(path: Path) -> Tensor:
    """The vectors of a saved soft prompt or prefix, fp32, (m, width).

    Raises:
        ModelError: the file is missing, damaged, or holds no `prompt_embeddings`.
    """
    tensors = read_tensors(path)
    if PROMPT_KEY not in tensors or tensors[PROMPT_KEY].dim() != 2:
        raise ModelError(
            f"{path}: found {sorted(tensors)}; expected '{PROMPT_KEY}' of two dimensions"
        )
    return tensors[PROMPT_KEY].float()


def check_shape(path: Path, what: str, found: Tensor, wanted: tuple[int, ...]) -> None:
    """Refuse what was learnt for a model of another shape.

    Raises:
        ModelError: says both shapes.
    """
    if tuple(found.shape) != wanted:
        raise ModelError(
            f"{path}: found {what} of shape {tuple(found.shape)}; "
            f"expected {wanted} for this model, so it was made with another one"
        )
