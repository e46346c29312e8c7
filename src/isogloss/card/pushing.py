"""Upload of what a run learnt, with its card, to a repository of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from isogloss.card.facts import hub_id
from isogloss.card.writing import CARD
from isogloss.errors import ConfigError, RunError
from isogloss.runs import finished_run, read_json_file

# The error of its HTTP library, which is httpx or httpx2 by its version.
TRANSPORT: type[Exception] = next(one for one in HfHubHTTPError.__bases__ if one is not OSError)
CONFIG = "adapter_config.json"


def check_repository(name: str) -> None:
    """Refuse a name that no repository can have, and an upload without a token.

    Raises:
        ConfigError: the name.
        RunError: there is no token.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(
            f"--push is '{name}'; it must be NAME or OWNER/NAME ({str(error).rstrip('.')})"
        ) from None
    if not get_token():
        raise RunError(
            "no token for the hub; set the variable HF_TOKEN, or log in once with `hf auth login`"
        )


def push(folder: str | Path, name: str, *, base_model: str | None, private: bool) -> str:
    """Upload a finished run's adapter and card in one commit; gives the repository's address.

    The repository is made if there is none; `private` says how. Only the files that training wrote
    and the card go there.

    Raises:
        ConfigError: no repository can have this name.
        RunError: the run is not finished, or the hub cannot be reached or refuses.
    """
    check_repository(name)
    run = finished_run(folder)
    source = base_model or hub_id(run.record["source"]["model"])
    base = source or Path(run.record["source"]["model"]).name
    files = [run.adapter / file for file in (*run.record["adapter"], CARD)]
    api = HfApi()
    try:
        place = api.create_repo(name, private=private or None, exist_ok=True)
        api.create_commit(
            place.repo_id, list(_additions(files, base)), commit_message=f"Isogloss run {run.name}"
        )
    except HfHubHTTPError as error:
        raise RunError(f"the hub refuses the upload to '{name}': {_reason(error)}") from None
    except (TRANSPORT, OSError) as error:
        raise RunError(
            f"cannot reach the hub at {api.endpoint} for '{name}': {_reason(error)}; nothing or "
            "only a part was uploaded, so give the same command again"
        ) from None
    except ValueError as error:  # the hub's check of the card's front matter
        raise RunError(f"the hub refuses the card of '{name}': {_reason(error)}") from None
    return str(place)


def _additions(files: list[Path], base: str) -> Iterator[CommitOperationAdd]:
    for path in files:
        content = _public(path, base) if path.name == CONFIG else path
        yield CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=content)


def _public(path: Path, base: str) -> bytes:
    """An adapter's configuration that names the base model, and no folder of this machine."""
    config = read_json_file(path) | {"base_model_name_or_path": base}
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(error).__name__
