"""`python -m isogloss`."""

from __future__ import annotations

from isogloss.cli.main import run

if __name__ == "__main__":
    run()
