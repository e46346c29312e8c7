"""From the folders a user names to what a report shows: runs, folders of runs, grids, diagnoses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from isogloss.errors import RunError
from isogloss.gathering.comparable import block_of, check_comparable
from isogloss.gathering.diagnosed import Diagnosed, read_diagnosed
from isogloss.gathering.grid import GRID, Gathered, read_grid
from isogloss.gathering.naming import check_places, distinct_models, labelled, mixed, once
from isogloss.outcomes import Outcome, Place, read_outcome, untuned_outcomes
from isogloss.runs import DIAGNOSIS, RECORD


def gather(folders: Sequence[Path]) -> Gathered:
    """The outcomes of runs, of folders with runs anywhere below them, and of grids; diagnoses too.

    Raises:
        RunError: nothing to report was found, a grid is damaged, or the runs cannot be compared.
    """
    parts = [part for folder in folders for part in _found(folder)]
    failures = tuple(failure for part in parts for failure in part.failures)
    planned = tuple(dict.fromkeys(place for part in parts for place in part.planned))
    notes = [note for part in parts for note in part.notes]
    found = once([outcome for part in parts for outcome in part.outcomes])
    diagnosed = _once([each for part in parts for each in part.diagnosed])
    if not (found or failures or diagnosed):
        listed = "".join(f"\n- {note}" for note in notes)
        raise RunError(f"found nothing to report in {', '.join(map(str, folders))}{listed}")
    found = distinct_models(found, set(planned))
    tuned = [each for each in found if not each.untuned]
    check_comparable(tuned)
    outcomes = labelled(tuned, set(planned))
    check_places(outcomes)
    others, more = _untuned(labelled([each for each in found if each.untuned], set()), outcomes)
    titles = [part.title for part in parts if part.title]
    title = titles[0] if len(titles) == 1 else None
    notes += [*more, *mixed(outcomes)]
    printed = {place: score for part in parts for place, score in part.published.items()}
    return Gathered(
        (*outcomes, *others), failures, planned, tuple(notes), title, printed, diagnosed
    )


def _found(folder: Path) -> Iterator[Gathered]:
    if not folder.is_dir():
        raise RunError(f"no such folder: {folder}; `isogloss runs` lists the runs there are")
    places = list(_walk(folder))
    if not places:
        raise RunError(
            f"{folder} holds no run: found no {RECORD}, no {GRID} and no {DIAGNOSIS} in it or "
            "below; give run folders, a folder with runs or diagnoses, or an experiment's folder"
        )
    for place in places:
        if (place / GRID).is_file():
            grid = read_grid(place)
            yield grid
            runs = dict.fromkeys(outcome.folder for outcome in grid.outcomes)
            yield from (_diagnosis(run) for run in runs if (run / DIAGNOSIS).is_file())
        elif (place / RECORD).is_file():
            yield _single(place)
        if (place / DIAGNOSIS).is_file():
            yield _diagnosis(place)


def _walk(folder: Path) -> Iterator[Path]:
    """Grids, runs, diagnoses at any depth, by name; hidden and linked folders are passed over."""
    whole = (folder / GRID).is_file() or (folder / RECORD).is_file()
    if whole or (folder / DIAGNOSIS).is_file():
        yield folder
    if whole:
        return
    for below in sorted(folder.iterdir()):
        if below.is_dir() and not below.is_symlink() and not below.name.startswith("."):
            yield from _walk(below)


def _once(diagnosed: Sequence[Diagnosed]) -> tuple[Diagnosed, ...]:
    """Each folder's diagnosis once, where it was found first."""
    kept: dict[Path, Diagnosed] = {}
    for each in diagnosed:
        kept.setdefault(each.folder.resolve(), each)
    return tuple(kept.values())


def _diagnosis(folder: Path) -> Gathered:
    try:
        return Gathered((), diagnosed=(read_diagnosed(folder),))
    except RunError as error:
        return Gathered((), notes=(f"passed over: {error}",))


def _single(folder: Path) -> Gathered:
    try:
        outcome = read_outcome(folder)
        return Gathered((outcome, *untuned_outcomes(outcome)))
    except RunError as error:
        return Gathered((), notes=(f"passed over: {error}",))


def _untuned(
    found: Sequence[Outcome], outcomes: Sequence[Outcome]
) -> tuple[list[Outcome], list[str]]:
    """The base model's own answers, once a place, where no run has the row and items are equal."""
    rows = {outcome.place.row for outcome in outcomes}
    items = {block_of(outcome): outcome.items for outcome in outcomes}
    kept: dict[Place, Outcome] = {}
    notes = []
    for outcome in found:
        if outcome.place.row in rows:
            continue
        if outcome.items != items[block_of(outcome)]:
            notes.append(f"passed over: {outcome.place} of {outcome.folder}: other test items")
            continue
        first = kept.setdefault(outcome.place, outcome)
        if first.values != outcome.values:
            notes.append(
                f"{outcome.place}: {outcome.folder} and {first.folder} differ in their answers; "
                "the latter's are shown"
            )
    return list(kept.values()), notes
