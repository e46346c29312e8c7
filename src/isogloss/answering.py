"""A model's answers to groups of items: options scored, spans generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from isogloss.demonstrations.choose import Group, chunks
from isogloss.encoding import EncodedSet, EncodedTarget
from isogloss.episodes import EpisodeEncoder
from isogloss.model.answer import answer_sums, generate, token_log_probabilities
from isogloss.model.attention import default_layout
from isogloss.model.load import Loaded
from isogloss.packing import pack
from isogloss.progress import Progress
from isogloss.representation_shift import Shifter
from isogloss.settings import Normalisation
from isogloss.spans import left_padded
from isogloss.tasks.example import Example


@dataclass(frozen=True)
class Answering:
    """How answers are found.

    `normalisation` of an option's log-probability: its `sum` over tokens, that per `token`, or
    per UTF-8 `byte` of its text. Answers do not depend on `batch_size` beyond float error.
    """

    normalisation: Normalisation = "sum"
    batch_size: int = 8
    max_new_tokens: int = 48


@dataclass(frozen=True)
class Prediction:
    """What the model answered: an option's name, or a generated text.

    `text` is the answer as words; `log_probabilities` holds each option's log-probability under
    the normalisation, in nats.
    """

    id: str
    language: str
    prediction: str
    text: str
    log_probabilities: dict[str, float]

    def entry(self) -> dict[str, Any]:
        """As a line of predictions.jsonl."""
        scores = {"log_probabilities": self.log_probabilities} if self.log_probabilities else {}
        return {
            "id": self.id,
            "language": self.language,
            "prediction": self.prediction,
            "text": self.text,
            **scores,
        }


def answer(
    loaded: Loaded,
    episodes: EpisodeEncoder,
    groups: Sequence[Group],
    how: Answering,
    shifter: Shifter | None = None,
    *,
    title: str = "answering",
) -> list[Prediction]:
    """The predictions for all targets of the groups, in the groups' order.

    A `shifter` is attached to the model already.
    """
    if episodes.task.kind == "span":
        return _spans(loaded, episodes, groups, how, shifter, title=title)
    total = sum(len(group.targets) for group in groups)
    progress, predictions = Progress(title, total), []
    try:
        for group in groups:
            for targets in chunks(group.targets, how.batch_size):
                piece = Group(group.demonstrations, targets)
                predictions += _choices(loaded, episodes, piece, how.normalisation, shifter)
                progress.advance(len(predictions))
    finally:
        progress.close()
    return predictions


@torch.no_grad()
def _choices(
    loaded: Loaded,
    episodes: EpisodeEncoder,
    group: Group,
    normalisation: Normalisation,
    shifter: Shifter | None,
) -> list[Prediction]:
    encoded = episodes.group(group)
    batch, answers = pack(
        [encoded],
        layout=default_layout(loaded.model),
        options=True,
        dominant=episodes.task.dominant if shifter else None,
    )
    batch = batch.to(loaded.model.device)
    if shifter:
        shifter.meet(batch)
    sums = answer_sums(token_log_probabilities(loaded.model, batch), batch).tolist()
    scores: list[list[float]] = [[] for _ in group.targets]
    for found, value in zip(answers, sums, strict=True):
        scores[found.target].append(value)
    return [
        _best(episodes, example, target, own, normalisation)
        for example, target, own in zip(group.targets, encoded.targets, scores, strict=True)
    ]


def _best(
    episodes: EpisodeEncoder,
    example: Example,
    target: EncodedTarget,
    sums: Sequence[float],
    normalisation: Normalisation,
) -> Prediction:
    texts = episodes.task.render(example).options
    lengths = {
        "sum": [1] * len(texts),
        "token": [len(ids) for ids in target.options],
        "byte": [len(text.encode()) for text in texts],
    }[normalisation]
    scores = [value / length for value, length in zip(sums, lengths, strict=True)]
    place = max(range(len(scores)), key=scores.__getitem__)
    return Prediction(
        example.id,
        example.language,
        example.options[place],
        texts[place].strip(),
        dict(zip(example.options, scores, strict=True)),
    )


def _spans(
    loaded: Loaded,
    episodes: EpisodeEncoder,
    groups: Sequence[Group],
    how: Answering,
    shifter: Shifter | None,
    *,
    title: str,
) -> list[Prediction]:
    work: list[tuple[Example, EncodedSet, EncodedTarget]] = []
    for group in groups:
        encoded = episodes.group(group)
        for example, target in zip(group.targets, encoded.targets, strict=True):
            work.append((example, encoded.demonstrations, target))
    order = sorted(range(len(work)), key=lambda n: len(work[n][1].ids) + len(work[n][2].ids))
    written: dict[int, str] = {}
    progress = Progress(title, len(work))
    try:
        for start in range(0, len(order), how.batch_size):
            places = order[start : start + how.batch_size]
            prompts = [work[place][1:] for place in places]
            ids = _continued(loaded, episodes, prompts, how.max_new_tokens, shifter)
            for place, tokens in zip(places, ids, strict=True):
                written[place] = span_text(episodes, tokens)
            progress.advance(len(written))
    finally:
        progress.close()
    return [
        Prediction(example.id, example.language, written[place], written[place], {})
        for place, (example, _, _) in enumerate(work)
    ]


def _continued(
    loaded: Loaded,
    episodes: EpisodeEncoder,
    prompts: Sequence[tuple[EncodedSet, EncodedTarget]],
    max_new_tokens: int,
    shifter: Shifter | None,
) -> list[tuple[int, ...]]:
    """The ids generated after each prompt."""
    meet = None
    if shifter:
        spans = left_padded(prompts, episodes.task.dominant)
        meet = partial(shifter.meet_prompts, spans)
    return generate(
        loaded.model,
        loaded.tokenizer,
        [front.ids + target.ids for front, target in prompts],
        max_new_tokens=max_new_tokens,
        end=episodes.encoder.end,
        meet=meet,
    )


def span_text(episodes: EpisodeEncoder, ids: Sequence[int]) -> str:
    """Generated ids as the answer: without the end token, cut at the first line break."""
    kept = [token for token in ids if token < episodes.encoder.vocabulary]
    if kept and kept[-1] == episodes.encoder.end:
        kept = kept[:-1]
    text = str(episodes.encoder.tokenizer.decode(kept, skip_special_tokens=True))
    return text.lstrip("\n").partition("\n")[0].strip()
