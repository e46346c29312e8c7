"""The analyses by name."""

from __future__ import annotations

from collections.abc import Mapping

from isogloss.experiments.analyses.analysis import Analysis
from isogloss.experiments.analyses.eq3 import EQ3
from isogloss.experiments.analyses.fig1 import FIG1
from isogloss.experiments.analyses.fig2 import FIG2
from isogloss.experiments.analyses.mechanism import MECHANISM
from isogloss.experiments.analyses.table1 import TABLE1

ANALYSES: Mapping[str, Analysis] = {
    each.name: each for each in (TABLE1, FIG1, FIG2, EQ3, MECHANISM)
}
