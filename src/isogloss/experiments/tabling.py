"""The tables of an experiment: what its runs scored, beside what the paper prints."""

from __future__ import annotations

from isogloss.experiments.reproducing import Reproduction
from isogloss.gathering.folders import gather
from isogloss.reporting.tables import Table, score_tables


def tables_of(made: Reproduction) -> list[Table]:
    """The tables of all cells that were run, with the failed ones and their reasons.

    Raises:
        RunError: a run is damaged, or runs were scored on different items.
    """
    found = gather([made.folder])
    own, others = score_tables(
        found, baseline=made.experiment.baseline, published=found.published, seed=0
    )
    return [*own, *others]
