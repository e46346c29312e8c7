"""Where outcomes stand in a table: its rows, its columns, and what belongs into a cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import final

from isogloss.errors import ConfigError, suggestion
from isogloss.gathering.grid import Gathered
from isogloss.methods.registry import METHODS
from isogloss.outcomes import Outcome, Place
from isogloss.reporting.comparisons import AVERAGE, Column, Line
from isogloss.statistics import Parts, Seeds

OWN = "cl-ic"  # rows of this method are what baselines are compared with


def connected(gathered: Gathered) -> list[Gathered]:
    """The outcomes in parts that have no base model and no task in common, in order."""
    parts: list[set[str]] = []
    for place in _places(gathered):
        names = {f"model {place.model}", f"task {place.task}"}
        apart = [part for part in parts if not part & names]
        parts = [*apart, names.union(*(part for part in parts if part & names))]
    return [
        _part(gathered, part) for part in sorted(parts, key=lambda part: _first(gathered, part))
    ]


def _part(gathered: Gathered, names: set[str]) -> Gathered:
    return replace(
        gathered,
        outcomes=tuple(each for each in gathered.outcomes if _within(each.place, names)),
        failures=tuple(each for each in gathered.failures if _within(each.place, names)),
        planned=tuple(place for place in gathered.planned if _within(place, names)),
    )


def _within(place: Place, names: set[str]) -> bool:
    return f"task {place.task}" in names


def _first(gathered: Gathered, names: set[str]) -> int:
    return [_within(place, names) for place in _places(gathered)].index(True)


def _places(gathered: Gathered) -> list[Place]:
    places = [*gathered.planned, *(each.place for each in gathered.outcomes)]
    return [*places, *(each.place for each in gathered.failures)]


def check_baseline(gathered: Gathered, name: str) -> None:
    """Refuse a baseline that is nobody's.

    Raises:
        ConfigError: no row and no method has this name.
    """
    rows = list(dict.fromkeys(place.row for place in _places(gathered)))
    if not rows:
        raise ConfigError(f"no row '{name}' to test against; there are diagnoses, but no runs")
    methods = {outcome.method.lower() for outcome in gathered.outcomes}
    if name.lower() not in methods | {row.lower() for row in rows}:
        raise ConfigError(
            f"no row '{name}' to test against; there is {', '.join(rows)}" + suggestion(name, rows)
        )


def group_of(place: Place, *, shares: bool) -> str:
    """The group of a place: the base model, and the share of D_t where a table has several."""
    return f"{place.model}, {100 * place.share:g}% of D_t" if shares else place.model


@final
class Layout:
    """Where the outcomes stand in a table."""

    def __init__(self, gathered: Gathered) -> None:
        self.gathered = gathered
        places = _places(gathered)
        self.order = {place: number for number, place in enumerate(gathered.planned)}
        self.shares = len({place.share for place in places}) > 1
        self.found: dict[tuple[Line, str, str], dict[int, Outcome]] = defaultdict(dict)
        for outcome in gathered.outcomes:
            place = outcome.place
            self.found[self.line(place), place.task, place.language][place.seed] = outcome
        self.lines = self._lines(places)
        self.languages: dict[str, list[str]] = defaultdict(list)
        for place in sorted(places, key=self._planned):
            if place.language not in self.languages[place.task]:
                self.languages[place.task].append(place.language)
        self.own = frozenset(
            self.line(outcome.place)
            for outcome in gathered.outcomes
            if outcome.method.lower().startswith(OWN) or outcome.place.row.lower().startswith(OWN)
        )

    def line(self, place: Place) -> Line:
        """The row of a place."""
        group = group_of(place, shares=self.shares)
        return Line(group, place.row, place.model, place.share)

    def _planned(self, place: Place) -> int:
        return self.order.get(place, len(self.order))

    def _lines(self, places: Sequence[Place]) -> tuple[Line, ...]:
        """Grids keep their order; other rows go from untuned to CL-ICP, models by name."""
        methods = {each.place: each.method for each in self.gathered.outcomes}
        known = ["zero-shot", "icl", *METHODS]

        def order(place: Place) -> tuple[object, ...]:
            method = methods.get(place, place.row)
            rank = known.index(method) if method in known else len(known)
            return self._planned(place), place.model, -place.share, rank, place.row

        placed = sorted(places, key=order)
        groups = list(dict.fromkeys(self.line(place).group for place in placed))
        lines = dict.fromkeys(self.line(place) for place in placed)
        return tuple(sorted(lines, key=lambda line: groups.index(line.group)))

    def started(self, line: Line, task: str) -> bool:
        """Whether a row has any score of a task."""
        return any((line, task, language) in self.found for language in self.languages[task])

    def columns(self, *, main: bool) -> tuple[Column, ...]:
        """The columns of the tasks' own metrics, or of all others."""
        made = []
        for task, languages in self.languages.items():
            own, had = self._metrics(task)
            for metric in had:
                if (metric == own) != main:
                    continue
                shown = [each for each in languages if main or each in had[metric]]
                made += [Column(task, language, metric) for language in shown]
                if len(shown) > 1:
                    made.append(Column(task, AVERAGE, metric))
        return tuple(made)

    def _metrics(self, task: str) -> tuple[str, dict[str, set[str]]]:
        """A task's own metric, and the languages that have each; unknown where nothing ran."""
        had: dict[str, set[str]] = defaultdict(set)
        own = ""
        for outcome in self.gathered.outcomes:
            if outcome.place.task == task:
                own = outcome.metric
                for metric in outcome.values:
                    had[metric].add(outcome.place.language)
        return (own, had) if had else ("score", {"score": set()})

    def systems(self, column: Column) -> dict[Line, Parts]:
        """The systems that have all values of a column; an average needs every language's."""
        languages = [column.language]
        if column.language == AVERAGE:
            languages = self.languages[column.task]
        made: dict[Line, Parts] = {}
        for line in self.lines:
            parts = [self._seeds(line, column, language) for language in languages]
            if all(parts) and len({frozenset(part) for part in parts}) == 1:
                made[line] = parts
        return made

    def _seeds(self, line: Line, column: Column, language: str) -> Seeds:
        found = self.found.get((line, column.task, language), {})
        return {
            seed: outcome.values[column.metric]
            for seed, outcome in sorted(found.items())
            if column.metric in outcome.values
        }

    def baselines(self, name: str | None) -> tuple[dict[str, Line], list[str]]:
        """Each group's row to test against: that of the name, or the only one of the method."""
        wanted_name = (name or "mtl").lower()
        made, notes = {}, []
        for group in dict.fromkeys(line.group for line in self.lines):
            lines = [line for line in self.lines if line.group == group]
            exact = [line for line in lines if line.row.lower() == wanted_name]
            alike = [line for line in lines if wanted_name in self._methods(line)]
            found = exact or (alike if len(alike) == 1 else [])
            if found:
                made[group] = found[0]
            else:
                why = "several rows" if alike else "no row"
                notes.append(f"{group}: {why} '{wanted_name}' to test the others against")
        return made, notes

    def _methods(self, line: Line) -> set[str]:
        return {
            outcome.method
            for (other, *_), seeds in self.found.items()
            if other == line
            for outcome in seeds.values()
        }

    def reasons(self, line: Line, column: Column) -> tuple[str, ...]:
        """Why seeds of a cell failed."""
        return tuple(
            f"{failure.place.language}, seed {failure.place.seed}: {failure.reason}"
            for failure in self.gathered.failures
            if self.line(failure.place) == line
            and failure.place.task == column.task
            and failure.place.language == column.language
        )
