"""All experiments by name."""

from __future__ import annotations

from collections.abc import Mapping

from isogloss.errors import no_such
from isogloss.experiments.fig3 import FIG3
from isogloss.experiments.fig5 import FIG5
from isogloss.experiments.fig6 import FIG6
from isogloss.experiments.grid import Experiment
from isogloss.experiments.table2 import TABLE2
from isogloss.experiments.table3 import TABLE3
from isogloss.experiments.table4 import TABLE4
from isogloss.experiments.table5 import TABLE5
from isogloss.experiments.table6 import TABLE6

EXPERIMENTS: Mapping[str, Experiment] = {
    one.name: one for one in (TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, FIG3, FIG5, FIG6)
}


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        ConfigError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise no_such("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]
