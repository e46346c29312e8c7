"""Names: which settings tell the rows of one method apart, and one outcome for each place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from isogloss.errors import RunError
from isogloss.outcomes import AS_GIVEN, Outcome, Place


def once(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Each outcome once, though its folder may have been given twice."""
    seen: dict[object, Outcome] = {}
    for outcome in outcomes:
        setting = tuple(sorted(outcome.details.items()))
        key = (outcome.folder.resolve(), outcome.place, outcome.untuned, setting)
        seen.setdefault(key, outcome)
    return list(seen.values())


def distinct_models(outcomes: Sequence[Outcome], named: set[Place]) -> list[Outcome]:
    """Models of one name that are not the same get their fingerprints; a grid's keep theirs."""
    prints = defaultdict(set)
    for outcome in outcomes:
        prints[outcome.place.model].add(_print(outcome))
    return [
        _renamed(each, model=f"{each.place.model} ({_print(each)[:6]})")
        if len(prints[each.place.model]) > 1 and each.place not in named
        else each
        for each in outcomes
    ]


def _print(outcome: Outcome) -> str:
    return str(outcome.record["model"]["fingerprint"])


def _renamed(outcome: Outcome, **names: str) -> Outcome:
    return replace(outcome, place=replace(outcome.place, **names))  # type: ignore[arg-type]


def labelled(outcomes: Sequence[Outcome], named: set[Place]) -> list[Outcome]:
    """Rows of one method that differ in a setting get it into their names; a grid's keep theirs.

    Settings that were chosen per run (`chosen`) split a row only where a place is taken twice.
    """
    splitting: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    blocks = defaultdict(list)
    for outcome in outcomes:
        if outcome.place not in named:
            place, chosen = outcome.place, outcome.facts["chosen"] != AS_GIVEN
            seed = place.seed if chosen else None
            blocks[_family(outcome), place.language, place.share, chosen, seed].append(outcome)
    for (family, *_), block in blocks.items():
        for name in _differing([each.details for each in block]):
            splitting[family][name] = None
    return [
        each if each.place in named else _renamed(each, row=_label(each, splitting[_family(each)]))
        for each in outcomes
    ]


def _family(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.place.model, outcome.place.task, outcome.place.row


def _label(outcome: Outcome, names: Iterable[str]) -> str:
    found = outcome.details
    return ", ".join([outcome.place.row, *(f"{n} {found[n]}" for n in names if n in found)])


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({each.get(name) for each in settings}) > 1]


def mixed(outcomes: Sequence[Outcome]) -> list[str]:
    """Notes on rows whose cells of one task were made with different settings."""
    rows = defaultdict(list)
    for outcome in outcomes:
        rows[_family(outcome)].append(outcome)
    notes = []
    for (model, task, row), block in rows.items():
        names = _differing([each.details for each in block])
        if names:
            notes.append(
                f"{row} ({model}, {task}): its cells differ in {', '.join(names)}; "
                "see the settings of the runs"
            )
    return notes


def check_places(outcomes: Sequence[Outcome]) -> None:
    """Refuse two outcomes of one place.

    Raises:
        RunError: says which runs.
    """
    seen: dict[Place, Outcome] = {}
    for outcome in outcomes:
        other = seen.setdefault(outcome.place, outcome)
        if other is not outcome:
            raise RunError(
                f"two runs are of one place ({outcome.place}) and differ in no setting that a row "
                f"could be named by: {other.folder} and {outcome.folder}; give one of them"
            )
