"""A model's answers to groups of items: options scored, spans generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch

from isogloss.asking import Model, Place, chosen, runs
from isogloss.batching import Batching
from isogloss.demonstrations.choose import Group
from isogloss.encoding import EncodedTarget
from isogloss.episodes import EpisodeEncoder
from isogloss.methods.method import Calibration
from isogloss.model.load import Loaded
from isogloss.packing import EncodedGroup
from isogloss.progress import Progress
from isogloss.representation_shift import Shifter
from isogloss.settings import Normalisation
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


def reserved(episodes: EpisodeEncoder, how: Answering) -> EpisodeEncoder:
    """The encoder with room for what is generated, where the task's answers are."""
    span = episodes.task.kind == "span"
    return replace(episodes, reserve=how.max_new_tokens) if span else episodes


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

    A `shifter` is attached to the model already. Without a `title` no progress is shown. Where
    memory runs out, fewer targets are answered at once from there on, and that is said.

    Raises:
        ModelError: memory runs out with one target.
    """
    model = Model(loaded, episodes.task.dominant, shifter)
    encoded = [model.laid(episodes.group(group)) for group in groups]
    span = episodes.task.kind == "span"
    # A span is written in a row of its own: there two targets in one pass do not share their front.
    shared = 1 if span and model.keeps else None
    work = _Work(episodes, groups, encoded, how, model, shared)
    answered = (_Writer if span else _Scorer)(work).answered
    found: dict[Place, Prediction] = {}

    def of_run(run: Sequence[Place]) -> dict[Place, Prediction]:
        return dict(zip(run, answered(run), strict=True))

    progress = Progress(title, sum(len(group.targets) for group in groups))
    try:
        for predictions in runs(work.encoded, Batching(how.batch_size), of_run, shared=shared):
            found |= predictions
            progress.advance(len(found))
    finally:
        progress.close()
    return [found[place] for place in sorted(found)]


@dataclass(frozen=True)
class _Work:
    """What is to be answered, as it is and encoded, and by which model.

    `shared`: how many targets in one pass share their front, all of one group if not said.
    """

    episodes: EpisodeEncoder
    groups: Sequence[Group]
    encoded: Sequence[EncodedGroup]
    how: Answering
    model: Model
    shared: int | None

    def example(self, place: Place) -> Example:
        """A target as it was before it was encoded."""
        return self.groups[place.group].targets[place.target]

    def of(self, run: Sequence[Place]) -> list[EncodedGroup]:
        """The groups of a run; a front of more targets than share it in the pass is kept."""
        first = self.encoded[run[0].group]
        alone = run[0].group == run[-1].group
        if alone and len(first.targets) > (self.shared or len(run)):
            self.model.keep(first.demonstrations)
        return chosen(self.encoded, run)


CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021


@final
@dataclass(frozen=True)
class _Scorer:
    """Scores options; what they get without content is computed once for what it depends on."""

    work: _Work
    priors: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)

    def answered(self, run: Sequence[Place]) -> list[Prediction]:
        """The answers to a run's targets."""
        sums = self.work.model.options(self.work.of(run))
        return [self._best(place, own) for place, own in zip(run, sums, strict=True)]

    def _best(self, place: Place, sums: Sequence[float]) -> Prediction:
        """The option that is likeliest under the normalisation, less what it gets by itself."""
        example = self.work.example(place)
        target = self.work.encoded[place.group].targets[place.target]
        scores = self._normalised(example, target, sums)
        if self.work.how.calibration == "contextual":
            prior = self._prior(self.work.groups[place.group], example)
            scores = [a - b for a, b in zip(scores, prior, strict=True)]
        texts = self.work.episodes.task.render(example).options
        best = max(range(len(scores)), key=scores.__getitem__)
        return Prediction(
            example.id,
            example.language,
            example.options[best],
            texts[best].strip(),
            dict(zip(example.options, scores, strict=True)),
        )

    def _normalised(
        self, example: Example, target: EncodedTarget, sums: Sequence[float]
    ) -> list[float]:
        texts = self.work.episodes.task.render(example).options
        lengths = {
            "sum": [1] * len(texts),
            "token": [len(ids) for ids in target.options],
            "byte": [len(text.encode()) for text in texts],
        }[self.work.how.normalisation]
        return [value / length for value, length in zip(sums, lengths, strict=True)]

    def _prior(self, group: Group, example: Example) -> list[float]:
        """The log of each option's mean share over inputs without content."""
        empty = tuple(self._emptied(example, text) for text in CONTENT_FREE)
        solved = tuple((item.language, item.id) for item in group.demonstrations)
        key = (solved, example.language, tuple(sorted(empty[0].fields.items())), example.options)
        if key not in self.priors:
            encoded = self.work.episodes.group(Group(group.demonstrations, empty))
            found = zip(empty, encoded.targets, self.work.model.options([encoded]), strict=True)
            scores = torch.tensor([self._normalised(*each) for each in found])
            self.priors[key] = scores.softmax(dim=1).mean(dim=0).log().tolist()
        return self.priors[key]

    def _emptied(self, example: Example, text: str) -> Example:
        """The example without content: its options and words of the wording stay."""
        words = self.work.episodes.task.wording(example.language).words
        fields = {
            name: value if name in example.options or value in words else text
            for name, value in example.fields.items()
        }
        return replace(example, fields=fields)


@final
@dataclass(frozen=True)
class _Writer:
    """Writes spans."""

    work: _Work

    def answered(self, run: Sequence[Place]) -> list[Prediction]:
        """The answers to a run's targets."""
        work = self.work
        written = work.model.texts(
            work.of(run),
            end=work.episodes.encoder.end,
            max_new_tokens=work.how.max_new_tokens,
        )
        found = []
        for place, ids in zip(run, written, strict=True):
            example, text = work.example(place), span_text(work.episodes, ids)
            found.append(Prediction(example.id, example.language, text, text, {}))
        return found


def span_text(episodes: EpisodeEncoder, ids: Sequence[int]) -> str:
    """Generated ids as the answer: without the end token, cut at the first line break."""
    kept = [token for token in ids if token < episodes.encoder.vocabulary]
    if kept and kept[-1] == episodes.encoder.end:
        kept = kept[:-1]
    text = str(episodes.encoder.tokenizer.decode(kept, skip_special_tokens=True))
    return text.lstrip("\n").partition("\n")[0].strip()
