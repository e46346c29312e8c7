"""`isogloss layers`: what it prints, draws, and refuses."""

from __future__ import annotations

import json

import pytest

import isogloss
from isogloss.cli.main import main


@pytest.fixture
def asked(real_data, model_folder) -> list[str]:
    model = str(model_folder("llama"))
    return [
        "layers",
        "--task",
        "xcopa",
        "--target",
        "tr",
        "--data",
        str(real_data),
        "--model",
        model,
    ]


def test_the_table_and_the_program_say_the_same(asked, capsys):
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "L_to 1, L_back 2 (least distance over 100 and 100 sentences)" in shown
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["to"], found["back"]) == (1, 2)
    assert len(found["distances"]) == 2
    assert all(f"{distance:.3f}" in shown for distance in found["distances"])


def test_a_run_shifts_at_these_layers(asked, real_data, model_folder, tmp_path):
    given = {"model": model_folder("llama"), "target": "tr", "data": real_data}
    choice = isogloss.layers("xcopa", **given)
    run = isogloss.train("xcopa", **given, method="cl-icp-s", epochs=1, max_steps=1, out=tmp_path)
    recorded = run.record["layers"]
    assert (recorded["to"], recorded["back"]) == (choice.to, choice.back)
    assert recorded["distances"] == pytest.approx(choice.distances)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_figure_has_the_same_bytes_twice(asked, tmp_path, ending, capsys):
    files = [tmp_path / name / f"layers.{ending}" for name in ("one", "two")]
    for file in files:
        assert main([*asked, "--plot", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_bytes()) > 5000
    assert f"written: {files[1]}" in capsys.readouterr().out


def test_another_ending_is_refused_before_work_begins(asked, capsys):
    assert main([*asked, "--plot", "layers.gif"]) == 2
    assert "plot is 'layers.gif'; give a file that ends in .png or .svg" in capsys.readouterr().err


def test_few_items_have_the_usual_layers_and_no_figure(asked, tmp_path, capsys):
    few = [*asked, "--share", "0.05"]
    assert main(few) == 0
    how = "40% and 70% of the depth: fewer than 8 items of a language"
    assert f"L_to 1, L_back 2 ({how})" in capsys.readouterr().out
    assert main([*few, "--plot", str(tmp_path / "layers.png")]) == 2
    assert f"no distances to draw: {how}" in capsys.readouterr().err
