"""A model's answers to groups of items: options scored, spans generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import torch

from isogloss.demonstrations.choose import Group, chunks
from isogloss.encoding import EncodedSet, EncodedTarget
from isogloss.episodes import EpisodeEncoder
from isogloss.methods.method import Calibration
from isogloss.model.answer import answer_sums, generate, token_log_probabilities
from isogloss.model.attention import default_layout
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import compiled_front
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
    per UTF-8 `byte` of its text; with contextual `calibration`, less what the option gets without
    content. Answers do not depend on `batch_size` beyond float error.
    """

    normalisation: Normalisation = "sum"
    batch_size: int = 8
    max_new_tokens: int = 48
    calibration: Calibration = "none"


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

    A `shifter` is attached to the model already. Without a `title` no progress is shown.
    """
    if episodes.task.kind == "span":
        return _spans(loaded, episodes, groups, how, shifter, title=title)
    total = sum(len(group.targets) for group in groups)
    progress, predictions = Progress(title, total), []
    scorer = _Scorer(loaded, episodes, how, shifter)
    try:
        for group in groups:
            for targets in chunks(group.targets, how.batch_size):
                predictions += scorer.predictions(Group(group.demonstrations, targets))
                progress.advance(len(predictions))
    finally:
        progress.close()
    return predictions


CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021


@final
@dataclass(frozen=True)
class _Scorer:
    """Scores options; what they get without content is computed once for what it depends on."""

    loaded: Loaded
    episodes: EpisodeEncoder
    how: Answering
    shifter: Shifter | None
    priors: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)

    def predictions(self, group: Group) -> list[Prediction]:
        """The answers to a group's targets."""
        scores = self._scores(group)
        if self.how.calibration == "contextual":
            for number, example in enumerate(group.targets):
                prior = self._prior(group, example)
                scores[number] = [a - b for a, b in zip(scores[number], prior, strict=True)]
        return [
            self._best(example, own) for example, own in zip(group.targets, scores, strict=True)
        ]

    @torch.no_grad()
    def _scores(self, group: Group) -> list[list[float]]:
        """Of each target, each option's log-probability under the normalisation."""
        encoded = self.episodes.group(group)
        front = compiled_front(self.loaded.model, encoded.demonstrations.ids)
        batch, answers = pack(
            [encoded.behind(front.get_seq_length() if front is not None else 0)],
            layout=default_layout(self.loaded.model),
            options=True,
            dominant=self.episodes.task.dominant if self.shifter else None,
        )
        batch = batch.to(self.loaded.model.device)
        if self.shifter:
            self.shifter.meet(batch)
        values = token_log_probabilities(self.loaded.model, batch, front)
        sums = answer_sums(values, batch).tolist()
        scores: list[list[float]] = [[] for _ in group.targets]
        for found, value in zip(answers, sums, strict=True):
            scores[found.target].append(value)
        for number, target in enumerate(encoded.targets):
            lengths = self._lengths(group.targets[number], target)
            own = zip(scores[number], lengths, strict=True)
            scores[number] = [value / length for value, length in own]
        return scores

    def _lengths(self, example: Example, target: EncodedTarget) -> Sequence[int]:
        texts = self.episodes.task.render(example).options
        return {
            "sum": [1] * len(texts),
            "token": [len(ids) for ids in target.options],
            "byte": [len(text.encode()) for text in texts],
        }[self.how.normalisation]

    def _prior(self, group: Group, example: Example) -> list[float]:
        """The log of each option's mean share over inputs without content."""
        empty = [self._emptied(example, text) for text in CONTENT_FREE]
        solved = tuple((item.language, item.id) for item in group.demonstrations)
        key = (solved, example.language, tuple(sorted(empty[0].fields.items())), example.options)
        if key not in self.priors:
            scores = torch.tensor(self._scores(Group(group.demonstrations, tuple(empty))))
            self.priors[key] = scores.softmax(dim=1).mean(dim=0).log().tolist()
        return self.priors[key]

    def _emptied(self, example: Example, text: str) -> Example:
        """The example without content: its options and words of the wording stay."""
        words = self.episodes.task.wording(example.language).words
        fields = {
            name: value if name in example.options or value in words else text
            for name, value in example.fields.items()
        }
        return replace(example, fields=fields)

    def _best(self, example: Example, scores: Sequence[float]) -> Prediction:
        texts = self.episodes.task.render(example).options
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
    sequences = [front.ids + target.ids for front, target in prompts]
    even = len({len(ids) for ids in sequences}) == 1
    return generate(
        loaded.model,
        loaded.tokenizer,
        sequences,
        max_new_tokens=max_new_tokens,
        end=episodes.encoder.end,
        meet=meet,
        front=compiled_front(loaded.model, sequences[0]) if even else None,
    )


def span_text(episodes: EpisodeEncoder, ids: Sequence[int]) -> str:
    """Generated ids as the answer: without the end token, cut at the first line break."""
    kept = [token for token in ids if token < episodes.encoder.vocabulary]
    if kept and kept[-1] == episodes.encoder.end:
        kept = kept[:-1]
    text = str(episodes.encoder.tokenizer.decode(kept, skip_special_tokens=True))
    return text.lstrip("\n").partition("\n")[0].strip()
