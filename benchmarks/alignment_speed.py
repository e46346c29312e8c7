"""What measuring alignment costs, as ratios to the passes that it is made of.

    python benchmarks/alignment_speed.py --model FOLDER --data FOLDER
    python benchmarks/alignment_speed.py

Cosine deviation over sentence pairs is set against the forward passes alone: the same batches
through the decoder, in no-grad mode, with no logits and no hidden states kept. Gradients of a soft
prompt with their alignment are set against one epoch that trains such a prompt on the same items
in batches of the same size: the library's own batches, loss and backward pass with AdamW in a bare
loop, as what the Trainer does around them (logging, checkpoints) would only make the epoch longer.

Without --model the model is random, in the shape of Gemma 3 270M, with a tokenizer made of the
text. --data has XQuAD and XCOPA in their releases' layout; without it text is made up. What is
compared takes turns, every other round backwards; a ratio is the median of the rounds' ratios, by
the clock and by the processor's time, which other work on the machine moves less (one thread: those
that wait count as busy). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from isogloss import Loaded, Task, load, open_task
from isogloss.alignment.cosine_deviation import deviations, draw_strangers
from isogloss.alignment.gradient_alignment import aligned
from isogloss.alignment.gradients import ItemLoss, probe_gradients, soft_prompt_gradients
from isogloss.demonstrations.choose import Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.diagnosing.closeness import closeness
from isogloss.diagnosing.direction import items_of
from isogloss.diagnosing.parallel_text import ParallelText, from_task
from isogloss.diagnosing.states import started
from isogloss.encoding import Encoder
from isogloss.methods.registry import method
from isogloss.model.layers import blocks, padded
from isogloss.model.prompt import vocabulary_rows
from isogloss.objective import Objective, Tensors
from isogloss.packing import EncodedGroup
from isogloss.planning import Step, plan
from isogloss.portions import portions
from isogloss.staging import episode_encoder
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Example
from isogloss.tasks.splits import make_split
from isogloss.tuning.adapter_files import PROMPT_KEY
from isogloss.tuning.tuning import Weights

SENTENCES = 16  # in a batch, as `deviations` has it
ITEMS = 8  # in a batch, as the gradients have it
LEARNING_RATE = 1e-3
Parts = Mapping[str, Callable[[], object]]
Sides = tuple[tuple[Example, ...], tuple[Example, ...]]


@dataclass(frozen=True)
class Spent:
    """Seconds of something in each round, by the clock and of the processor."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> None:
    settings = arguments()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory() as folder:
        text, task = text_and_task(settings, Path(folder))
        split = make_split(task, settings.target, seed=settings.seed)
        items = items_of(split.dominant, split.target, settings.items, seed=settings.seed)
    loaded = load(settings.model) if settings.model else random_model(text, task, items)
    print(described(loaded, settings), flush=True)
    close = timed(closeness_parts(loaded, text, settings), settings.rounds)
    print(table(close), flush=True)
    pushed = timed(gradient_parts(loaded, task, items, settings), settings.rounds)
    print(table(pushed))
    print(json.dumps(summary(close) | summary(pushed)))


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--model", help="model folder, as `isogloss train --model` takes it")
    parser.add_argument("--data", type=Path, help="folder with XQuAD and XCOPA")
    parser.add_argument("--target", default="tr", help="the other language")
    parser.add_argument("--pairs", default=200, type=int, help="sentence pairs")
    parser.add_argument("--items", default=100, type=int, help="items of either language")
    parser.add_argument("--rounds", default=5, type=int, help="how often everything is timed")
    parser.add_argument("--threads", type=int, help="threads of torch (its own number by default)")
    parser.add_argument("--seed", default=42, type=int)
    return parser.parse_args()


# ---- what is timed -------------------------------------------------------------------------------


def closeness_parts(loaded: Loaded, text: ParallelText, settings: argparse.Namespace) -> Parts:
    """Forward passes, the plain deviation at all layers, and all that `diagnose` says of pairs."""
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), 0)
    front = encoder.demonstration_set(()).ids
    own, other = (
        [(*front, *encoder.text_ids(sentence)) for sentence in side]
        for side in (text.own, text.other)
    )
    lengths = [[len(ids) for ids in side] for side in (own, other)]
    counts = f"{mean(lengths[0]):.1f} and {mean(lengths[1]):.1f} tokens"
    print(f"{len(own)} pairs of {counts}: {text.where}")
    strangers = draw_strangers(*lengths, tolerance=None, seed=settings.seed)
    layers = range(len(blocks(loaded.model)) + 1)
    model = loaded.model
    return {
        "forward": lambda: passed(loaded, [*own, *other]),
        "deviation": lambda: deviations(
            model, own, other, strangers, layers=layers, batch_size=SENTENCES
        ),
        "closeness": lambda: closeness(loaded, encoder, text, every_layer=True, seed=settings.seed),
    }


@torch.no_grad()
def passed(loaded: Loaded, sentences: Sequence[Sequence[int]]) -> None:
    """The forward passes alone, sentences of like length together."""
    device, decoder = loaded.model.device, loaded.model.get_decoder()
    ordered = sorted(sentences, key=len)
    for start in range(0, len(ordered), SENTENCES):
        ids, real = padded(ordered[start : start + SENTENCES])
        decoder(input_ids=ids.to(device), attention_mask=real.to(device), use_cache=False)


def gradient_parts(
    loaded: Loaded,
    task: Task,
    items: Sides,
    settings: argparse.Namespace,
) -> Parts:
    """An epoch of MTL by soft prompt, gradients with their alignment, and the same with probes.

    The probes are those at every layer that `diagnose` adds to the same backward pass.
    """
    teaching = method("mtl-prompt", task.name, task.kind)
    episodes = episode_encoder(task, loaded, teaching, False, None)
    pool = Pool(*items)
    encoded, keys = [], []
    for side in items:
        groups = test_groups(side, pool, teaching.context, seed=settings.seed)
        encoded.append([episodes.group(group) for group in groups])
        keys.append([(item.id, item.language) for group in groups for item in group.targets])
    tokens = [length for side in encoded for length in token_counts(side)]
    print(f"{len(items[0])} + {len(items[1])} items of {mean(tokens):.1f} tokens: {task.name}")
    weights = started(teaching.tune, loaded, settings.seed)
    prompt = weights[PROMPT_KEY].detach().clone()
    schedule = plan(
        [*items[0], *items[1]],
        pool,
        teaching.context,
        episodes,
        epochs=1,
        batch_size=ITEMS,
        seed=settings.seed,
        skip=False,
    )
    objective = Objective(loaded.model, episodes, teaching.loss, teaching.context.count)
    steps = schedule.steps((), alternate=False)

    def epoch() -> None:
        with teaching.tune.attached(loaded.model, weights):
            learn(objective, steps, weights)

    def gradients() -> None:
        own, other = (
            soft_prompt_gradients(loaded.model, prompt, side, batch_size=ITEMS) for side in encoded
        )
        aligned(own, other, *keys, seed=settings.seed)

    def probed() -> None:
        layers = range(1, len(blocks(loaded.model)))
        loss = ItemLoss(batch_size=ITEMS)
        (own, own_states), (other, other_states) = (
            probe_gradients(loaded.model, prompt, side, layers=layers, loss=loss)
            for side in encoded
        )
        aligned(own, other, *keys, seed=settings.seed)
        for place in range(len(layers)):
            states = own_states[:, place], other_states[:, place]
            aligned(*states, *keys, seed=settings.seed, resamples=500)

    return {"epoch": epoch, "gradients": gradients, "probed": probed}


def learn(objective: Objective, steps: Sequence[Step], weights: Weights) -> None:
    """One epoch, and nothing but the epoch."""
    device = objective.model.device
    optimizer = torch.optim.AdamW(weights.values(), lr=LEARNING_RATE, weight_decay=0.0)
    for number, step in enumerate(steps):
        content = on(device, objective.tensors(portions(step, number, 1)[0]))
        loss = objective.value(content, int(content["targets"]), 1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def on(device: torch.device, content: Tensors) -> Tensors:
    """Tensors, and dictionaries of them, on a device."""
    return {
        name: on(device, value) if isinstance(value, dict) else value.to(device)
        for name, value in content.items()
    }


def token_counts(groups: Sequence[EncodedGroup]) -> list[int]:
    return [
        len(group.demonstrations.ids) + len(target.ids) + len(target.answer)
        for group in groups
        for target in group.targets
    ]


# ---- time ----------------------------------------------------------------------------------------


def timed(parts: Parts, rounds: int) -> dict[str, Spent]:
    """Seconds of each part in each round; the parts take turns, every other round backwards."""
    spent = {name: Spent() for name in parts}
    for number in range(rounds):
        order = list(parts) if number % 2 == 0 else list(reversed(parts))
        for name in order:
            settle()
            clock, processor = time.perf_counter(), time.process_time()
            parts[name]()
            settle()
            spent[name].clock.append(time.perf_counter() - clock)
            spent[name].processor.append(time.process_time() - processor)
    return spent


def settle() -> None:
    """Wait for a GPU to have done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratios(own: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's seconds over those of what is compared with."""
    return [one / other for one, other in zip(own, base, strict=True)]


def table(measured: Mapping[str, Spent]) -> str:
    """One Markdown line a part, the first being what the others are set against."""
    first = next(iter(measured.values()))
    lines = ["| what | s, median | ratio, median | least | most | CPU s, median | CPU ratio |"]
    lines.append("|" + "---|" * 7)
    for name, spent in measured.items():
        by_clock = ratios(spent.clock, first.clock)
        cells = [statistics.median(spent.clock), statistics.median(by_clock)]
        cells += [min(by_clock), max(by_clock), statistics.median(spent.processor)]
        cells.append(statistics.median(ratios(spent.processor, first.processor)))
        lines.append(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def summary(measured: Mapping[str, Spent]) -> dict[str, float]:
    """The ratios to the first part, and the median seconds that they come from."""
    (to, base), *others = measured.items()
    found = {}
    for name, spent in others:
        found[f"{name}_vs_{to}"] = statistics.median(ratios(spent.clock, base.clock))
        by_processor = ratios(spent.processor, base.processor)
        found[f"{name}_vs_{to}_cpu"] = statistics.median(by_processor)
    for name, spent in measured.items():
        found[f"{name}_seconds"] = statistics.median(spent.clock)
    return {name: round(value, 3) for name, value in found.items()}


def mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def described(loaded: Loaded, settings: argparse.Namespace) -> str:
    model = loaded.model
    millions = sum(each.numel() for each in model.parameters()) / 1e6
    return (
        f"{loaded.name}: {millions:.0f} million parameters, {len(blocks(model))} blocks, "
        f"{model.dtype}, {model.device}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; {settings.rounds} rounds"
    )


# ---- text and model ------------------------------------------------------------------------------


def text_and_task(settings: argparse.Namespace, folder: Path) -> tuple[ParallelText, Task]:
    """XQuAD's questions in both languages, and XCOPA; made up where no data are given."""
    data = settings.data or written(folder, settings.target, settings.items, settings.seed)
    task = open_task("xcopa", str(data), BenchmarkSettings())
    if not settings.data:
        return questions(settings.pairs, settings.seed), task
    xquad = open_task("xquad", str(data), BenchmarkSettings())
    text = from_task(xquad, make_split(xquad, settings.target, seed=settings.seed))
    return text.sampled(settings.pairs, seed=settings.seed), task


def words(language: str, count: int = 800) -> list[str]:
    """Made-up words, the same in every run."""
    source = random.Random(language)
    parts = [start + vowel for start in "bdfgklmnprstvz" for vowel in "aeiou"]
    return ["".join(source.choices(parts, k=source.randint(1, 4))) for _ in range(count)]


def sentence(source: random.Random, known: Sequence[str], least: int, most: int) -> str:
    return " ".join(source.choices(known, k=source.randint(least, most))).capitalize()


def questions(count: int, seed: int) -> ParallelText:
    """Pairs as long as XQuAD's questions."""
    source = random.Random(f"{seed}/questions")
    own, other = words("own"), words("other")
    pairs = [
        (f"{sentence(source, own, 6, 16)}?", f"{sentence(source, other, 5, 15)}?")
        for _ in range(count)
    ]
    clusters = tuple(f"made-{number}" for number in range(count))
    return ParallelText(*map(tuple, zip(*pairs, strict=True)), clusters, "made-up questions")


def written(folder: Path, target: str, items: int, seed: int) -> Path:
    """Made-up items in the layout of COPA and XCOPA, as many of either language as are asked."""
    source = random.Random(f"{seed}/items")
    own, other = words("own"), words("other")
    for place, known, count in (
        ("copa/train.jsonl", own, 4),
        ("copa/val.jsonl", own, items),
        ("copa/test.jsonl", own, 4),
        (f"xcopa/{target}/val.{target}.jsonl", other, items),
        (f"xcopa/{target}/test.{target}.jsonl", other, 4),
    ):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for number in range(count):
            texts = {
                name: f"{sentence(source, known, 4, 9)}."
                for name in ("premise", "choice1", "choice2")
            }
            question = ("cause", "effect")[number % 2]
            row = texts | {"question": question, "idx": number, "label": number // 2 % 2}
            lines.append(json.dumps(row))
        path.write_text("\n".join(lines) + "\n")
    return folder


def random_model(text: ParallelText, task: Task, items: Sides) -> Loaded:
    """A random model in the shape of Gemma 3 270M (its published config.json)."""
    rendered = [task.render(item).input for side in items for item in side]
    tokenizer = made_tokenizer([*text.own, *text.other, *rendered])
    kinds = ["full_attention" if number % 6 == 5 else "sliding_attention" for number in range(18)]
    config = Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        layer_types=kinds,
        max_position_embeddings=32768,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return Loaded("random, in the shape of Gemma 3 270M", model, tokenizer, "0" * 64)


def made_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """Byte-level BPE of the texts."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<end>", "<begin>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<begin>", eos_token="<end>", pad_token="<end>"
    )


if __name__ == "__main__":
    main()
