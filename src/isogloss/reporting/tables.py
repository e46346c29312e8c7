"""Tables of scores (Table 2): mean over seeds with interval, and only marks that a test carries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from isogloss.errors import ConfigError, suggestion
from isogloss.gathering.grid import Gathered
from isogloss.methods.registry import METHODS
from isogloss.outcomes import Outcome, Place
from isogloss.reporting.comparisons import (
    AVERAGE,
    Column,
    Comparison,
    Line,
    compared,
    ranking,
    wanted,
)
from isogloss.statistics import Estimate, Parts, Seeds, estimates

OWN = "cl-icp"  # rows of this method are what baselines are compared with
Published = Mapping[tuple[str, str, str, str, str], float]
"""Published numbers in percent by (group, row, task, language or "average", metric)."""
NO_NUMBERS: Published = {}


@final
@dataclass(frozen=True)
class Cell:
    """One number of a table, or why there is none.

    `rank` is "first" only where the row is better than every other row of its group, and "second"
    only below such a one and better than all the rest; each by tests that Holm's correction
    leaves standing. `reasons` say of each seed that failed why.
    """

    state: Literal["done", "failed", "not run"]
    estimate: Estimate | None = None
    published: float | None = None
    rank: Literal["first", "second"] | None = None
    baseline: Comparison | None = None
    best_baseline: Comparison | None = None
    reasons: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Table:
    """Rows are systems by group, columns are tasks, languages and metrics."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    cells: Mapping[tuple[Line, Column], Cell]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def groups(self) -> dict[str, list[Line]]:
        """The rows of each group, in order."""
        found: dict[str, list[Line]] = defaultdict(list)
        for line in self.lines:
            found[line.group].append(line)
        return found


def group_of(place: Place, *, shares: bool) -> str:
    """The group of a place: the base model, and the share of D_t where a table has several."""
    return f"{place.model}, {place.share:.0%} of D_t" if shares else place.model


def score_table(
    gathered: Gathered,
    *,
    name: str = "scores",
    title: str = "Scores",
    main: bool = True,
    baseline: str | None = None,
    published: Published = NO_NUMBERS,
    seed: int = 0,
) -> Table | None:
    """The table of the tasks' own metrics, or (`main` false) of their others; None without any.

    `baseline` is the row or method that all others are tested against: "mtl" where there is one.

    Raises:
        ConfigError: no row or method has the name of the baseline that was asked for.
    """
    layout = _Layout(gathered)
    columns = layout.columns(main=main)
    if not columns:
        return None
    systems = {column: layout.systems(column) for column in columns}
    found = _estimated(systems, seed)
    bases, notes = layout.baselines(baseline)
    means = {
        column: {line: found[line, column].value for line in systems[column]} for column in columns
    }
    asked = [each for c in columns for each in wanted(c, means[c], layout.own, bases)]
    comparisons = compared(asked, systems, seed=seed)
    ranks = _ranks(means, comparisons)
    cells = {
        (line, column): layout.cell(line, column, found, ranks, comparisons, published)
        for line in layout.lines
        for column in columns
    }
    return Table(name, title, columns, layout.lines, cells, tuple(comparisons), tuple(notes))


def _estimated(
    systems: Mapping[Column, Mapping[Line, Parts]], seed: int
) -> dict[tuple[Line, Column], Estimate]:
    return {
        (line, column): estimate
        for column, each in systems.items()
        for line, estimate in zip(each, estimates(list(each.values()), seed=seed), strict=True)
    }


def _ranks(
    means: Mapping[Column, Mapping[Line, float]], comparisons: Iterable[Comparison]
) -> dict[tuple[Line, Column], Literal["first", "second"]]:
    """First and second by column and group, where every comparison with a lower row is carried."""
    better = {
        (c.column, c.line, c.against) for c in comparisons if c.question == "rank" and c.better
    }
    ranks: dict[tuple[Line, Column], Literal["first", "second"]] = {}
    for column, each in means.items():
        for group in dict.fromkeys(line.group for line in each):
            first, *rest = ranking(each, [line for line in each if line.group == group])
            if not rest or not all((column, first, line) in better for line in rest):
                continue
            ranks[first, column] = "first"
            second, *below = rest
            if below and all((column, second, line) in better for line in below):
                ranks[second, column] = "second"
    return ranks


@final
class _Layout:
    """Where the outcomes stand in a table."""

    def __init__(self, gathered: Gathered) -> None:
        self.gathered = gathered
        places = [each.place for each in (*gathered.outcomes, *gathered.failures)]
        places += gathered.planned
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
        return Line(group_of(place, shares=self.shares), place.row)

    def _planned(self, place: Place) -> int:
        planned = self.gathered.planned
        return planned.index(place) if place in planned else len(planned)

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

    def columns(self, *, main: bool) -> tuple[Column, ...]:
        made = []
        for task, languages in self.languages.items():
            metrics: dict[str, set[str]] = defaultdict(set)
            own = ""
            for outcome in self.gathered.outcomes:
                if outcome.place.task == task:
                    own = outcome.metric
                    for metric in outcome.values:
                        metrics[metric].add(outcome.place.language)
            for metric, had in metrics.items():
                if (metric == own) != main:
                    continue
                shown = [language for language in languages if main or language in had]
                made += [Column(task, language, metric) for language in shown]
                if len(shown) > 1:
                    made.append(Column(task, AVERAGE, metric))
        return tuple(made)

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
        """Each group's row to test against: the one of that name, or the only one of that method."""
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
        if name and not made:
            rows = list(dict.fromkeys(line.row for line in self.lines))
            raise ConfigError(
                f"no row '{name}' to test against; there is {', '.join(rows)}"
                + suggestion(name, rows)
            )
        return made, notes

    def _methods(self, line: Line) -> set[str]:
        return {
            outcome.method
            for (other, *_), seeds in self.found.items()
            if other == line
            for outcome in seeds.values()
        }

    def cell(
        self,
        line: Line,
        column: Column,
        found: Mapping[tuple[Line, Column], Estimate],
        ranks: Mapping[tuple[Line, Column], Literal["first", "second"]],
        comparisons: Sequence[Comparison],
        published: Published,
    ) -> Cell:
        key = (line.group, line.row, column.task, column.language, column.metric)
        reasons = self._reasons(line, column)
        if (line, column) not in found:
            return Cell(
                "failed" if reasons else "not run", None, published.get(key), reasons=reasons
            )
        asked = {c.question: c for c in comparisons if (c.line, c.column) == (line, column)}
        return Cell(
            "done",
            found[line, column],
            published.get(key),
            ranks.get((line, column)),
            asked.get("baseline"),
            asked.get("best baseline"),
            reasons,
        )

    def _reasons(self, line: Line, column: Column) -> tuple[str, ...]:
        return tuple(
            f"{failure.place.language}, seed {failure.place.seed}: {failure.reason}"
            for failure in self.gathered.failures
            if self.line(failure.place) == line
            and failure.place.task == column.task
            and column.language in (failure.place.language, AVERAGE)
        )
