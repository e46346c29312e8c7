"""Run folders: what happened, written so that a crash loses nothing that was whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from isogloss.errors import RunError

RECORD, SCORES, PREDICTIONS = "run.json", "scores.json", "predictions.jsonl"
LOG, DEMONSTRATIONS, ADAPTER = "log.jsonl", "demonstrations.jsonl", "adapter"
COMPILED = "compiled.json"  # what `isogloss compile` writes beside a compiled run's record
DIAGNOSIS = "diagnosis.json"  # what `isogloss diagnose` leaves in a folder
CLAIM = ".claim"  # held by the process that writes the folder
Json = dict[str, Any]


@final
@dataclass(frozen=True)
class Run:
    """One training run's folder.

    It holds run.json (everything that decides the numbers, and whether the run is finished),
    adapter/, log.jsonl, demonstrations.jsonl, and after evaluation predictions.jsonl and
    scores.json.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def record(self) -> Json:
        """The content of run.json."""
        return read_json_file(self.folder / RECORD)

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return bool(self.record.get("finished"))

    @property
    def adapter(self) -> Path:
        """The folder of what was learnt: an adapter in PEFT's format, or a whole model.

        A compiled run's is the run's folder itself.
        """
        compiled = (self.folder / COMPILED).is_file()
        return self.folder if compiled else self.folder / ADAPTER

    @property
    def scores(self) -> Json | None:
        """The content of scores.json, or None before an evaluation."""
        path = self.folder / SCORES
        return read_json_file(path) if path.is_file() else None

    @property
    def log(self) -> list[Json]:
        """The training log, one entry a logged step."""
        return read_lines(self.folder / LOG)

    @property
    def predictions(self) -> list[Json]:
        """The predictions of the main evaluation, one entry an item."""
        return read_lines(self.folder / PREDICTIONS)

    def summary(self) -> Json:
        """One line on the run, for lists: name, task, languages, method, model, seed and score."""
        record, scores = self.record, self.scores or {}
        return {
            "name": self.name,
            "folder": str(self.folder),
            "task": record["task"]["name"],
            "target": record["target"],
            "method": record["method"]["name"],
            "model": record["source"]["model"],
            "seed": record["seed"],
            "finished": record["finished"],
            "metric": scores.get("metric"),
            "value": scores.get("value"),
            "low": scores.get("low"),
            "high": scores.get("high"),
        }

    def to_frame(self) -> Any:
        """The main evaluation's predictions as a pandas frame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.predictions)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td>{'' if value is None else value}</td></tr>"
            for name, value in self.summary().items()
        )
        return f"<table>{rows}</table>"


NEEDED = {
    *("task", "target", "seed", "share", "limit", "method", "chat", "max_length", "model"),
    *("data", "source", "finished", "adapter", "notes"),
}  # what evaluation and prediction read of run.json


def open_run(folder: str | Path) -> Run:
    """An existing run folder.

    Raises:
        RunError: there is no such folder, or it is not a run's.
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError(f"no such run folder: {path}; `isogloss runs` lists those there are")
    if not (path / RECORD).is_file():
        raise RunError(f"{path} is not a run folder: it holds no {RECORD}")
    record = read_json_file(path / RECORD)
    missing = NEEDED - set(record)
    if missing:
        raise RunError(f"{path / RECORD}: found no {', '.join(sorted(missing))}; expected a run's")
    return Run(path)


def finished_run(folder: str | Path) -> Run:
    """An existing run folder whose training came to its end.

    Raises:
        RunError: also where training is not finished, or the adapter changed since.
    """
    run = open_run(folder)
    if not run.finished:
        raise RunError(f"{run.folder} is not finished; give its training command again to go on")
    for name, digest in run.record["adapter"].items():
        path = run.adapter / name
        if not path.is_file():
            raise RunError(f"no such adapter file: {path}; the run must be trained again (--force)")
        if file_digest(path) != digest:
            raise RunError(
                f"{path}: found a file that is damaged or was changed after training "
                "(its SHA-256 is not the one in run.json); train again with --force"
            )
    return run


def list_runs(root: str | Path) -> list[Run]:
    """The runs of a folder, in order of name; folders that are not runs are passed over."""
    return [Run(path.parent) for path in sorted(Path(root).glob(f"*/{RECORD}"))]


def key_of(content: Mapping[str, Any]) -> str:
    """The SHA-256 of all that decides a run's numbers."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def lines_key(entries: Iterable[Mapping[str, Any]]) -> str:
    """The SHA-256 of what a JSON-lines file with these entries would hold."""
    digest = hashlib.sha256()
    for line in each_line(entries):
        digest.update(line.encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_json_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_together({path: json_text(content)})


def write_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file whole or not at all."""
    write_together({path: each_line(entries)})


@contextmanager
def growing_lines(path: Path) -> Iterator[Callable[[Iterable[Mapping[str, Any]]], None]]:
    """A JSON-lines file that entries are added to as they come; `NAME.part` until it is whole.

    Where the work is stopped, that file stays with what was added, and it is said.
    """
    part = path.with_name(f"{path.name}.part")
    added = False

    def add(entries: Iterable[Mapping[str, Any]]) -> None:
        nonlocal added
        try:
            if not added:
                path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("a" if added else "w", encoding="utf-8") as stream:
                stream.writelines(each_line(entries))
        except OSError as error:
            raise _cannot_write(part, error) from error
        added = True

    try:
        yield add
        add([])
        _replace(path, part)
    except BaseException:
        if added:
            print(f"what was done before is in {part}", file=sys.stderr, flush=True)
        raise


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one entry to a JSON-lines file."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
    except OSError as error:
        raise _cannot_write(path, error) from error


def read_json_file(path: Path) -> Json:
    """The object in a JSON file of a run.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: found a damaged file ({error}); expected JSON") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: found a JSON {type(content).__name__}; expected an object")
    return content


def read_lines(path: Path) -> list[Json]:
    """The entries of a JSON-lines file of a run; none where it is not there.

    A last line cut off by a crash is left out.
    """
    return list(each_entry(path))


def each_entry(path: Path) -> Iterator[Json]:
    """The entries of a JSON-lines file one by one, as `read_lines` gives them."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for line in stream:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no two processes write it at once.

    Another process that holds it is waited for; what a killed one held is free again.

    Raises:
        RunError: the claim cannot be written.
    """
    place = folder / CLAIM
    above = [each for each in folder.parents if not each.exists()]
    try:
        claim = _locked(place)
    except OSError as error:
        raise _cannot_write(place, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()
        os.close(claim)
        with suppress(OSError):  # nothing was written: not even an empty folder stays
            for each in (folder, *above):
                each.rmdir()


def _locked(place: Path) -> int:
    """An open file that no other process holds and that still lies at its place."""
    while True:
        claim = _opened(place)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = place.parent.name
            print(f"another process trains {name}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(claim, fcntl.LOCK_EX)
        except OSError:
            os.close(claim)
            raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(claim), place.stat()):
                return claim
        os.close(claim)  # its holder took it away while we waited


def _opened(place: Path, tries: int = 100) -> int:
    """The claim's file in its folder, which another process may take away meanwhile if empty."""
    for left in reversed(range(tries)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
    raise AssertionError("the last try gives a file or raises")


def clear_folder(folder: Path, *, keep: str) -> None:
    """Remove everything in a run's folder but one file, and the claim on the folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (keep, CLAIM):
            path.unlink()


def digests(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of data files, by their paths below the folder they have in common."""
    whole = sorted({path.resolve() for path in files})
    if not whole:
        return {}
    common = Path(os.path.commonpath([path.parent for path in whole]))
    return {str(path.relative_to(common)): file_digest(path) for path in whole}


def json_text(content: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n"


def each_line(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of a JSON-lines file."""
    return (json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def write_together(texts: Mapping[Path, Iterable[str]]) -> None:
    """Write files that belong together: all are on the disk before the first takes its place.

    A text may come in parts, which need not be held together.
    """
    ready = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in texts}
    try:
        for path, temporary in ready.items():
            _write(path, temporary, texts[path])
        for path, temporary in ready.items():
            _replace(path, temporary)
    finally:
        for temporary in ready.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write(path: Path, temporary: Path, text: Iterable[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            stream.writelines([text] if isinstance(text, str) else text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _cannot_write(path, error) from error


def _replace(path: Path, temporary: Path) -> None:
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def cannot_go_on(folder: Path, error: Exception) -> RunError:
    """The error to raise where training could not write to its folder."""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return RunError(
        f"cannot write to {folder}: {reason}; free some room and give the same command again: "
        "it goes on from the last whole checkpoint"
    )


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; what was written before is whole"
    )
