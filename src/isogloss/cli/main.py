"""The command line: settings are dataclasses, and the dataclasses are the commands."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro
from transformers.utils import logging

from isogloss.cli import (
    card,
    compare,
    diagnose,
    evaluate,
    lab,
    layers,
    listings,
    predict,
    quickstart,
    report,
    reproduce,
    tasks,
    train,
)
from isogloss.errors import DataError, IsoglossError
from isogloss.settings import (
    CompareSettings,
    DiagnoseSettings,
    EvaluateSettings,
    LayersSettings,
    PredictSettings,
    ReproduceSettings,
    TrainSettings,
)

Command = (
    Annotated[TrainSettings, tyro.conf.subcommand("train")]
    | Annotated[EvaluateSettings, tyro.conf.subcommand("evaluate")]
    | Annotated[PredictSettings, tyro.conf.subcommand("predict")]
    | Annotated[CompareSettings, tyro.conf.subcommand("compare")]
    | Annotated[LayersSettings, tyro.conf.subcommand("layers")]
    | Annotated[DiagnoseSettings, tyro.conf.subcommand("diagnose")]
    | Annotated[reproduce.ExperimentsSettings, tyro.conf.subcommand("experiments")]
    | Annotated[ReproduceSettings, tyro.conf.subcommand("reproduce")]
    | Annotated[report.ReportSettings, tyro.conf.subcommand("report")]
    | Annotated[card.CardCommand, tyro.conf.subcommand("card")]
    | Annotated[quickstart.QuickstartSettings, tyro.conf.subcommand("quickstart")]
    | Annotated[lab.LabSettings, tyro.conf.subcommand("lab")]
    | Annotated[tasks.TasksSettings, tyro.conf.subcommand("tasks")]
    | Annotated[listings.LanguagesSettings, tyro.conf.subcommand("languages")]
    | Annotated[listings.MethodsSettings, tyro.conf.subcommand("methods")]
    | Annotated[listings.ModelsSettings, tyro.conf.subcommand("models")]
    | Annotated[listings.RunsSettings, tyro.conf.subcommand("runs")]
)
VERBS: dict[type, Callable[[Any], None]] = {
    TrainSettings: train.run,
    EvaluateSettings: evaluate.run,
    PredictSettings: predict.run,
    CompareSettings: compare.run,
    DiagnoseSettings: diagnose.run,
    LayersSettings: layers.run,
    reproduce.ExperimentsSettings: reproduce.experiments,
    ReproduceSettings: reproduce.run,
    report.ReportSettings: report.run,
    card.CardCommand: card.run,
    quickstart.QuickstartSettings: quickstart.run,
    lab.LabSettings: lab.run,
    tasks.TasksSettings: tasks.run,
    listings.LanguagesSettings: listings.languages,
    listings.MethodsSettings: listings.methods,
    listings.ModelsSettings: listings.models,
    listings.RunsSettings: listings.runs,
}
USER_MISTAKE, STOPPED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; 0, or 2 for a user's mistake, or 130 when stopped by Ctrl-C."""
    _quiet()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["tasks"] and given[1:2] in ([], ["--json"]):
        given.insert(1, "list")
    try:
        settings = tyro.cli(
            Command,
            prog="isogloss",
            description="Carry what a language model knows of a task into another language.",
            args=given,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
        )
        VERBS[type(settings)](settings)
    except DataError as error:
        return _fail(str(error), count=len(error.problems))
    except IsoglossError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print(
            "stopped; an unfinished run goes on from its last whole checkpoint "
            "when the same command is given again",
            file=sys.stderr,
        )
        return STOPPED
    return 0


def _fail(message: str, count: int = 1) -> int:
    heading = f"isogloss: {count} problems:\n" if count > 1 else "isogloss: "
    print(f"{heading}{message}", file=sys.stderr)
    return USER_MISTAKE


def _quiet() -> None:
    """Keep the libraries' notes to developers away from people who only use a command."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")


def run() -> None:
    """The installed command."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
