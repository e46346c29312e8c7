"""CL-ICP by Isogloss as a user runs it: `isogloss.train` and `isogloss.evaluate`.

Both load the model, plan and write a run folder too. Only their inner work is timed, as in the
other programs: the training loop with its log and checkpoint, and the answering of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import isogloss
from benchmarks.engine.meter import Meter
from benchmarks.engine.outcome import Answers, Learnt
from benchmarks.engine.work import EVALUATED_TOGETHER, FIRST_RUN, NEW_TOKENS, Work
from isogloss import Loaded, evaluating, finished, placing, training
from isogloss.model import products
from isogloss.tuning.adapter_files import WEIGHTS_FILE, read_prompt


@contextmanager
def watched(module: ModuleType, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """A function of a module called through `around(function, ...)`; undone at the end."""
    own = getattr(module, name)
    setattr(module, name, lambda *given, **named: around(own, *given, **named))
    try:
        yield
    finally:
        setattr(module, name, own)


def train(work: Work, meter: Meter) -> Learnt:
    """The run of `isogloss.train`; the first one is kept for the evaluations."""
    first = work.folder / FIRST_RUN
    out = work.folder / "run-again" if first.is_dir() else first
    with (
        watched(products, "torch_is_slow", lambda _: work.asked.quick),
        watched(placing, "load", _loading(meter)),
        watched(training, "learn", _timing(meter)),
    ):
        run = isogloss.train(**work.settings(out), force=True)
    losses = [entry["loss"] for entry in run.log if "loss" in entry]
    return Learnt(losses, read_prompt(run.adapter / WEIGHTS_FILE))


def evaluate(work: Work, meter: Meter) -> Answers:
    """The predictions of `isogloss.evaluate` on the first run."""
    with (
        watched(products, "torch_is_slow", lambda _: work.asked.quick),
        watched(finished, "load", _loading(meter)),
        watched(evaluating, "answer", _timing(meter)),
    ):
        isogloss.evaluate(
            work.run,
            batch_size=EVALUATED_TOGETHER,
            max_new_tokens=NEW_TOKENS,
            device=work.asked.device,
            force=True,
        )
    entries = isogloss.open_run(work.run).predictions
    if work.questions[0].options:
        scores = {one["id"]: list(one["log_probabilities"].values()) for one in entries}
        return Answers(scores=scores)
    return Answers(texts={one["id"]: one["prediction"] for one in entries})


def _loading(meter: Meter) -> Callable[..., Loaded]:
    def around(load: Callable[..., Loaded], *given: Any, **named: Any) -> Loaded:
        loaded = load(*given, **named)
        meter.watch(loaded.model)
        return loaded

    return around


def _timing(meter: Meter) -> Callable[..., Any]:
    def around(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        with meter.timed():
            return function(*given, **named)

    return around
