"""The way in that the engine's commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from isogloss import IsoglossError

S = TypeVar("S")


def run(main: Callable[[S], None], settings: type[S]) -> None:
    """`main` on what the command line says; an error of ours is a line, and exit code 2."""
    try:
        main(tyro.cli(settings))
    except IsoglossError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
