"""What may be set about serving a run: the command `isogloss serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from isogloss.demonstrations.choose import DemonstrationLanguages
from isogloss.errors import ConfigError
from isogloss.model.load import Dtype
from isogloss.settings import Normalisation, PredictSettings, check_positive


@dataclass(frozen=True)
class ServeSettings:
    """Answer over HTTP with a run: /v1/predict for task items, /v1/completions for text."""

    run: tyro.conf.Positional[str]
    """Run folder."""
    port: int = 8000
    """Port to listen at; 0 takes a free one and says which."""
    host: str = "127.0.0.1"
    """Address to listen at; one that other machines can reach needs a token."""
    token_file: Path | None = None
    """File with the token that requests must bring ($ISOGLOSS_TOKEN without it)."""
    batch_size: int = 8
    """Items computed together; answers do not depend on it."""
    wait_ms: int = 5
    """Longest time that a request waits for others to be computed with, in milliseconds."""
    queue: int = 64
    """Requests that may wait for the model; further ones are told to come again (429)."""
    max_items: int = 64
    """Most items, or prompts, of a request."""
    max_body_kb: int = 1024
    """Largest request body, in KiB."""
    max_tokens: int = 256
    """Most tokens that /v1/completions writes for a prompt."""
    timeout: float = 60
    """Seconds after which a request is given up (504)."""
    grace: float = 30
    """Seconds that a stop (SIGTERM, Ctrl-C) gives to requests that are under way."""
    demonstrations: Literal["from-run", "none"] | int = "from-run"
    """For /v1/predict: the run's demonstration sets, none, or this many."""
    demonstration_languages: DemonstrationLanguages | None = None
    """Languages of that many demonstrations (the run's by default)."""
    normalisation: Normalisation = "sum"
    """Score of a choice: its log-probability, or that per token or per UTF-8 byte."""
    max_new_tokens: int = 48
    """Longest span that /v1/predict writes, in tokens."""
    model: str | None = None
    """The run's model, where it has moved."""
    data: str | None = None
    """The task's data, where it has moved."""
    dtype: Dtype | None = None
    """Number format of the model (the run's by default)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    json: bool = False
    """Print one JSON object (run, model, url) when ready, and nothing else on standard output."""

    def __post_init__(self) -> None:
        names = ("batch_size", "queue", "max_items", "max_body_kb", "max_tokens", "max_new_tokens")
        check_positive(self, names)
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port is {self.port}; it must be from 0 to 65535")
        if self.wait_ms < 0:
            raise ConfigError(f"wait ms is {self.wait_ms}; it must be 0 or more")
        if not self.timeout > 0:
            raise ConfigError(f"timeout is {self.timeout}; it must be above 0")
        if not self.grace >= 0:
            raise ConfigError(f"grace is {self.grace}; it must be 0 or more")
        _ = self.predicting  # its own checks

    @property
    def predicting(self) -> PredictSettings:
        """How items are answered: what `isogloss predict` would be given."""
        return PredictSettings(
            run=self.run,
            demonstrations=self.demonstrations,
            demonstration_languages=self.demonstration_languages,
            normalisation=self.normalisation,
            batch_size=self.batch_size,
            max_new_tokens=self.max_new_tokens,
            model=self.model,
            data=self.data,
            dtype=self.dtype,
            device=self.device,
        )
