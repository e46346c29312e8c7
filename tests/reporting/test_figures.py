"""Figures: the same bytes twice, for either theme, and nothing left behind in matplotlib."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest

from isogloss import reporting
from isogloss.gathering.folders import gather
from isogloss.reporting.drawing import COLOURS, DARK, DASHES, LIGHT, MARKERS
from isogloss.reporting.figures import _series, figures
from isogloss.reporting.tables import score_table
from report_runs import write_run


@pytest.fixture(scope="module")
def draw(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for share in (0.1, 1.0):
        for method in ("mtl", "cl-icp"):
            for language in ("tr", "es"):
                write_run(root, method, share=share, target=language, task="a $ task")
    gathered = gather([root])
    table = score_table(gathered)
    assert table is not None
    return lambda: figures([table], gathered.outcomes)


@pytest.fixture(scope="module")
def drawn(draw):
    return draw()


def test_there_is_one_for_scores_shares_and_training(drawn):
    found = drawn
    names = [each.name for each in found]
    assert names == [f"{kind}-tiny-a-task" for kind in ("scores", "shares", "training")]
    for each in found:
        assert each.png.startswith(b"\x89PNG")
        ElementTree.fromstring(each.file)
        ElementTree.fromstring(each.inline)
        assert "http:" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", each.inline)
    assert "tr: mtl 50.0, cl-icp 50.0" in found[0].alt
    assert "10% of D_t" in found[1].alt
    assert "3.00 to 0.60" in found[2].alt
    assert "a $ task" in found[2].title


def test_the_same_numbers_give_the_same_bytes_and_matplotlib_is_left_as_it_was(draw, drawn):
    before = dict(matplotlib.rcParams)
    assert draw() == drawn
    assert dict(matplotlib.rcParams) == before


def test_text_has_the_colour_of_the_page_and_ids_are_the_figures_own(drawn):
    first, second, _ = drawn
    assert "currentColor" in first.inline
    assert "#010203" not in first.inline
    assert LIGHT in first.file
    assert DARK in first.file
    ids = [set(re.findall(r'\bid="([^"]+)"', each.inline)) for each in (first, second)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for each, own in zip((first, second), ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', each.inline))
        assert {a or b for a, b in used} <= own


def test_pyplot_and_its_global_state_are_not_used():
    for path in Path(reporting.__file__).parent.glob("*.py"):
        names = [
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        ]
        assert "matplotlib.pyplot" not in names


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_seen_on_both_grounds():
    css = (Path(reporting.__file__).parent / "template" / "page.css").read_text()
    grounds = re.findall(r"--ground: (#[0-9a-f]{6})", css)
    assert len(grounds) == 2
    for ground in (*grounds, "#ffffff"):
        for colour in COLOURS:
            pair = sorted((luminance(colour), luminance(ground)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, (colour, ground)
    assert len(COLOURS) == len(MARKERS) == len(DASHES)


def test_text_colours_of_the_page_have_enough_contrast():
    css = (Path(reporting.__file__).parent / "template" / "page.css").read_text()
    themes = re.findall(r"--ground: [^}]+", css)[:2]
    for theme in themes:
        value = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for name in ("ink", "quiet", "accent", "right", "wrong"):
            pair = sorted((luminance(value[name]), luminance(value["ground"])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, value)


def test_a_log_is_one_series_over_stages_and_long_ones_are_averaged():
    log = [{"stage": 0, "step": n, "loss": float(n)} for n in (1, 2)]
    log += [{"stage": 0, "step": 2, "eval_loss": 9.0}]
    log += [{"stage": 1, "step": n, "loss": 10.0 * n} for n in (1, 2)]
    assert _series(log, "loss") == ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 10.0, 20.0])
    assert _series(log, "eval_loss") == ([2.0], [9.0])
    long = [{"stage": 0, "step": n, "loss": float(n % 2)} for n in range(1, 601)]
    x, y = _series(long, "loss")
    assert len(x) == 60
    assert set(y) == {0.5}
