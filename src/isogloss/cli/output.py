"""What the commands print: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 160  # columns of a table that is written to a file or a pipe


def print_json(content: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table of the named columns; a column without any value is left out."""
    table = Table(title=title, title_justify="left")
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in shown))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def say(text: str) -> None:
    """A line for people on standard output, wrapped nowhere and read as plain text."""
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
