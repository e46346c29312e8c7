"""CL-ICP as a user of PEFT would write it: prompt tuning, transformers' Trainer, full logits.

Every episode is one padded sequence, demonstrations and all. The loss is Isogloss' (CE(y_t) plus
the mean of the demonstrations' CE(y_dj), each the mean over its answer's tokens), which the
Trainer's own, a mean over all labelled tokens of a batch, cannot say; it is given as the Trainer's
`compute_loss_func`, reads the same labels, and costs the same logits.

Sequences are padded on the right: PEFT puts the prompt before the padding, so on the left it would
move positions. Generation needs padding on the left and no cache, which PEFT's prompt tuning gets
wrong with transformers 5.24; so spans agree with the others' only where nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from peft import PeftModel, PromptTuningConfig, TaskType, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from benchmarks.engine.meter import Meter
from benchmarks.engine.outcome import Answers, Learnt, text_of
from benchmarks.engine.work import EVALUATED_TOGETHER, NEW_TOKENS, Episode, Work

IGNORED = -100
Row = dict[str, list[int]]


def opened(work: Work) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(
        work.model, dtype=work.asked.format, attn_implementation="sdpa"
    )
    return model.to(work.asked.device).eval(), AutoTokenizer.from_pretrained(work.model)


def train(work: Work, meter: Meter) -> Learnt:
    """One Trainer run over the work's updates."""
    base, tokenizer = opened(work)
    tokenizer.padding_side = "right"
    meter.watch(base)
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM, num_virtual_tokens=work.asked.prompt_length
    )
    model = get_peft_model(base, config)
    prompt = model.prompt_encoder["default"].embedding.weight
    prompt.data.copy_(work.start)
    rows = [_row(episode) for update in work.updates for episode in update]
    with meter.timed():
        trainer = InOrder(
            model=model,
            args=_arguments(work),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(tokenizer),
            compute_loss_func=episode_loss,
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Learnt(losses, prompt.detach().float().cpu())


@final
class InOrder(Trainer):
    """The Trainer with the episodes in the order that all programs have."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def _arguments(work: Work) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work.folder / "peft"),
        per_device_train_batch_size=work.asked.targets,
        num_train_epochs=1,
        learning_rate=work.asked.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="epoch",
        seed=work.asked.seed,
        use_cpu=work.asked.device == "cpu",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _row(episode: Episode) -> Row:
    labels = [IGNORED] * len(episode.ids)
    for start, stop in episode.answers:
        labels[start:stop] = episode.ids[start:stop]
    return {
        "input_ids": list(episode.ids),
        "attention_mask": [1] * len(episode.ids),
        "labels": labels,
    }


def episode_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """The mean over rows of CE(y_t) + mean_j CE(y_dj), from full logits and plain labels.

    `labels`: (rows, tokens), -100 outside answers. The last answer of a row is y_t.
    """
    logits = outputs.logits[:, -labels.shape[1] :]  # without the soft prompt's
    each = cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        labels[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    weights = torch.tensor([token_weights(row) for row in labels.tolist()], device=each.device)
    return (each * weights[:, 1:].flatten()).sum() / len(labels)


def token_weights(labels: Sequence[int]) -> list[float]:
    """What each token's loss counts: 1 / length in y_t, 1 / (length * k) in demonstrations."""
    weights = [0.0] * len(labels)
    answers: list[list[int]] = []
    for place, label in enumerate(labels):
        if label != IGNORED:
            if place == 0 or labels[place - 1] == IGNORED:
                answers.append([])
            answers[-1].append(place)
    for number, places in enumerate(answers):
        answered = len(answers) - 1
        for place in places:
            last = number == answered
            weights[place] = 1 / (len(places) * (1 if last else answered))
    return weights


def evaluate(work: Work, meter: Meter) -> Answers:
    """Every option of every item as one sequence, or every item's span by `generate`."""
    base, tokenizer = opened(work)
    meter.watch(base)
    model = PeftModel.from_pretrained(base, work.run / "adapter").eval()
    with meter.timed(), torch.no_grad():
        if work.questions[0].options:
            return _scores(work, model, tokenizer)
        return _spans(work, model, tokenizer)


def _scores(work: Work, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> Answers:
    tokenizer.padding_side = "right"
    asked = [(one, option) for one in work.questions for option in one.options]
    scores: dict[str, list[float]] = {one.id: [] for one in work.questions}
    for start in range(0, len(asked), EVALUATED_TOGETHER):
        batch = asked[start : start + EVALUATED_TOGETHER]
        rows = [{"input_ids": [*one.ids, *option]} for one, option in batch]
        given = tokenizer.pad(rows, return_tensors="pt").to(model.device)
        logits = model(**given, use_cache=False).logits[:, -given["input_ids"].shape[1] :]
        known = logits.float().log_softmax(-1)
        for row, (one, option) in enumerate(batch):
            first = len(one.ids) - 1
            places = range(first, first + len(option))
            value = sum(known[row, at, token] for at, token in zip(places, option, strict=True))
            scores[one.id].append(float(value))
    return Answers(scores=scores)


def _spans(work: Work, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> Answers:
    tokenizer.padding_side = "left"
    texts, whole, generated = {}, [], 0
    for start in range(0, len(work.questions), EVALUATED_TOGETHER):
        batch = work.questions[start : start + EVALUATED_TOGETHER]
        rows = [{"input_ids": list(one.ids)} for one in batch]
        given = tokenizer.pad(rows, return_tensors="pt").to(model.device)
        width = given["input_ids"].shape[1]
        written = model.generate(
            **given,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            use_cache=False,
            eos_token_id=list(work.stops),
            pad_token_id=tokenizer.pad_token_id,
        )[:, width:]
        whole += [one.id for one in batch if len(one.ids) == width]
        for one, ids in zip(batch, written.tolist(), strict=True):
            texts[one.id], used = text_of(tokenizer, ids, work.stops)
            generated += used
    return Answers(texts=texts, generated=generated, whole=whole)
