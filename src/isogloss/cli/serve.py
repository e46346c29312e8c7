"""`isogloss serve`."""

from __future__ import annotations

import importlib.util
import os
import sys

from isogloss.cli.output import print_json, say
from isogloss.errors import ConfigError
from isogloss.serving.settings import ServeSettings

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def run(settings: ServeSettings) -> None:
    """Serve a run until it is told to stop."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"isogloss serve needs {' and '.join(missing)}: pip install 'isogloss[serve]'"
        )
    from isogloss.serving.running import serve  # its imports are those of the extra

    def ready(name: str, url: str) -> None:
        if settings.json:
            print_json({"run": settings.run, "model": name, "url": url})
        else:
            say(f"{name} is served at {url} (Ctrl-C stops)")
        sys.stdout.flush()

    ending = serve(settings, ready)
    if ending.unanswered:
        print(f"stopped; requests left unanswered: {ending.unanswered}", file=sys.stderr)
    if ending.busy:  # the model's thread cannot be interrupted, and would outlive the interpreter
        sys.stderr.flush()
        os._exit(0)
