"""Soft prompts (Section 5.2, Appendix B.2): m vectors before the context are all that learns."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from peft import PromptTuningConfig, TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError
from isogloss.model.prompt import embedded, embedding_width, prompted
from isogloss.tuning.adapter_files import PROMPT_KEY as KEY
from isogloss.tuning.adapter_files import WEIGHTS_FILE, check_shape, read_prompt, write_adapter
from isogloss.tuning.tuning import StartIds, Tuning, Weights

PromptStart = Literal["vocabulary", "text", "labels", "demonstrations", "normal", "file"]


@final
@dataclass(frozen=True)
class SoftPrompt(Tuning):
    """`length` vectors (m), started from real token embeddings.

    `start_from`: `vocabulary` is a seeded sample of the first 5,000 ordinary tokens (Lester et
    al. 2021), `text` the task's instruction, `labels` its answers, `demonstrations` a solved set,
    each repeated to the length; `normal` has the embeddings' own standard deviation; `file` is a
    saved adapter's folder or safetensors file, `start_file`.
    """

    length: int = 10
    start_from: PromptStart = "vocabulary"
    start_file: str = ""
    name: str = "soft-prompt"

    learns: ClassVar[str] = "a soft prompt"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(
                f"prompt length is {self.length}; a soft prompt has at least 1 vector"
            )
        if (self.start_from == "file") != bool(self.start_file):
            raise ConfigError(
                "prompt start 'file' and a prompt file go together; give both or none"
            )

    @property
    def prompt_length(self) -> int:
        """M."""
        return self.length

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """Fresh vectors, fp32, (m, width)."""
        vectors = self._vectors(model, ids, seed)
        return {KEY: nn.Parameter(vectors.to(model.device))}

    def attached(
        self, model: PreTrainedModel, weights: Weights
    ) -> AbstractContextManager[PreTrainedModel]:
        """The model reading ids V, V+1, ... from the vectors; see `isogloss.model.prompt`."""
        return prompted(model, weights[KEY])

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """PEFT's prompt-tuning adapter: adapter_config.json and adapter_model.safetensors."""
        text = model.config.get_text_config()
        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.length,
            token_dim=int(weights[KEY].shape[1]),
            num_transformer_submodules=1,
            num_attention_heads=text.num_attention_heads,
            num_layers=text.num_hidden_layers,
            base_model_name_or_path=model.config.name_or_path,
            inference_mode=True,
        )
        write_adapter(folder, config, {KEY: weights[KEY]})

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved vectors, on the model's device."""
        vectors = read_prompt(folder / WEIGHTS_FILE)
        wanted = (self.length, embedding_width(model))
        check_shape(folder / WEIGHTS_FILE, "a soft prompt", vectors, wanted)
        return {KEY: nn.Parameter(vectors.to(model.device))}

    def _vectors(self, model: PreTrainedModel, ids: StartIds, seed: int) -> Tensor:
        if self.start_from == "vocabulary":
            if self.length > len(ids.common):
                raise ConfigError(
                    f"prompt length is {self.length}, but prompt start 'vocabulary' has only "
                    f"{len(ids.common)} tokens to start from; give a shorter one or another start"
                )
            return embedded(model, random.Random(f"{seed}/prompt").sample(ids.common, self.length))
        if self.start_from == "normal":
            spread = embedded(model, ids.common).std()
            source = torch.Generator().manual_seed(seed)
            shape = (self.length, embedding_width(model))
            return torch.randn(shape, generator=source) * spread.cpu()
        if self.start_from == "file":
            return self._from_file(embedding_width(model))
        named = {"text": ids.instruction, "labels": ids.labels}
        chosen = named.get(self.start_from, ids.demonstrations)
        if not chosen:
            raise ConfigError(f"prompt start '{self.start_from}' has no text in this task")
        repeated = (chosen * (self.length // len(chosen) + 1))[: self.length]
        return embedded(model, repeated)

    def _from_file(self, width: int) -> Tensor:
        path = Path(self.start_file)
        vectors = read_prompt(path / WEIGHTS_FILE if path.is_dir() else path)
        if len(vectors) != self.length:
            raise ConfigError(
                f"{path}: found {len(vectors)} prompt vectors; expected {self.length}, the length"
            )
        if vectors.shape[1] != width:
            raise ConfigError(
                f"{path}: found prompt vectors of width {vectors.shape[1]}; expected {width}, "
                "this model's"
            )
        return vectors
