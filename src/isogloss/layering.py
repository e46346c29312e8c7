"""Where a model has two languages closest (Section 5.2): the layers of a shift, to be looked at."""

from __future__ import annotations

from pathlib import Path

from isogloss.corpus import LayerChoice, choose_from, sample_sentences
from isogloss.errors import ConfigError, DataError
from isogloss.languages import check_language
from isogloss.model.load import load
from isogloss.settings import LayersSettings
from isogloss.staging import episode_encoder
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split

FIGURES = (".png", ".svg")


def find_layers(settings: LayersSettings) -> LayerChoice:
    """The layers that a run of these settings would shift at, from its training items.

    Raises:
        IsoglossError: anything about the settings, data or model that stops the work.
    """
    if settings.plot is not None and settings.plot.suffix.lower() not in FIGURES:
        raise ConfigError(f"plot is '{settings.plot}'; give a file that ends in .png or .svg")
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    check_language(settings.target, task.languages, task.name)
    split = make_split(task, settings.target, seed=settings.seed, share=settings.share)
    loaded = load(settings.model, settings.loading)
    episodes = episode_encoder(task, loaded, None, False, None)
    choice = choose_from(
        loaded.model, sample_sentences(split, episodes, settings.target, seed=settings.seed)
    )
    if settings.plot is not None:
        draw(choice, settings.plot, title=f"{task.name}, {task.dominant} and {settings.target}")
    return choice


def draw(choice: LayerChoice, path: Path, *, title: str) -> None:
    """Write the distances as a figure, the chosen block shaded.

    Raises:
        DataError: no distance was measured, or the file cannot be written.
    """
    if not choice.distances:
        raise DataError(f"no distances to draw: {choice.how}")
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "isogloss"  # the same figure has the same bytes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(choice.to, choice.back, color="#0072b2", alpha=0.15, label="L_to to L_back")
    axes.plot(range(1, len(choice.distances) + 1), choice.distances, "o-", color="#0072b2")
    axes.set(xlabel="layer", ylabel="distance of the languages", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=160, metadata=metadata)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
