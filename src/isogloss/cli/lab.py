"""`isogloss lab`: make a world, pre-train and probe its model, test the paper's claims in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from isogloss.cli.output import print_json, print_table, say
from isogloss.cli.reproduce import print_findings, print_reproduction, reproduction_content
from isogloss.errors import ConfigError
from isogloss.lab.fig2c import deviation_figure
from isogloss.lab.making import make
from isogloss.lab.mechanism import NAME, STEPS, TITLE, MechanismPlan, mechanism
from isogloss.lab.pretraining import PretrainSettings, pretrain_together
from isogloss.lab.probing import probe
from isogloss.lab.shipped import world_of
from isogloss.lab.studies import StudyName
from isogloss.lab.studying import SEEDS, StudyPlan, report_of, study
from isogloss.lab.tasks import TaskSizes
from isogloss.lab.world import World, WorldSettings
from isogloss.model.load import load
from isogloss.settings import check_positive


@dataclass(frozen=True)
class MakeSettings:
    """Write a world's model, tasks and parallel text as a user's folder."""

    out: Path
    """Folder to write."""
    world: WorldSettings = field(default_factory=WorldSettings)
    sizes: TaskSizes = field(default_factory=TaskSizes)
    training: PretrainSettings = field(default_factory=PretrainSettings)
    no_model: bool = False
    """Write tasks and text only."""
    processes: int = 1
    """Processes that pre-train the model together."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


@dataclass(frozen=True)
class PretrainCommand:
    """Pre-train the model of a world, or go on with it."""

    out: Path
    """Model folder to write."""
    world: WorldSettings = field(default_factory=WorldSettings)
    training: PretrainSettings = field(default_factory=PretrainSettings)
    processes: int = 1
    """Processes that share each update; `torchrun -m isogloss lab pretrain` does as well."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


@dataclass(frozen=True)
class StudySettings:
    """Test a claim of the paper in the lab: a grid of runs, its table, figures and report."""

    task: str = "span"
    """Task of the lab: choice, label, span, or with a rule that no document has: choice-new ..."""
    models: tuple[str, ...] = ()
    """Places of the dial (low, middle, high) or lab models' folders, of one world."""
    rows: tuple[str, ...] = ()
    """Only these rows, such as "CL-ICP (S)"."""
    shares: tuple[float, ...] = ()
    """Only these shares of the target language's items."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds: a run of every cell for each."""
    test_items: int = 2000
    """Test items of a language."""
    workers: int = 1
    """Processes that carry out runs at once."""
    out: Path | None = None
    """Folder of the grid (studies/NAME-TASK by default)."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        check_positive(self, ("test_items", "workers"))
        if not self.seeds:
            raise ConfigError("no seed: leave --seeds out, or give one or more")


@dataclass(frozen=True)
class Table2Settings(StudySettings):
    """Table 2 in the lab: methods by dial."""


@dataclass(frozen=True)
class Fig2cSettings(StudySettings):
    """Fig. 2c in the lab: direct transfer by cosine deviation."""


@dataclass(frozen=True)
class Fig5Settings(StudySettings):
    """Fig. 5 in the lab: methods by share of the target language's data."""


@dataclass(frozen=True)
class DemonstrationsSettings(StudySettings):
    """Table 3 in the lab: CL-ICP by kind and number of demonstrations."""


@dataclass(frozen=True)
class MechanismSettings:
    """Gradient alignment before and during learning, and by what the demonstrations are."""

    tasks: tuple[str, ...] = ("span", "label", "choice")
    """Tasks of the lab."""
    models: tuple[str, ...] = ()
    """Places of the dial (low, middle, high) or lab models' folders, of one world."""
    runs: tuple[Path, ...] = ()
    """Folders of studies, whose gains are met with the alignment before training."""
    steps: tuple[int, ...] = STEPS
    """Updates of the runs of CL-ICP and prompt-tuned MTL whose gradients are met."""
    kinds_only: bool = False
    """Leave these runs out."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds: each of these runs once for each."""
    items: int = 40
    """Items of each language whose gradients are met."""
    out: Path = Path("studies/mechanism")
    """Folder of all that is measured and trained."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        check_positive(self, ("items",))
        if not self.seeds:
            raise ConfigError("no seed: leave --seeds out, or give one or more")


@dataclass(frozen=True)
class ProbeSettings:
    """Score a lab model on questions that only demonstrations decide."""

    model: tyro.conf.Positional[Path]
    """A lab model's folder."""
    items: int = 2000
    """Questions for each shape, language and number of demonstrations."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        check_positive(self, ("items",))


NAMES: dict[type[StudySettings], StudyName] = {
    Table2Settings: "table2",
    Fig2cSettings: "fig2c",
    Fig5Settings: "fig5",
    DemonstrationsSettings: "demonstrations",
}
Command = (
    Annotated[MakeSettings, tyro.conf.subcommand("make")]
    | Annotated[PretrainCommand, tyro.conf.subcommand("pretrain")]
    | Annotated[ProbeSettings, tyro.conf.subcommand("probe")]
    | Annotated[Table2Settings, tyro.conf.subcommand("table2")]
    | Annotated[Fig2cSettings, tyro.conf.subcommand("fig2c")]
    | Annotated[Fig5Settings, tyro.conf.subcommand("fig5")]
    | Annotated[DemonstrationsSettings, tyro.conf.subcommand("demonstrations")]
    | Annotated[MechanismSettings, tyro.conf.subcommand("mechanism")]
)


@dataclass(frozen=True)
class LabSettings:
    """A synthetic world of languages in which alignment is a dial."""

    command: Annotated[Command, tyro.conf.OmitArgPrefixes]


def run(settings: LabSettings) -> None:
    """Carry out one of them."""
    command = settings.command
    if isinstance(command, StudySettings):
        run_study(command)
    elif isinstance(command, MechanismSettings):
        run_mechanism(command)
    elif isinstance(command, MakeSettings):
        make_world(command)
    elif isinstance(command, PretrainCommand):
        pretrain_model(command)
    else:
        probe_model(command)


def make_world(settings: MakeSettings) -> None:
    """Write the folder and say what is in it."""
    training = None if settings.no_model else settings.training
    made = make(
        settings.out,
        World(settings.world),
        settings.sizes,
        training,
        processes=settings.processes,
    )
    if not _speaks():
        return
    if settings.json:
        tasks = [str(path) for path in made.tasks]
        print_json({"tasks": tasks, "model": made.model and str(made.model), "record": made.record})
        return
    say(f"written to {settings.out}: {len(made.tasks)} tasks, parallel.tsv, documents.txt")
    for path in made.tasks:
        say(f"  {path}")
    if made.model:
        say(f"model: {made.model} ({made.record['parameters']} parameters)")
        say(f"next: isogloss train {made.tasks[0].parent} --model {made.model} --target b")


def pretrain_model(settings: PretrainCommand) -> None:
    """Pre-train and say where the model is."""
    world = World(settings.world)
    record = pretrain_together(world, settings.training, settings.out, settings.processes)
    if not _speaks():
        return
    if settings.json:
        print_json(record)
        return
    say(f"model: {settings.out} ({record['parameters']} parameters, {record['minutes']} minutes)")
    say(f"next: isogloss lab probe {settings.out}")


def probe_model(settings: ProbeSettings) -> None:
    """Print accuracy by shape, language and number of demonstrations."""
    rows = probe(load(str(settings.model)), world_of(settings.model), items=settings.items)
    if settings.json:
        print_json(rows)
        return
    columns = ("shape", "language", "demonstrations", "value", "low", "high", "items")
    print_table("accuracy on questions that only demonstrations decide", rows, columns)


def run_study(settings: StudySettings) -> None:
    """Carry out a study and print its tables and where its report is."""
    name = NAMES[type(settings)]
    plan = StudyPlan(
        task=settings.task,
        models=settings.models,
        rows=settings.rows,
        shares=settings.shares,
        seeds=settings.seeds,
        sizes=TaskSizes(test_items=settings.test_items),
        workers=settings.workers,
    )
    made = study(name, plan, settings.out or Path("studies") / f"{name}-{settings.task}")
    written = report_of(made)
    figure = deviation_figure(made) if name == "fig2c" else None
    if settings.json:
        print_json(reproduction_content(made) | {"report": str(written.page), **(figure or {})})
        return
    say(f"{made.experiment.title} (Section {made.experiment.section}), task {settings.task}")
    print_reproduction(made)
    if figure and figure["rows"]:
        print_table("cosine deviation and scores", figure["rows"], list(figure["rows"][0]))
        say(f"rank correlation over {figure['models']} models: {figure['said']}")
    say(f"report: {written.page}")


def run_mechanism(settings: MechanismSettings) -> None:
    """Measure, and print what was found."""
    plan = MechanismPlan(
        settings.tasks,
        settings.models,
        settings.runs,
        () if settings.kinds_only else settings.steps,
        settings.seeds,
        settings.items,
    )
    found = mechanism(plan, settings.out)
    print_findings(found, settings.out, (NAME, TITLE), as_json=settings.json)


def _speaks() -> bool:
    """Whether this is the one process of several (under torchrun) that prints."""
    return os.environ.get("RANK", "0") == "0"
