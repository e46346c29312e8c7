"""Tables of scores (Section 6): means over seeds, intervals, tests, and what the paper printed."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from isogloss.errors import DataError
from isogloss.intervals import Interval, holm, seeds_interval, seeds_test
from isogloss.outcomes import Failure, Outcome

LEVEL = 0.05
Column = tuple[str, str, str]  # task, language, metric
Group = tuple[str, float]  # model, share: rows are compared within it
Row = tuple[str, float, str]  # model, share, label
Found = Mapping[tuple[Row, Column], Mapping[int, Outcome]]  # outcomes by cell and seed
Corrected = Mapping[tuple[frozenset[Row], Column], float]  # p of pairs of rows


@dataclass(frozen=True)
class Entry:
    """A cell: its mean over seeds with the interval, and tests corrected within the table.

    `against` holds the corrected p of the difference to the table's baseline row (`better`: is it
    above), `against_best` that to the best of all baselines, `beats_all` whether it is above every
    other row of its group with p below 0.05. A cell without a score has the reason in `failed`.
    """

    interval: Interval | None = None
    seeds: int = 0
    published: float | None = None
    against: float | None = None
    better: bool | None = None
    against_best: float | None = None
    beats_all: bool = False
    failed: str = ""


@final
@dataclass(frozen=True)
class Table:
    """Rows and columns in their order, with what stands at each crossing."""

    title: str
    baseline: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    entries: Mapping[tuple[Row, Column], Entry]
    notes: tuple[str, ...] = field(default=())

    def text(self, row: Row, column: Column) -> str:
        """A cell for people: `57.0 [47.0, 67.0]`, a mark, and the printed number in brackets."""
        entry = self.entries.get((row, column), Entry())
        printed = f" ({entry.published:.1f})" if entry.published is not None else ""
        if entry.interval is None:
            return ("failed" if entry.failed else "-") + printed
        span = entry.interval
        mark = ""
        if entry.against is not None and entry.against < LEVEL:
            mark = " ↑" if entry.better else " ↓"
        text = f"{100 * span.value:.1f} [{100 * span.low:.1f}, {100 * span.high:.1f}]{mark}"
        return text + printed


def make_table(
    title: str,
    outcomes: Sequence[Outcome],
    *,
    baseline: str,
    rivals: Sequence[str] = (),
    failures: Sequence[Failure] = (),
    order: Sequence[str] = (),
    published: Mapping[tuple[Row, Column], float] | None = None,
) -> Table:
    """The table of outcomes; `order` is that of the row labels, `rivals` are those of baselines.

    Every row is tested against the row `baseline` of its model and share, rows that are no rivals
    also against the best rival, and the best row of each column against every other. Holm's
    correction is over all of these tests together.

    Raises:
        DataError: two systems were scored on different items under one seed, so that they cannot
            be compared; the runs and items are named.
    """
    found: dict[tuple[Row, Column], dict[int, Outcome]] = defaultdict(dict)
    for one in outcomes:
        for metric in one.values:
            found[_row(one), (one.place.task, one.place.language, metric)][one.seed] = one
    _check_comparable(found)
    entries = {
        place: Entry(
            seeds_interval([one.values[place[1][2]] for one in _by_seed(by_seed)], seed=0),
            len(by_seed),
            (published or {}).get(place),
        )
        for place, by_seed in found.items()
    }
    for failure in failures:
        for column in _columns_of(failure, found):
            entries.setdefault(
                (_row(failure), column),
                Entry(
                    published=(published or {}).get((_row(failure), column)), failed=failure.reason
                ),
            )
    rows = _ordered({row for row, _ in entries}, order)
    columns = tuple(dict.fromkeys(column for _, column in entries))
    tested = _Tests(found, entries, baseline, tuple(rivals)).entries_with()
    reasons = dict.fromkeys(
        f"{one.place.row}, {one.place.task} {one.place.language}, seed {one.seed}: {one.reason}"
        for one in failures
    )
    return Table(title, baseline, rows, columns, tested, tuple(reasons))


def _row(one: Outcome | Failure) -> Row:
    return (one.place.model, one.place.share, one.place.row)


def _by_seed(by_seed: Mapping[int, Outcome]) -> list[Outcome]:
    return [by_seed[seed] for seed in sorted(by_seed)]


def _ordered(rows: set[Row], order: Sequence[str]) -> tuple[Row, ...]:
    known = {label: place for place, label in enumerate(order)}
    return tuple(sorted(rows, key=lambda row: (row[0], row[1], known.get(row[2], 99), row[2])))


def _columns_of(failure: Failure, found: Found) -> list[Column]:
    """The columns that a failure leaves open: those that other rows have, else the task's own."""
    place = failure.place
    there = [column for _, column in found if column[:2] == (place.task, place.language)]
    return list(dict.fromkeys(there)) or [(place.task, place.language, "")]


def _check_comparable(found: Found) -> None:
    first: dict[tuple[Column, int], Outcome] = {}
    for (_, column), by_seed in found.items():
        for seed, one in by_seed.items():
            other = first.setdefault((column, seed), one)
            apart = one.values[column[2]].keys() ^ other.values[column[2]].keys()
            if apart:
                some = ", ".join(sorted(apart)[:3])
                raise DataError(
                    f"{one.folder} and {other.folder} cannot be compared: found {len(apart)} test "
                    f"items that only one of them has ({some}); expected the same items of "
                    f"{column[0]} {column[1]} under seed {seed}; evaluate both with the same "
                    "--limit and --too-long, or leave one out"
                )


@final
@dataclass(frozen=True)
class _Tests:
    """The p of every pair of rows that a table compares, corrected together."""

    found: Found
    entries: Mapping[tuple[Row, Column], Entry]
    baseline: str
    rivals: tuple[str, ...]

    def entries_with(self) -> dict[tuple[Row, Column], Entry]:
        """The entries with their tests."""
        compared = dict.fromkeys(
            (pair, column)
            for (group, column), rows in self._groups()
            for pair in self._pairs(group, column, rows)
        )
        pairs = list(compared)
        corrected = holm([self._p(*pair, column) for pair, column in pairs])
        ps = {
            (frozenset(pair), column): p for (pair, column), p in zip(pairs, corrected, strict=True)
        }
        result = dict(self.entries)
        for (_, column), rows in self._groups():
            for row in rows:
                result[row, column] = self._entry(row, column, rows, ps)
        return result

    def _groups(self) -> list[tuple[tuple[Group, Column], list[Row]]]:
        """The rows that are compared with each other, by model and share, in each column."""
        groups: dict[tuple[Group, Column], list[Row]] = defaultdict(list)
        for row, column in self.found:
            groups[row[:2], column].append(row)
        return list(groups.items())

    def _pairs(self, group: Group, column: Column, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
        """Each row and the baseline, each and the best rival, and the best row and each other."""
        top = max(rows, key=lambda row: self._value(row, column))
        rival = self._best_rival(column, rows)
        pairs = []
        for row in rows:
            others = [(*group, self.baseline), top]
            if rival and row[2] not in self.rivals:
                others.append(rival)
            pairs += [
                (min(row, other), max(row, other))
                for other in others
                if other in rows and other != row
            ]
        return pairs

    def _best_rival(self, column: Column, rows: Sequence[Row]) -> Row | None:
        known = [row for row in rows if row[2] in self.rivals]
        return max(known, key=lambda row: self._value(row, column), default=None)

    def _entry(
        self,
        row: Row,
        column: Column,
        rows: Sequence[Row],
        ps: Mapping[tuple[frozenset[Row], Column], float],
    ) -> Entry:
        own = self.entries[row, column]
        base, rival = (*row[:2], self.baseline), self._best_rival(column, rows)
        others = [ps.get((frozenset((row, other)), column), 1.0) for other in rows if other != row]
        is_top = all(self._value(row, column) > self._value(r, column) for r in rows if r != row)
        return replace(
            own,
            against=ps.get((frozenset((row, base)), column)) if row != base else None,
            better=self._value(row, column) > self._value(base, column) if base in rows else None,
            against_best=ps.get((frozenset((row, rival)), column))
            if rival and row[2] not in self.rivals
            else None,
            beats_all=is_top and bool(others) and max(others) < LEVEL,
        )

    def _value(self, row: Row, column: Column) -> float:
        interval = self.entries[row, column].interval
        assert interval is not None, "only rows with scores are compared"
        return interval.value

    def _p(self, one: Row, other: Row, column: Column) -> float:
        """On the seeds that both rows have; 1 where they have none in common."""
        first, second = self.found[one, column], self.found[other, column]
        seeds = sorted(first.keys() & second.keys())
        if not seeds:
            return 1.0
        sides = [[side[seed].values[column[2]] for seed in seeds] for side in (first, second)]
        return seeds_test(*sides, seed=0).p


def markdown(table: Table) -> str:
    """The table for a README: bold only where a row is surely above all others."""
    head = ["model", "share", "row", *(" ".join(column) for column in table.columns)]
    lines = [f"**{table.title}**", "", _bar(head), _bar(["---"] * len(head))]
    for row in table.rows:
        cells = [_escaped(row[0]), f"{row[1]:.0%}", _escaped(row[2])]
        for column in table.columns:
            entry = table.entries.get((row, column), Entry())
            text = table.text(row, column)
            cells.append(f"**{text}**" if entry.beats_all else text)
        lines.append(_bar(cells))
    lines += ["", *legend(table)]
    return "\n".join(lines) + "\n"


def legend(table: Table) -> list[str]:
    """What the marks of a table mean."""
    said = [
        "Percent, mean over seeds, 95% interval over seeds and items; in brackets what the paper "
        "prints.",
        f"↑ ↓: above or below {table.baseline} with p < 0.05; bold: above every other row of its "
        "model and share with p < 0.05. All tests of the table are corrected together (Holm).",
    ]
    return [*said, *(f"Failed: {note}" for note in table.notes)]


def _bar(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def comma_separated(table: Table) -> str:
    """One line a cell, with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["model", "share", "row", "task", "language", "metric", "value", "low", "high", "seeds"]
        + ["items", "published", f"p against {table.baseline}", "p against the best baseline"]
        + ["above all others", "failed"]
    )
    for (row, column), entry in table.entries.items():
        span = entry.interval
        numbers = [span.value, span.low, span.high] if span else [None] * 3
        writer.writerow(
            [row[0], row[1], row[2], *column, *numbers, entry.seeds, span.items if span else 0]
            + [entry.published, entry.against, entry.against_best, entry.beats_all, entry.failed]
        )
    return stream.getvalue()


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def latex(table: Table) -> str:
    """The table for a paper, with the package booktabs."""
    head = ["model", "share", "row", *(" ".join(column) for column in table.columns)]
    lines = [r"\begin{tabular}{lll" + "r" * len(table.columns) + "}", r"\toprule"]
    lines += [" & ".join(map(_tex, head)) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_tex(row[0]), _tex(f"{row[1]:.0%}"), _tex(row[2])]
        for column in table.columns:
            text = _tex(table.text(row, column))
            bold = table.entries.get((row, column), Entry()).beats_all
            cells.append(rf"\textbf{{{text}}}" if bold else text)
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in legend(table))]) + "\n"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
