"""Whether the programs did the same work: losses, learnt prompts and answers, within tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Measured = Mapping[str, Any]  # what `program` writes


@dataclass(frozen=True)
class Tolerance:
    """How far programs may be apart.

    `first` and `loss`: of the first update's loss and of any, relative. `prompt`: of how far the
    soft prompt moved, relative. `score`: of an option's log-probability, in nats. `spans`: the
    share of equal spans that there must be.
    """

    first: float
    loss: float
    prompt: float
    score: float
    spans: float


# Rounding of the first update's loss is that of the format; with SmolLM2's own weights float32
# comes within 2e-5 of float64 (transformers 1.8e-5 off, Isogloss 1.2e-6). Later ones carry Adam's
# steps, which make small gradients, and so their rounding, as large as great ones.
TOLERANCES = {
    "float32": Tolerance(first=5e-5, loss=1e-3, prompt=0.02, score=1e-3, spans=0.9),
    "bfloat16": Tolerance(first=2e-2, loss=5e-2, prompt=0.5, score=0.25, spans=0.5),
}


def disagreements(
    name: str, found: Measured, own: Measured, dtype: str, prompts: Sequence[Tensor]
) -> list[str]:
    """What a program came to otherwise than Isogloss, in sentences; none where they agree.

    `prompts`: the start, the program's and Isogloss'.
    """
    allowed = TOLERANCES[dtype]
    return [
        *_losses(name, found["losses"], own["losses"], allowed),
        *_prompts(name, prompts, allowed),
        *_scores(name, found["answers"]["scores"], own["answers"]["scores"], allowed),
        *_spans(name, found["answers"], own["answers"]["texts"], allowed),
    ]


def _losses(
    name: str, found: Sequence[float], own: Sequence[float], allowed: Tolerance
) -> Iterator[str]:
    if len(found) != len(own):
        yield f"{name} made {len(found)} updates and isogloss {len(own)}; expected the same number"
    for number, (one, other) in enumerate(zip(found, own, strict=False), start=1):
        most = allowed.first if number == 1 else allowed.loss
        if not abs(one - other) <= most * abs(other):
            yield (
                f"the loss of update {number} is {one:.6f} by {name} and {other:.6f} by isogloss; "
                f"expected at most {most:g} of it between them"
            )


def _prompts(name: str, prompts: Sequence[Tensor], allowed: Tolerance) -> Iterator[str]:
    start, found, own = prompts
    apart = float((found - own).norm() / (own - start).norm())
    if not apart <= allowed.prompt:
        yield (
            f"the prompts learnt by {name} and isogloss are {apart:.4f} of the way from the start "
            f"apart; expected at most {allowed.prompt:g}"
        )


def _scores(
    name: str,
    found: Mapping[str, Sequence[float]],
    own: Mapping[str, Sequence[float]],
    allowed: Tolerance,
) -> Iterator[str]:
    if set(found) != set(own):
        yield f"{name} scored {len(found)} items and isogloss {len(own)}; expected the same items"
        return
    for item, values in own.items():
        apart = max(abs(a - b) for a, b in zip(values, found[item], strict=True))
        if not apart <= allowed.score:
            yield (
                f"item '{item}': an option's log-probability by {name} and isogloss is {apart:.5f} "
                f"apart; expected at most {allowed.score:g}"
            )


def _spans(
    name: str, found: Mapping[str, Any], own: Mapping[str, str], allowed: Tolerance
) -> Iterator[str]:
    """Spans of the items that the program stands for: PEFT's, those without padding."""
    texts = found["texts"]
    if set(texts) != set(own):
        yield f"{name} answered {len(texts)} items and isogloss {len(own)}; expected the same"
        return
    judged = found["whole"] or list(texts)
    same = sum(texts[item] == own[item] for item in judged)
    if same < allowed.spans * len(judged):
        yield (
            f"{same} of {len(judged)} spans by {name} are isogloss'; expected at least "
            f"{allowed.spans:.0%}"
        )
