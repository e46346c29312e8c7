"""The command line: settings are dataclasses, and the dataclasses are the commands."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import tyro
from transformers.utils import logging

from isogloss import processes
from isogloss.cli import (
    card,
    compare,
    compile,
    diagnose,
    evaluate,
    export,
    lab,
    layers,
    listings,
    predict,
    quickstart,
    report,
    reproduce,
    serve,
    tasks,
    train,
)
from isogloss.errors import DataError, IsoglossError
from isogloss.serving.settings import ServeSettings
from isogloss.settings import (
    CompareSettings,
    CompileSettings,
    DiagnoseSettings,
    EvaluateSettings,
    ExportSettings,
    LayersSettings,
    PredictSettings,
    ReproduceSettings,
    TrainSettings,
)

Command = (
    Annotated[TrainSettings, tyro.conf.subcommand("train")]
    | Annotated[EvaluateSettings, tyro.conf.subcommand("evaluate")]
    | Annotated[PredictSettings, tyro.conf.subcommand("predict")]
    | Annotated[ServeSettings, tyro.conf.subcommand("serve")]
    | Annotated[CompareSettings, tyro.conf.subcommand("compare")]
    | Annotated[CompileSettings, tyro.conf.subcommand("compile")]
    | Annotated[LayersSettings, tyro.conf.subcommand("layers")]
    | Annotated[DiagnoseSettings, tyro.conf.subcommand("diagnose")]
    | Annotated[reproduce.ExperimentsSettings, tyro.conf.subcommand("experiments")]
    | Annotated[ReproduceSettings, tyro.conf.subcommand("reproduce")]
    | Annotated[report.ReportSettings, tyro.conf.subcommand("report")]
    | Annotated[card.CardCommand, tyro.conf.subcommand("card")]
    | Annotated[ExportSettings, tyro.conf.subcommand("export")]
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
    ServeSettings: serve.run,
    CompareSettings: compare.run,
    CompileSettings: compile.run,
    DiagnoseSettings: diagnose.run,
    LayersSettings: layers.run,
    reproduce.ExperimentsSettings: reproduce.experiments,
    ReproduceSettings: reproduce.run,
    report.ReportSettings: report.run,
    card.CardCommand: card.run,
    ExportSettings: export.run,
    quickstart.QuickstartSettings: quickstart.run,
    lab.LabSettings: lab.run,
    tasks.TasksSettings: tasks.run,
    listings.LanguagesSettings: listings.languages,
    listings.MethodsSettings: listings.methods,
    listings.ModelsSettings: listings.models,
    listings.RunsSettings: listings.runs,
}
SHARED = (["train"], ["lab", "make"], ["lab", "pretrain"])  # what several processes can do together
USER_MISTAKE, STOPPED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; 0, or 2 for a user's mistake, or 130 when stopped by Ctrl-C."""
    _quiet()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["tasks"] and given[1:2] in ([], ["--json"]):
        given.insert(1, "list")
    try:
        settings = _read(given)
        if not any(given[: len(words)] == words for words in SHARED):
            processes.alone(" ".join(given[:1]))
        VERBS[type(settings)](settings)
    except DataError as error:
        return _fail(str(error), count=len(error.problems))
    except IsoglossError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        if processes.is_main():
            print(
                "stopped; an unfinished run goes on from its last whole checkpoint "
                "when the same command is given again",
                file=sys.stderr,
            )
        return STOPPED
    return 0


def _read(given: Sequence[str]) -> Any:
    """The settings of a command line; of several processes the main one says what is wrong."""
    with ExitStack() as stack:
        if not processes.is_main():
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            return tyro.cli(
                Command,
                prog="isogloss",
                description="Carry what a language model knows of a task into another language.",
                args=given,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
            )
        except SystemExit as left:
            if left.code and not processes.is_main():
                processes.fall_silent()
            raise


def _fail(message: str, count: int = 1) -> int:
    if not processes.tells():
        processes.fall_silent()
        return USER_MISTAKE
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
