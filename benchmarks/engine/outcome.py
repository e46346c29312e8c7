"""What a program's training and evaluation come to, for the programs to be held together by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Learnt:
    """The loss of every update, in nats, and the soft prompt that came of it, (m, width)."""

    losses: Sequence[float]
    prompt: Tensor


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of every item's options, or the text that was generated for it.

    `generated` tokens in all. `whole`: the items whose spans a program stands for; all by default.
    """

    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    generated: int = 0
    whole: Sequence[str] = ()


def text_of(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Sequence[int]
) -> tuple[str, int]:
    """Generated ids as an answer: up to the first stop or line break; and how many were needed."""
    ended = [place for place, token in enumerate(ids) if token in stops]
    used = ids[: ended[0] + 1] if ended else ids
    text = str(tokenizer.decode(used, skip_special_tokens=True))
    return text.lstrip("\n").partition("\n")[0].strip(), len(used)
