"""What every refusal of a user's mistake has in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from isogloss.cli.main import main


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(
    capsys: pytest.CaptureFixture[str], watch: Path, line: Sequence[object], *said: str
) -> str:
    """Asserts exit code 2, the words on standard error, and nothing new below `watch`."""
    before = contents(watch)
    capsys.readouterr()
    code = main([str(word) for word in line])
    out, error = capsys.readouterr()
    assert code == 2, error
    assert out == ""
    assert error.startswith("isogloss: ")
    assert "Traceback" not in error
    for words in said:
        assert words in error, error
    assert contents(watch) == before, "nothing was written"
    return error
