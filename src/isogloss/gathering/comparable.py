"""What can be compared: outcomes of the same test items and the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isogloss.errors import RunError
from isogloss.outcomes import Outcome


def block_of(outcome: Outcome) -> tuple[str, str, int]:
    """What outcomes have in common that must be of the same items."""
    return outcome.place.task, outcome.place.language, outcome.place.seed


def check_comparable(outcomes: Sequence[Outcome]) -> None:
    """Refuse outcomes of one task, language and seed that are not of the same items and data.

    Raises:
        RunError: says which runs, and which items or files.
    """
    problems = []
    first: dict[tuple[str, str, int], Outcome] = {}
    for outcome in outcomes:
        other = first.setdefault(block_of(outcome), outcome)
        problems += [*_other_items(other, outcome), *_other_metric(other, outcome)]
    problems += _other_data(outcomes)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise RunError(
            f"these runs cannot be compared:\n{listed}\nevaluate them on the same items and data, "
            "or report them apart"
        )


def _other_items(one: Outcome, other: Outcome) -> Iterator[str]:
    if one.items != other.items:
        sides = [
            f"{each.folder} has {len(each.items)}{_only(each.items - rest.items)}"
            for each, rest in ((one, other), (other, one))
        ]
        task, language, seed = block_of(one)
        yield f"{task}, {language}, seed {seed}: other test items: {'; '.join(sides)}"


def _only(ids: frozenset[str]) -> str:
    if not ids:
        return ""
    shown = ", ".join(f"'{name}'" for name in sorted(ids)[:3])
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f" ({shown}{more} only there)"


def _other_metric(one: Outcome, other: Outcome) -> Iterator[str]:
    if one.metric != other.metric:
        yield (
            f"{one.folder} is scored by {one.metric}, {other.folder} by {other.metric}, "
            f"both on {one.place.task}, {one.place.language}"
        )


def _other_data(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Runs of one task and target must have read the same files; of the hub, for each seed."""
    first: dict[tuple[str, str, int | None], Outcome] = {}
    for outcome in outcomes:
        data, target = outcome.record["data"], outcome.record["target"]
        seed = outcome.place.seed if set(data) <= {"items"} else None
        other = first.setdefault((outcome.place.task, target, seed), outcome)
        then = other.record["data"]
        changed = sorted(name for name in {*data, *then} if data.get(name) != then.get(name))
        if changed:
            yield (
                f"{outcome.place.task}, target {target}: {other.folder} and {outcome.folder} read "
                f"other data ({', '.join(changed)})"
            )
