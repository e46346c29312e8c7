"""Tiny random models and tokenizers of the kinds that real models have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from isogloss.model.load import Loaded

# Tiny models gain nothing from threads, and threads of many processes wait for each other.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
TEXT = [
    "The man turned on the faucet, so water flowed from the spout. What is the cause?",
    "Premise: The woman retired.\nQuestion: What is the effect?\n(A) She slept.\n(B) She paid.",
    "Adam musluğu açtı. Kız, mısır gevreğinde bir böcek buldu. Ürün paketlenmişti.",
    "那人打开水龙头。水从水龙头喷口流出。它很易碎。",
    "Customer: where is my parcel?\nTopic: delivery\n\nCustomer: money back\nTopic: refund",
    "Answer: entailment neutral contradiction yes no alpha beta gamma delta one two three",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def shared_data() -> Path:
    """The folder of real data beside the checkout; skips the test where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def real_data() -> Path:
    return shared_data()


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen: bytes, merges, no begin token of its own."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|turn|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2 and Gemma: space marks, byte fallback, a begin token in front."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=special, show_progress=False)
    core.train_from_iterator(TEXT, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", core.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def tiny_config(architecture: str, vocabulary: int) -> PretrainedConfig:
    common = dict(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    if architecture == "llama":
        return LlamaConfig(**common, tie_word_embeddings=True)
    if architecture == "qwen2":
        return Qwen2Config(**common)
    if architecture == "qwen3":
        return Qwen3Config(**common, head_dim=8)
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    return Gemma3TextConfig(
        **common, head_dim=8, sliding_window=24, layer_types=kinds, query_pre_attn_scalar=8
    )


def tiny_loaded(
    architecture: str = "llama",
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    attention: str = "sdpa",
) -> Loaded:
    tokenizer = tokenizer or byte_level_tokenizer()
    torch.manual_seed(7)
    config = tiny_config(architecture, len(tokenizer))
    # Larger weights than the default start, so that what a token sees shows in its logits.
    config.initializer_range = 0.2
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    return Loaded(f"tiny-{architecture}", model, tokenizer, "0" * 64)


@pytest.fixture(params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest) -> Loaded:
    """A tiny random model of each architecture."""
    return tiny_loaded(request.param)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a tiny model and tokenizer to a folder, once a session for each architecture."""
    made: dict[str, Path] = {}

    def make(architecture: str = "llama") -> Path:
        if architecture not in made:
            ready = tiny_loaded(architecture)
            made[architecture] = tmp_path_factory.mktemp(f"tiny-{architecture}")
            ready.model.save_pretrained(made[architecture])
            ready.tokenizer.save_pretrained(made[architecture])
        return made[architecture]

    return make
