"""What an export is held against: prompts of the run's test items, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import DataError, ModelError
from isogloss.finished import Opened
from isogloss.tasks.example import Example, Rendered

ITEMS = 16  # test items whose prompts are tokenised again
COMPUTED = 4  # of them are passed through the model
KEPT = 8  # last tokens of a prompt whose logits are compared
TOLERANCE = 1e-4  # of the greatest logit, in float32


@dataclass(frozen=True)
class Trial:
    """One test item's prompt in two parts: begin token with demonstrations, and the item.

    `front` and `question` are the text, without the soft prompt; `front_ids`, with it, and
    `question_ids` are the run's own.
    """

    front: str
    question: str
    front_ids: tuple[int, ...]
    question_ids: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole prompt's."""
        return self.front_ids + self.question_ids


@dataclass(frozen=True)
class Trials:
    """Prompts of test items, and the demonstrations of the first.

    `begin` is the begin token's name where the prompts have one behind the soft prompt. `question`
    is an item's part of a prompt with the fields of the task's wording in braces.
    """

    prompts: tuple[Trial, ...]
    begin: str
    demonstrations: tuple[Example, ...]
    question: str


@dataclass(frozen=True)
class Checked:
    """What the exported model's logits came to beside the run's own.

    `difference` is the greatest one of an ordinary token's logit, `greatest` the greatest logit.
    `share` is the greatest probability that all added tokens had together, and `first` how often
    one of them had the greatest logit, of `positions`.
    """

    difference: float
    greatest: float
    share: float
    first: int
    positions: int


def trials(opened: Opened, episodes: EpisodeEncoder) -> Trials:
    """Prompts of the first test items, with the run's demonstrations.

    Raises:
        DataError: none of them fits the model's context.
    """
    context, record = opened.method.context, opened.record
    items = opened.split.test[:ITEMS]
    groups = test_groups(items, opened.pool(context), context, seed=record["seed"])
    groups, _ = fit(groups, episodes, skip=True)
    if not groups:
        raise DataError(
            f"none of the first {len(items)} test items fits the model's context with its "
            "demonstrations, so an export could not be checked"
        )
    made, render = [], opened.task.render
    for group in groups:
        solved = [render(example) for example in group.demonstrations]
        front, encoded = episodes.encoder.text(solved), episodes.group(group)
        for example, target in zip(group.targets, encoded.targets, strict=True):
            whole = episodes.encoder.text(solved, render(example))
            question = whole.removeprefix(front)
            made.append(Trial(front, question, encoded.demonstrations.ids, target.ids))
    wording = opened.task.wording(record["target"])
    blank = Rendered("", record["target"], wording.input, "")
    first = groups[0].demonstrations
    front = made[0].front
    question = episodes.encoder.text([render(one) for one in first], blank).removeprefix(front)
    return Trials(tuple(made), episodes.encoder.text([]), first, question)


def compare(wanted: Sequence[Tensor], found: Sequence[Tensor], added: Sequence[int]) -> Checked:
    """The run's own logits beside the exported model's, which has rows for `added` tokens too."""
    first = positions = 0
    difference = greatest = share = 0.0
    for own, other in zip(wanted, found, strict=True):
        ordinary = sorted(set(range(own.shape[1])) - set(added))
        difference = max(
            difference, float((own - other[:, : own.shape[1]])[:, ordinary].abs().max())
        )
        greatest = max(greatest, float(own.abs().max()))
        positions += len(own)
        if added:
            share = max(share, float(other.softmax(dim=1)[:, list(added)].sum(dim=1).max()))
            first += int(torch.isin(other.argmax(dim=1), torch.tensor(list(added))).sum())
    return Checked(difference, greatest, share, first, positions)


def check_logits(checked: Checked, dtype: torch.dtype) -> None:
    """Refuse an export in float32 that does not compute what the run computes.

    In formats of 16 bits rounding alone makes a difference, which is reported.

    Raises:
        ModelError: the logits differ.
    """
    allowed = TOLERANCE * max(1.0, checked.greatest)
    if dtype == torch.float32 and not checked.difference <= allowed:
        raise ModelError(
            f"the exported model's logits differ from the run's by {checked.difference:.2g} "
            f"(at most {allowed:.2g} is allowed), so nothing was written; "
            "`isogloss predict` answers with the run"
        )
