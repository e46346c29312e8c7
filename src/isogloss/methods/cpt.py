"""CPT (Blau et al. 2024): the demonstrations of its prompt, and the loss on their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isogloss.demonstrations.choose import Demonstrations, Pool, draw_set
from isogloss.errors import ConfigError
from isogloss.packing import Batch
from isogloss.tasks.example import Example
from isogloss.tasks.examples import without_ids
from isogloss.tasks.splits import Split
from isogloss.tuning.context_prompt import ContextPrompt


def drawn_demonstrations(
    tune: ContextPrompt, context: Demonstrations, split: Split, *, seed: int
) -> tuple[Example, ...]:
    """The demonstration set of the prompt, drawn once from the training items.

    Raises:
        ConfigError: more demonstrations than there are.
    """
    held_out = {item.id for item in (*split.validation, *split.test)}
    settings = replace(context, count=tune.demonstrations)
    pool = Pool(split.dominant, split.target)
    return draw_set(pool, settings, excluded=held_out, seed=f"{seed}/prompt")


def without_targets(split: Split, drawn: Sequence[Example]) -> Split:
    """The split without items that stand in the prompt, nor their translations.

    Raises:
        ConfigError: no training item is left.
    """
    shown = {item.id for item in drawn}
    target = without_ids(split.target, shown)
    if not target:
        raise ConfigError(
            f"{len(drawn)} demonstrations stand in the prompt, and no other training item of the "
            "target language is left to learn from; lower --demonstrations or raise --share"
        )
    dominant = without_ids(split.dominant, shown)
    return replace(split, target=target, dominant=dominant)


@dataclass(frozen=True)
class PromptAnswer:
    """An answer inside the prompt: where it begins, its tokens, and what each of them counts."""

    start: int
    tokens: tuple[int, ...]
    weight: float


def prompt_answers(tune: ContextPrompt) -> tuple[PromptAnswer, ...]:
    """The answers of the prompt's demonstrations: the last counts decay, the one before decay^2.

    >>> tune = ContextPrompt(2, decay=0.5, tokens=(7, 8, 9, 6), kinds=(2, 4, 6, 8))
    >>> [(answer.start, answer.tokens, answer.weight) for answer in prompt_answers(tune)]
    [(1, (8,), 0.25), (3, (6,), 0.5)]
    """
    count = len(tune.answers)
    return tuple(
        PromptAnswer(
            span.start, tune.tokens[span.start : span.stop], tune.decay ** (count - number)
        )
        for number, span in enumerate(tune.answers)
    )


def with_prompt_answers(
    batch: Batch, marks: Tensor, answers: tuple[PromptAnswer, ...], vocabulary: int
) -> tuple[Batch, Tensor]:
    """The batch that predicts the prompt's answers too, and its marks of demonstrations.

    `answer_loss` then gives, for each target, the sum over its answer's n tokens and the prompt's
    N answer tokens, each with its weight (the target's is 1), divided by n + N: PEFT's CPT loss
    of one sequence. A prompt that several targets share stands for all of them.
    """
    assert not marks.any(), "the prompt holds all demonstrations"
    total = sum(len(answer.tokens) for answer in answers)
    lengths = torch.bincount(batch.answer, minlength=len(batch.weight))
    row_of = torch.zeros(len(lengths), dtype=torch.long)
    row_of[batch.answer] = batch.row
    predicted, weights = [], list((batch.weight * lengths / (lengths + total)).tolist())
    for row, begin in (batch.ids == vocabulary).nonzero().tolist():
        shares = float((1 / (lengths[row_of == row] + total)).sum())
        for answer in answers:
            first = begin + answer.start - 1
            predicted += [
                (row, first + place, token, len(weights))
                for place, token in enumerate(answer.tokens)
            ]
            weights.append(answer.weight * len(answer.tokens) * shares)
    assert len(weights) == len(lengths) + len(answers) * len(batch.ids), "one prompt in each row"
    more = torch.tensor(predicted, dtype=torch.long).unbind(1)
    own = (batch.row, batch.column, batch.token, batch.answer)
    row, column, token, which = (torch.cat(pair) for pair in zip(own, more, strict=True))
    added = replace(
        batch, row=row, column=column, token=token, answer=which, weight=torch.tensor(weights)
    )
    return added, torch.zeros(len(weights), dtype=torch.bool)
