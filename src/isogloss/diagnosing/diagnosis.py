"""`isogloss diagnose`: how close two languages are, which way they push, and what is read."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import final

from isogloss.alignment.attention import eager_attention
from isogloss.alignment.contribution import AttentionMeasure, measure_attention
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.diagnosing import states
from isogloss.diagnosing.cases import Case, Work, case_of
from isogloss.diagnosing.closeness import Closeness, closeness
from isogloss.diagnosing.direction import Asked, Direction, direction, items_of
from isogloss.diagnosing.states import State
from isogloss.diagnosing.verdict import Finding, findings
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import DataError, ModelError
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method
from isogloss.model.load import Loaded, load
from isogloss.model.prompt import vocabulary_rows
from isogloss.outcomes import short_model
from isogloss.runs import DIAGNOSIS, Json, write_json_file
from isogloss.settings import DiagnoseSettings
from isogloss.staging import episode_encoder

NO_LOSS = AnswerLoss("off")


@final
@dataclass(frozen=True)
class Measured:
    """What was measured of a model in one state; None where it was not asked for.

    With `shifted` the method moves target samples: so they were for gradients, but neither for
    sentences alone nor for attention.
    """

    closeness: Closeness
    direction: Direction | None
    attention: AttentionMeasure | None
    shifted: bool = False


@final
@dataclass(frozen=True)
class Diagnosis:
    """Two languages in a model: as it is, and in a run also as training left it."""

    model: str
    task: str | None
    source: str
    target: str
    method: str | None
    now: Measured
    after: Measured | None
    seed: int
    seconds: float
    folder: Path

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The numbers in words, of the model as it is."""
        return _findings(self.now, self.languages)

    @property
    def findings_after(self) -> tuple[Finding, ...]:
        """The same of the run's model, without what to expect of training it."""
        return _findings(self.after, self.languages)[:-2] if self.after else ()

    @property
    def languages(self) -> tuple[str, str]:
        """The codes, the dominant one first."""
        return self.source, self.target

    @property
    def content(self) -> Json:
        """All of it, as diagnosis.json has it."""
        fields = dataclasses.asdict(self)
        del fields["folder"]
        fields["findings"] = [dataclasses.asdict(each) for each in self.findings]
        fields["findings_after"] = [dataclasses.asdict(each) for each in self.findings_after]
        plain: Json = json.loads(json.dumps(fields))
        return plain

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(each.question)}</th><td><b>{escape(each.answer)}</b><br>"
            f"{escape(' '.join(each.sentences))}</td></tr>"
            for each in (*self.findings, *self.findings_after)
        )
        title = f"{self.model}: {self.source} to {self.target}"
        return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def _findings(measured: Measured, languages: tuple[str, str]) -> tuple[Finding, ...]:
    made = findings(measured.closeness, measured.direction, measured.attention, languages)
    if not measured.shifted:
        return made
    note = "The method's representation shift took no part in this."
    unshifted = ("close?", "demonstrations?")
    return tuple(
        replace(each, sentences=(*each.sentences, note))
        if each.question.endswith(unshifted)
        else each
        for each in made
    )


def diagnose(settings: DiagnoseSettings) -> Diagnosis:
    """Measure, and write diagnosis.json.

    Raises:
        IsoglossError: anything about the settings, data, model or run that stops the work.
    """
    begun = time.time()
    case = case_of(settings)
    opened = case.opened
    loaded = opened.load(settings.device) if opened else load(case.model, settings.loading)
    states.check_gradients(settings, opened)
    if case.work and settings.readers:
        with _advised(), eager_attention(loaded.model):
            pass  # refused before anything is measured
    # Before training no part of the run's stands in front: it has not been learnt yet.
    seen = _seen(settings, case, loaded, opened.method if opened else None, prompt_length=0)
    with states.found(settings, opened, loaded) as state:
        now = replace(seen, direction=_direction(settings, case, loaded, state))
    after = None
    if opened and opened.method.stages:
        with states.tuned(settings, opened, loaded) as state:
            after = _after(settings, case, loaded, state)
    found = Diagnosis(
        model=short_model(case.model),
        task=case.work.task.name if case.work else None,
        source=case.source,
        target=case.target,
        method=opened.method.name if opened else None,
        now=now,
        after=after,
        seed=settings.seed,
        seconds=round(time.time() - begun, 1),
        folder=case.folder,
    )
    write_json_file(case.folder / DIAGNOSIS, found.content)
    return found


def _after(settings: DiagnoseSettings, case: Case, loaded: Loaded, state: State) -> Measured:
    """What training left: its prompt stands in front of sentences and demonstrations too."""
    state.rest()
    seen = _seen(settings, case, loaded, state.method, state.prompt_length)
    pushed = _direction(settings, case, loaded, state)
    return replace(seen, direction=pushed, shifted=state.shifter is not None)


def _seen(
    settings: DiagnoseSettings,
    case: Case,
    loaded: Loaded,
    method: Method | None,
    prompt_length: int,
) -> Measured:
    """Closeness and attention, with so many vectors of a soft prompt in front."""
    text = case.text.sampled(settings.pairs, seed=settings.seed)
    close = closeness(
        loaded,
        Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), prompt_length),
        text,
        every_layer=settings.layers == "all",
        tolerance=settings.tolerance,
        seed=settings.seed,
    )
    read = None
    if case.work and settings.readers:
        episodes = _episodes(case, case.work, loaded, method, prompt_length)
        read = _attention(settings, case.work, loaded, episodes)
    return Measured(close, None, read)


def _direction(
    settings: DiagnoseSettings, case: Case, loaded: Loaded, state: State
) -> Direction | None:
    if case.work is None or not settings.items:
        return None
    split, method = case.work.split, state.method
    own, other = items_of(split.dominant, split.target, settings.items, seed=settings.seed)
    asked = Asked(
        language=case.source,
        dominant=own,
        target=other,
        unseen=case.unseen,
        pool=Pool(split.dominant, split.target),
        context=_drawn(method.context) if method else Demonstrations(0),
        loss=method.loss if method else NO_LOSS,
        seed=settings.seed,
    )
    episodes = _episodes(case, case.work, loaded, method, state.probe_length)
    return direction(loaded, episodes, asked, state.probed)


def _drawn(context: Demonstrations) -> Demonstrations:
    """The method's demonstrations, drawn at random: a ranking would need its encoder."""
    return dataclasses.replace(context, choose="random", encoder="")


def _attention(
    settings: DiagnoseSettings, work: Work, loaded: Loaded, episodes: EpisodeEncoder
) -> AttentionMeasure:
    split = work.split
    context = Demonstrations(settings.demonstrations, "mixed", test_sets=0)
    _, readers = items_of(split.dominant, split.target, settings.readers, seed=settings.seed)
    pool = Pool(split.dominant, split.target)
    groups = [
        group
        for item in readers
        for group in test_groups([item], pool, context, seed=settings.seed)
    ]
    fitting, _ = fit(groups, episodes, skip=True)
    if not fitting:
        raise DataError(
            f"no target fits the model's context with {settings.demonstrations} demonstrations; "
            "lower --demonstrations, or give --readers 0 to leave attention out"
        )
    encoder = episodes.encoder
    with _advised():
        return measure_attention(loaded.model, encoder, work.task, fitting, seed=settings.seed)


@contextmanager
def _advised() -> Iterator[None]:
    """Say which option leaves attention out, where a model does not show its own."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{error} (isogloss diagnose --readers 0 leaves attention out)") from None


def _episodes(
    case: Case, work: Work, loaded: Loaded, method: Method | None, prompt_length: int
) -> EpisodeEncoder:
    """The encoder of the method's episodes, with a soft prompt of this length in front."""
    record: Json = case.opened.record if case.opened else {"chat": False, "max_length": None}
    plain = episode_encoder(work.task, loaded, method, record["chat"], record["max_length"])
    encoder = dataclasses.replace(plain.encoder, prompt_length=prompt_length)
    return dataclasses.replace(plain, encoder=encoder)
