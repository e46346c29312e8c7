"""Learning in context comes again, in a smaller world that is pre-trained here."""

from __future__ import annotations

import pytest

from isogloss.lab.pretraining import PretrainSettings, pretrain
from isogloss.lab.probing import probe
from isogloss.lab.world import World, WorldSettings
from isogloss.model.load import load

SMALL = WorldSettings(seed=1, dial=0.3, things=32, kinds=4, places=4, names=4)


@pytest.mark.slow
def test_a_smaller_model_learns_in_context_as_the_shipped_ones_do(tmp_path) -> None:
    world = World(SMALL)
    pretrain(world, PretrainSettings(steps=3500), tmp_path / "model")
    rows = probe(load(str(tmp_path / "model")), world, items=1000, shots=(0, 3))
    value = {(row["shape"], row["language"], row["demonstrations"]): row["value"] for row in rows}
    print(value)
    for shape, gap in {"choice": 0.25, "label": 0.25, "span": 0.15}.items():
        for code in world.codes:
            assert value[shape, code, 3] - value[shape, code, 0] >= gap, (shape, code)
