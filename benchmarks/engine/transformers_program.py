"""CL-ICP on transformers alone, written well: a frozen base, a plain loop, logits of answers only.

The soft prompt stands before the sequences as embeddings, so only it gets a gradient. The output
head sees the answers' tokens and nothing else. At evaluation sequences of like length go together.
Demonstrations are not shared: that every sequence has its own is what this program stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.engine.meter import Meter
from benchmarks.engine.outcome import Answers, Learnt, text_of
from benchmarks.engine.peft_program import opened
from benchmarks.engine.work import EVALUATED_TOGETHER, NEW_TOKENS, Episode, Question, Work
from isogloss.tuning.adapter_files import WEIGHTS_FILE, read_prompt


def train(work: Work, meter: Meter) -> Learnt:
    """A plain loop over the work's updates."""
    model, _ = opened(work)
    model.requires_grad_(False)
    meter.watch(model)
    prompt = torch.nn.Parameter(work.start.to(model.device))
    optimizer = torch.optim.AdamW([prompt], lr=work.asked.learning_rate, weight_decay=0.0)
    total = len(work.updates)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (total - step) / total)
    losses = []
    with meter.timed():
        for update in work.updates:
            loss = episode_loss(model, prompt, update)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([prompt], 1.0)
            optimizer.step()
            decay.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    return Learnt(losses, prompt.detach().cpu())


def episode_loss(model: PreTrainedModel, prompt: Tensor, episodes: Sequence[Episode]) -> Tensor:
    """The mean over episodes of CE(y_t) + mean_j CE(y_dj), logits of answers only."""
    # The last token is only predicted.
    hidden = _hidden(model, prompt, [one.ids[:-1] for one in episodes])
    rows, columns, tokens, weights = [], [], [], []
    for row, one in enumerate(episodes):
        *learnt, own = one.answers
        for answer, share in [*((each, len(learnt)) for each in learnt), (own, 1)]:
            start, stop = answer
            rows += [row] * (stop - start)
            columns += range(len(prompt) + start - 1, len(prompt) + stop - 1)
            tokens += one.ids[start:stop]
            weights += [1 / (share * (stop - start))] * (stop - start)
    logits = model.get_output_embeddings()(hidden[rows, columns]).float()
    each = cross_entropy(logits, torch.tensor(tokens, device=logits.device), reduction="none")
    return (each * torch.tensor(weights, device=each.device)).sum() / len(episodes)


def _embedded(
    model: PreTrainedModel,
    prompt: Tensor,
    sequences: Sequence[Sequence[int]],
    *,
    left: bool = False,
) -> tuple[Tensor, Tensor]:
    """Prompt and sequences as padded embeddings, and their mask."""
    width = max(map(len, sequences))
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    mask = torch.zeros((len(sequences), len(prompt) + width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        shift = width - len(sequence) if left else 0
        ids[row, shift : shift + len(sequence)] = torch.tensor(sequence)
        mask[row, shift : shift + len(prompt) + len(sequence)] = 1
    vectors = model.get_input_embeddings()(ids.to(model.device))
    whole = torch.cat([prompt.to(vectors.dtype).expand(len(ids), -1, -1), vectors], dim=1)
    if left:  # padding, prompt, sequence
        for row, sequence in enumerate(sequences):
            pad = width - len(sequence)
            whole[row, pad : pad + len(prompt)] = prompt.to(whole.dtype)
    return whole, mask.to(model.device)


def _hidden(model: PreTrainedModel, prompt: Tensor, sequences: Sequence[Sequence[int]]) -> Tensor:
    """The last hidden states of prompt and sequences, padded on the right."""
    whole, mask = _embedded(model, prompt, sequences)
    decoder = model.get_decoder()
    found: Tensor = decoder(
        inputs_embeds=whole, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return found


def evaluate(work: Work, meter: Meter) -> Answers:
    """Options scored, or spans generated, in batches of like length."""
    model, tokenizer = opened(work)
    model.requires_grad_(False)
    meter.watch(model)
    prompt = read_prompt(work.run / "adapter" / WEIGHTS_FILE).to(model.device)
    with meter.timed(), torch.no_grad():
        if work.questions[0].options:
            return _scores(work, model, prompt)
        return _spans(work, model, prompt, tokenizer)


def _scores(work: Work, model: PreTrainedModel, prompt: Tensor) -> Answers:
    asked = [(one, place) for one in work.questions for place in range(len(one.options))]
    asked.sort(key=lambda pair: len(pair[0].ids) + len(pair[0].options[pair[1]]))
    scores = {one.id: [0.0] * len(one.options) for one in work.questions}
    for batch in _batches(asked):
        options = [one.options[place] for one, place in batch]
        sequences = [(*one.ids, *o[:-1]) for (one, _), o in zip(batch, options, strict=True)]
        hidden = _hidden(model, prompt, sequences)
        places = [
            (row, len(prompt) + len(one.ids) - 1 + at)
            for row, (one, _) in enumerate(batch)
            for at in range(len(options[row]))
        ]
        rows, columns = (list(side) for side in zip(*places, strict=True))
        logits = model.get_output_embeddings()(hidden[rows, columns]).float()
        tokens = torch.tensor([token for option in options for token in option])
        known = logits.log_softmax(-1).gather(1, tokens.to(logits.device)[:, None])[:, 0]
        for (one, place), values in zip(
            batch, known.split([len(option) for option in options]), strict=True
        ):
            scores[one.id][place] = float(values.sum())
    return Answers(scores=scores)


def _spans(
    work: Work, model: PreTrainedModel, prompt: Tensor, tokenizer: PreTrainedTokenizerBase
) -> Answers:
    texts, generated = {}, 0
    for batch in _batches(sorted(work.questions, key=lambda one: len(one.ids))):
        whole, mask = _embedded(model, prompt, [one.ids for one in batch], left=True)
        written = model.generate(
            inputs_embeds=whole,
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(work.stops),
            pad_token_id=tokenizer.pad_token_id,
        )
        for one, ids in zip(batch, written.tolist(), strict=True):
            texts[one.id], used = text_of(tokenizer, ids, work.stops)
            generated += used
    return Answers(texts=texts, generated=generated)


def _batches(asked: Sequence[Question]) -> Iterator[Sequence[Question]]:
    for start in range(0, len(asked), EVALUATED_TOGETHER):
        yield asked[start : start + EVALUATED_TOGETHER]
