"""Losses over answers (Section 5.2, Appendix C): the target's answer and the demonstrations'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from isogloss.errors import ConfigError
from isogloss.model.answer import answer_lengths, answer_sums
from isogloss.packing import Batch

DemonstrationLoss = Literal["all", "last", "off"]


@dataclass(frozen=True)
class AnswerLoss:
    """CE(y_t) + weight * mean_j CE(y_dj), each CE the mean over that answer's tokens, in nats.

    `demonstrations` says which demonstrations' answers are learnt: `all` of the set, the `last`
    one, or none (`off`: the rows "- Demotrain" of Table 6).
    """

    demonstrations: DemonstrationLoss = "all"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.demonstrations not in ("all", "last", "off"):
            raise ConfigError(
                f"demonstration loss is '{self.demonstrations}'; it must be all, last or off"
            )
        object.__setattr__(self, "weight", float(self.weight))
        if not self.weight >= 0:
            raise ConfigError(f"demonstration weight is {self.weight}; it must be 0 or more")

    @property
    def places(self) -> tuple[int, ...] | None:
        """Which demonstrations' answers a batch predicts: None for all of them."""
        if self.demonstrations == "off" or self.weight == 0:
            return ()
        return None if self.demonstrations == "all" else (-1,)

    def counted(self, count: int) -> int:
        """Of `count` demonstrations, how many answers the loss averages."""
        places = self.places
        return count if places is None else min(len(places), count)


def answer_loss(
    log_probabilities: Tensor, batch: Batch, is_demonstration: Tensor, scale: float
) -> Tensor:
    """The sum of `AnswerLoss` over a batch's targets, a scalar in nats.

    `log_probabilities`: (P,), as `token_log_probabilities` gives. `is_demonstration`: (answers,).
    `scale`: weight / number of demonstration answers averaged. Divide by the number of targets
    for the mean.
    """
    means = -answer_sums(log_probabilities, batch) / answer_lengths(batch)
    weight = batch.weight.to(means.dtype)
    return (means * weight.where(~is_demonstration, weight * scale)).sum()
