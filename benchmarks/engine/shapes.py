"""Models by their shape: random weights in the sizes of published ones, as folders to load.

Speed and memory do not depend on what the weights are. The tokenizer gives every word of `words`
one token, so that items have the lengths they were made with.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from isogloss import ConfigError
from isogloss.tasks.xcopa import Xcopa
from isogloss.tasks.xnli import Xnli
from isogloss.tasks.xquad import Xquad

# The numbers of each model's published config.json.
SHAPES: Mapping[str, Callable[[], PretrainedConfig]] = {
    "smollm2-135m": lambda: LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "gemma3-270m": lambda: Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        layer_types=_every_sixth_full(18),
        max_position_embeddings=32768,
    ),
    # Llama 3.2 1B.
    "1b": lambda: LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    # Qwen 2.5 7B.
    "7b": lambda: Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=8192,
    ),
    # For tests: the sliding window is shorter than an episode.
    "tiny": lambda: Gemma3TextConfig(
        vocab_size=1200,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=24,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        max_position_embeddings=8192,
        initializer_range=0.2,
    ),
}
ENOUGH = 400  # words of a language
_PIECES = r" ?[A-Za-z0-9]+|\n\n|\n| ?[^\sA-Za-z0-9]| "


def _every_sixth_full(layers: int) -> list[str]:
    return ["full_attention" if n % 6 == 5 else "sliding_attention" for n in range(layers)]


def model_folder(name: str, place: Path, dtype: torch.dtype) -> Path:
    """The folder of a model: what was given if it is one, else random weights written to `place`.

    Raises:
        ConfigError: it is neither a folder nor a shape's name.
    """
    if name not in SHAPES:
        if (Path(name) / "config.json").is_file():
            return Path(name)
        raise ConfigError(f"no model '{name}'; give a model folder or one of {', '.join(SHAPES)}")
    tokenizer = made_tokenizer()
    config = SHAPES[name]()
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, key, getattr(tokenizer, key))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def lengths_for(folder: Path) -> str:
    """Whose tokens a model's items are counted in: those of a small vocabulary or a large one."""
    return "smollm2" if AutoConfig.from_pretrained(folder).vocab_size < 100_000 else "gemma3"


def made_words(language: int) -> list[str]:
    """Made-up words, the same in every run."""
    source = random.Random(language)
    parts = [start + vowel for start in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = ["".join(source.choices(parts, k=3)) for _ in range(ENOUGH)]
    return list(dict.fromkeys(words))


def made_tokenizer() -> PreTrainedTokenizerBase:
    """One token for each made-up word and for each word of the benchmarks' wordings."""
    split = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    wordings = [task(None).wording("en") for task in (Xcopa, Xnli, Xquad)]
    known = [
        wording.input + wording.answer.format(answer="", letter="A B C") for wording in wordings
    ]
    known += [" entailment neutral contradiction cause effect\n\n\na :.,(A) (B)"]
    pieces = [piece for text in known for piece, _ in split.pre_tokenize_str(text)]
    pieces += [f" {word}" for language in (0, 1) for word in made_words(language)]
    special = ["<unk>", "<end>", "<begin>"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(special + pieces))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = split
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<begin>",
        eos_token="<end>",
        pad_token="<end>",
    )


def words(tokenizer: PreTrainedTokenizerBase, language: int) -> Sequence[str]:
    """Words that this tokenizer gives one token after a space, others for language 0 than for 1.

    Raises:
        ConfigError: it has too few of them.
    """
    candidates = made_words(language)
    if not _single(tokenizer, candidates[0]):
        pieces = (piece[1:] for piece in tokenizer.get_vocab() if piece[:1] in ("Ġ", "▁"))
        plain = sorted(piece for piece in pieces if piece.isascii() and piece.islower())
        candidates = random.Random(0).sample(plain, min(len(plain), 6 * ENOUGH))[language::2]
    found = [word for word in candidates if len(word) > 2 and _single(tokenizer, word)][:ENOUGH]
    if len(found) < 50:
        raise ConfigError("the model's tokenizer has fewer than 50 plain words; give another model")
    return found


def _single(tokenizer: PreTrainedTokenizerBase, word: str) -> bool:
    alone, both = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", f"a {word}")
    )
    return len(both) == len(alone) + 1
