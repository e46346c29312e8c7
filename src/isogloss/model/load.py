"""Loading a causal language model: hub id, folder or GGUF file to model and tokenizer."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from isogloss.errors import ConfigError, ModelError
from isogloss.model.kernels import Kernel, check_fits, implementation, lacking
from isogloss.model.products import quicken

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "4bit", "8bit"]


ARCHITECTURES: Mapping[str, str] = {
    "llama": "Llama, SmolLM2, and models of the same shape",
    "qwen2": "Qwen 2, Qwen 2.5",
    "qwen3": "Qwen 3",
    "gemma3_text": "Gemma 3",
}
"""The architectures that the tests cover, by transformers' model type."""


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded.

    `dtype` auto is bfloat16 on a GPU and float32 on a CPU. `device` auto is the GPU where there
    is one. `attention` auto is SDPA; flex_attention and flash_attention_2 need a GPU.
    `quantization` holds the frozen base in 4 or 8 bits through bitsandbytes (a GPU is needed).
    `remote_code` runs Python code that comes with the model.
    """

    dtype: Dtype = "auto"
    device: str = "auto"
    attention: Kernel = "auto"
    quantization: Quantization = "none"
    remote_code: bool = False


@dataclass(frozen=True)
class Loaded:
    """A model ready for work. `fingerprint` tells whether two loaded models are the same one."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str

    @property
    def context(self) -> int | None:
        """The most tokens a sequence may have, soft prompt included; None where it is not said."""
        return context_length(self.model.config)


@dataclass(frozen=True)
class _Place:
    """Where a model's files are: `name` for transformers, and the GGUF file where it is one."""

    name: str
    gguf: str | None
    files: tuple[Path, ...]


def load(
    name: str, options: ModelOptions | None = None, *, held: torch.device | None = None
) -> Loaded:
    """Load a causal language model and its tokenizer.

    `name` is a folder, a `.gguf` file, `package:NAME` (the one GGUF file inside an installed
    Python package) or a hub id. `held`: where the weights lie at first, if not on the device that
    the options say.

    Raises:
        ModelError: there is no such model, no tokenizer, or it is not a causal language model.
        ConfigError: the device, the kernel or the quantisation asked for is not to be had here.
    """
    options = options or ModelOptions()
    place = _find(name)
    device = resolve_device(options.device)
    check_attention(options)
    config = _config(place, options)
    check_causal(config, name)
    check_fits(options.attention, config)
    tokenizer = _tokenizer(place, options)
    model = _model(place, options, device, held or device)
    model.eval()
    return Loaded(name, model, tokenizer, fingerprint(place.files, config, name))


def identify(name: str, *, remote_code: bool = False) -> str:
    """The fingerprint that the model of this name would have, without loading its weights.

    Raises:
        ModelError: there is no such model.
    """
    place = _find(name)
    config = None if place.files else _config(place, ModelOptions(remote_code=remote_code))
    return fingerprint(place.files, config, name)


def resolve_dtype(options: ModelOptions) -> torch.dtype:
    """The number format that `options` come to on this machine."""
    return _dtype(options.dtype, resolve_device(options.device))


def resolve_attention(options: ModelOptions) -> str:
    """The attention kernel that `options` come to."""
    return "sdpa" if options.attention == "auto" else options.attention


def check_attention(options: ModelOptions) -> None:
    """Refuse a kernel that is not to be had here.

    Raises:
        ConfigError: it needs another device, format or package; says which.
    """
    found = _lacking(options)
    if found:
        raise ConfigError(f"attention {options.attention} {found}; or give attention sdpa")


def usable(options: ModelOptions) -> ModelOptions:
    """The options, with SDPA in the place of a kernel that is not to be had here; that is said."""
    found = _lacking(options)
    if not found:
        return options
    print(f"attention {options.attention} {found}; SDPA takes its place", file=sys.stderr)
    return replace(options, attention="sdpa")


def _lacking(options: ModelOptions) -> str | None:
    return lacking(options.attention, resolve_device(options.device), resolve_dtype(options))


def resolve_device(asked: str) -> torch.device:
    """The device for a name, `auto` being the GPU where there is one."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError(f"device is '{asked}'; expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is '{asked}', but this machine's torch sees no GPU; use cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device is '{asked}', which this machine's torch cannot use ({_first_line(error)})"
        ) from None
    return device


def context_length(config: PretrainedConfig) -> int | None:
    """The most positions a model has, from its configuration."""
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        value = getattr(config.get_text_config(), name, None)
        if isinstance(value, int):
            return value
    return None


def check_causal(config: PretrainedConfig, name: str) -> None:
    """Refuse encoders and sequence-to-sequence models.

    Raises:
        ModelError: the model is not a causal language model; says what it is.
    """
    kind = config.model_type
    wanted = "a causal language model is needed, such as Llama, Qwen or Gemma"
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"'{name}' is a sequence-to-sequence model ({kind}); {wanted}")
    made_for = list(getattr(config, "architectures", None) or [])
    causal = any("CausalLM" in made or "LMHead" in made for made in made_for)
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (encoder and not causal):
        what = f"{kind}, made for {', '.join(made_for) or 'an unnamed use'}"
        raise ModelError(f"'{name}' is not a causal language model ({what}); {wanted}")


def fingerprint(files: tuple[Path, ...], config: PretrainedConfig | None, name: str) -> str:
    """A SHA-256 over the files' names, sizes, first and last MiB; for a hub id over its commit."""
    digest = hashlib.sha256()
    if not files:
        commit = getattr(config, "_commit_hash", None)
        digest.update(f"{name}@{commit}".encode())
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 20))
            stream.seek(max(0, size - (1 << 20)))
            digest.update(stream.read())
    return digest.hexdigest()


def _find(name: str) -> _Place:
    if name.startswith("package:"):
        return _gguf_place(_packaged(name.removeprefix("package:")))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"no such GGUF file: {path}")
        return _gguf_place(path)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{path} holds no config.json; expected a model folder as save_pretrained writes it"
            )
        kinds = {".json", ".safetensors", ".model", ".txt", ".jinja"}
        found = sorted(file for file in path.iterdir() if file.suffix in kinds)
        return _Place(str(path), None, tuple(found))
    if path.is_file() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no such model folder: {name}")
    return _Place(name, None, ())


def _gguf_place(path: Path) -> _Place:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("GGUF files need the package gguf: pip install 'isogloss[gguf]'")
    return _Place(str(path.parent), path.name, (path,))


def _packaged(package: str) -> Path:
    """The one GGUF file among the files of an installed package; the package is not imported."""
    try:
        listed = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"the Python package '{package}' is not installed here") from None
    found = [Path(str(file.locate())) for file in listed if file.suffix == ".gguf"]
    if len(found) != 1:
        raise ModelError(f"the package '{package}' holds {len(found)} GGUF files; expected one")
    return found[0]


def _source(place: _Place, options: ModelOptions) -> dict[str, Any]:
    arguments: dict[str, Any] = {"trust_remote_code": options.remote_code}
    return arguments | ({"gguf_file": place.gguf} if place.gguf else {})


def _config(place: _Place, options: ModelOptions) -> PretrainedConfig:
    try:
        config = AutoConfig.from_pretrained(place.name, **_source(place, options))
    except (OSError, ValueError, KeyError) as error:
        where = "" if place.files else " (there is no such folder here, so it is a hub id)"
        raise ModelError(
            f"cannot read the model '{place.name}'{where}: {_first_line(error)}"
        ) from None
    assert isinstance(config, PretrainedConfig), "AutoConfig gives a configuration"
    return config


def _tokenizer(place: _Place, options: ModelOptions) -> PreTrainedTokenizerBase:
    if place.files and not place.gguf:
        names = {path.name for path in place.files}
        if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
            raise ModelError(
                f"{place.name} has no tokenizer: expected tokenizer.json (or tokenizer.model) "
                "beside config.json; save it there with tokenizer.save_pretrained"
            )
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.name, **_source(place, options))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"cannot read the tokenizer of '{place.name}': {_first_line(error)}"
        ) from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase), "AutoTokenizer gives a tokenizer"
    return tokenizer


def _model(
    place: _Place, options: ModelOptions, device: torch.device, held: torch.device
) -> PreTrainedModel:
    arguments = _source(place, options) | {
        "dtype": _dtype(options.dtype, device),
        "attn_implementation": implementation(resolve_attention(options)),
        "use_safetensors": None if place.gguf else True,  # never a pickle
    }
    arguments |= _quantization(options, place, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(place.name, **arguments)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load the model '{place.name}': {_first_line(error)}") from None
    assert isinstance(model, PreTrainedModel), "AutoModelForCausalLM gives a model"
    if options.quantization == "none":
        torch.nn.Module.to(model, held)
    return quicken(model)


def _dtype(asked: Dtype, device: torch.device) -> torch.dtype:
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if asked not in known:
        raise ConfigError(f"dtype is '{asked}'; expected auto, {', '.join(known)}")
    return known[asked]


def _quantization(
    options: ModelOptions, place: _Place, device: torch.device
) -> Mapping[str, object]:
    if place.gguf:
        from transformers import GgufConfig  # only this path needs it

        return {"quantization_config": GgufConfig(dequantize=True)}
    if options.quantization == "none":
        return {}
    if device.type != "cuda":
        raise ConfigError(
            f"quantization {options.quantization} needs a GPU; leave it out on {device}"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("quantization needs bitsandbytes: pip install 'isogloss[quantization]'")
    from transformers import BitsAndBytesConfig

    four = options.quantization == "4bit"
    settings = BitsAndBytesConfig(
        load_in_4bit=four, load_in_8bit=not four, bnb_4bit_compute_dtype=torch.bfloat16
    )
    return {"quantization_config": settings, "device_map": {"": str(device)}}


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def describe(config: PretrainedConfig) -> Mapping[str, int | str | None]:
    """Architecture, layers, width, vocabulary and context of a model, for people and programs."""
    text = config.get_text_config()
    return {
        "architecture": config.model_type,
        "layers": getattr(text, "num_hidden_layers", None),
        "width": getattr(text, "hidden_size", None),
        "vocabulary": getattr(text, "vocab_size", None),
        "context": context_length(config),
    }
