"""Diagnoses in a report: beside runs and alone, in order, as text, with a figure each."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

import isogloss
from diagnosis_files import finding, interval, measured, write_diagnosis
from isogloss.cli.main import main
from isogloss.errors import ConfigError, RunError
from isogloss.gathering.diagnosed import Layer, read_diagnosed
from isogloss.intervals import Interval
from isogloss.reporting import making
from isogloss.reporting.diagnoses import Shown, shown_diagnoses
from isogloss.reporting.layer_figures import AFTER, BEFORE, MEASURES
from report_runs import first_of, write_run

HEADING = "Why: how the languages stand to each other"
EVIL = "</script><img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """A page's headings, links and ids, and whether all that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.heads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3", "h4"):
            self.heads.append(data)


@pytest.fixture
def no_figures(monkeypatch):
    """For tests of something else: the runs' own figures take the longest."""
    monkeypatch.setattr(making, "figures", lambda tables, outcomes: [])


def words(html: str) -> str:
    """The page's text between its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_a_report_of_diagnoses_alone(tmp_path):
    write_diagnosis(tmp_path / "d" / "one")
    write_diagnosis(tmp_path / "d" / "two", target="sw")
    made = isogloss.report(tmp_path / "d", out=tmp_path / "out")
    html = made.page.read_text(encoding="utf-8")
    read = Reader(html)
    assert read.open == []
    assert read.heads == [
        HEADING,
        *("tiny: en to tr", "Are the two languages close?", "Which method to try?"),
        *("tiny: en to sw", "Are the two languages close?", "Which method to try?"),
        "How it was computed",
    ]
    assert len(read.ids) == len(set(read.ids))
    inside = {link[1:] for link in read.links if link.startswith("#")}
    assert inside == {"diagnoses", "method"}
    assert inside <= set(read.ids)
    for link in read.links:
        assert link.startswith("#") or (made.folder / link).is_file()
    assert '<p class="lede">2 diagnoses, 1 model, 2 pairs of languages.</p>' in html
    assert "<table" not in html
    assert "<script" not in html
    assert "bootstrap over pairs of sentences" in html
    assert "hierarchical" not in html
    assert made.tables == ()
    assert made.content["outcomes"] == []
    assert not (made.folder / "tables").exists()
    assert isogloss.report(tmp_path / "d", out=tmp_path / "out").content == made.content


def test_beside_runs_it_is_one_section_more(no_figures, tmp_path):
    runs = [write_run(tmp_path / "runs", name, right=first_of(9)) for name in ("mtl", "cl-icp")]
    before = isogloss.report(*runs, out=tmp_path / "a")
    assert before.content["diagnoses"] == []
    assert "diagnos" not in re.sub("<style>.*?</style>", "", before.page.read_text(), flags=re.S)
    write_diagnosis(runs[0], run=True)
    after = isogloss.report(*runs, out=tmp_path / "b")
    html = after.page.read_text()
    heads = [head for head in Reader(html).heads if head in (HEADING, "Scores", "Predictions")]
    assert heads == ["Scores", HEADING, "Predictions"]
    assert "2 runs, 1 diagnosis." in html
    assert {**after.content, "diagnoses": [], "figures": []} == before.content
    for path in before.folder.glob("tables/*"):
        assert path.read_text() == (after.folder / "tables" / path.name).read_text()


def test_a_runs_answers_stand_before_and_then_after_training(no_figures, tmp_path):
    html = isogloss.report(
        write_diagnosis(tmp_path / "d", run=True), out=tmp_path / "out"
    ).page.read_text()
    said = words(html)
    expected = (
        "tiny: en to tr, parity, mtl Measured on text.tsv;",
        f"Are the two languages close? {BEFORE}: far Deviation 0.200. Second sentence. "
        f"{AFTER}: near Deviation 0.150.",
        f"Which method to try? {BEFORE}: cl-icp Scores were measured.",
    )
    places = [said.index(each) for each in expected]
    assert places == sorted(places)


def test_a_model_has_one_state_without_a_name(tmp_path):
    found = read_diagnosed(write_diagnosis(tmp_path / "d"))
    (shown,) = shown_diagnoses([found])
    assert [[state for state, _ in said] for said in shown.questions.values()] == [[""], [""]]
    assert BEFORE not in shown.drawing.svg
    assert BEFORE not in shown.drawing.alt


def test_texts_that_look_like_markup_are_text(tmp_path):
    folder = write_diagnosis(
        tmp_path / f"d {EVIL.replace('/', '')}",
        model=EVIL,
        target=EVIL,
        findings=[finding(EVIL, EVIL, EVIL)],
        now=measured() | {"closeness": measured()["closeness"] | {"where": EVIL}},
    )
    made = isogloss.report(folder, out=tmp_path / "out")
    html = made.page.read_text(encoding="utf-8")
    assert "<img" not in html
    assert "<script" not in html
    assert html.count("onerror=alert(1)&gt;") >= 7
    (name,) = made.content["figures"]
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert {path.stem for path in (made.folder / "figures").iterdir()} == {name}


def test_numbers_of_report_json(tmp_path):
    folder = write_diagnosis(tmp_path / "d", run=True)
    written = json.loads((folder / "diagnosis.json").read_text())
    out = isogloss.report(folder, out=tmp_path / "out").folder
    (found,) = json.loads((out / "report.json").read_text())["diagnoses"]
    assert found["folder"] == str(folder)
    assert found["title"] == "tiny: en to tr, parity, mtl"
    assert found["figure"] == "layers-tiny-en-to-tr-parity-mtl"
    assert found["findings"] == written["findings"]
    assert found["findings_after"] == written["findings_after"]
    assert found["layers"] == written["now"]["closeness"]["layers"]
    assert found["layers_after"] == written["after"]["closeness"]["layers"]


# ---- figures ---------------------------------------------------------------------------------


def test_a_figure_for_each_with_numbers_in_words(tmp_path):
    made = isogloss.report(write_diagnosis(tmp_path / "d", run=True), out=tmp_path / "out")
    (name,) = made.content["figures"]
    assert (made.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.fromstring((made.folder / "figures" / f"{name}.svg").read_text())
    (alt,) = re.findall(r'role="img" aria-label="([^"]*)"', made.page.read_text())
    assert alt == (
        "Before training, layers 1 to 4: cosine deviation 0.100 (layer 4) to 0.250 (layer 1), "
        "cosine deviation, centred 0.100 (layer 4) to 0.325 (layer 1), "
        "translations nearest 35% (layer 1) to 80% (layer 4). "
        "After training, layers 1 to 4: cosine deviation 0.050 (layer 4) to 0.200 (layer 1), "
        "cosine deviation, centred 0.050 (layer 4) to 0.275 (layer 1), "
        "translations nearest 35% (layer 1) to 80% (layer 4)."
    )


def test_all_measures_and_states_are_drawn_and_the_same_numbers_give_the_same_bytes(tmp_path):
    found = read_diagnosed(write_diagnosis(tmp_path / "d", run=True))
    one, other = (shown_diagnoses([found])[0].drawing for _ in range(2))
    assert one == other
    for text in (BEFORE, AFTER, "layer", *(measure.name for measure in MEASURES)):
        assert f">{text}" in one.svg
    assert one.svg.count("FillBetweenPolyCollection") == 2 * len(MEASURES)


def test_one_layer_is_a_point_with_its_interval(tmp_path):
    (shown,) = shown_diagnoses([read_diagnosed(write_diagnosis(tmp_path / "d", layer_count=1))])
    assert shown.drawing.alt == (
        "Layer 1: cosine deviation 0.100 (layer 1), cosine deviation, centred 0.100 (layer 1), "
        "translations nearest 80% (layer 1)."
    )
    assert shown.drawing.svg.count("LineCollection") >= len(MEASURES)


def test_diagnoses_of_one_title_have_their_folders_in_it_and_figures_of_their_own(tmp_path):
    folders = [write_diagnosis(tmp_path / name) for name in ("a", "b")]
    folders += [write_diagnosis(tmp_path / "c", model="TINY"), write_diagnosis(tmp_path / "long")]
    (folders[3] / "diagnosis.json").unlink()
    write_diagnosis(folders[3], model="x" * 400)
    shown = shown_diagnoses([read_diagnosed(folder) for folder in folders])
    assert titles(shown)[:3] == [*(f"tiny: en to tr ({f})" for f in folders[:2]), "TINY: en to tr"]
    names = [each.drawing.name for each in shown]
    assert names[:3] == ["layers-tiny-en-to-tr", "layers-tiny-en-to-tr-2", "layers-tiny-en-to-tr-3"]
    assert len(names[3]) <= 120


def titles(shown: list[Shown]) -> list[str]:
    return [each.title for each in shown]


# ---- mistakes --------------------------------------------------------------------------------


def test_a_damaged_one_is_a_note(tmp_path, capsys):
    whole = write_diagnosis(tmp_path / "d" / "whole")
    broken = tmp_path / "d" / "broken"
    broken.mkdir()
    (broken / "diagnosis.json").write_text("{")
    assert main(["report", str(tmp_path / "d"), "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["folder"] for each in told["diagnoses"]] == [str(whole)]
    (note,) = told["notes"]
    assert str(broken) in note
    assert "found a damaged file" in note
    html = (tmp_path / "out" / "index.html").read_text()
    assert html.index(HEADING) < html.index("To be known first") < html.index("found a damaged")
    assert main(["report", str(tmp_path / "d"), "--out", str(tmp_path / "out")]) == 0
    assert f"diagnoses: {told['diagnoses'][0]['title']}\n" in capsys.readouterr().out
    (whole / "diagnosis.json").write_text("[]")
    assert main(["report", str(tmp_path / "d"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "found nothing to report" in said
    assert "Traceback" not in said


def test_a_baseline_among_diagnoses_alone(tmp_path):
    folder: Path = write_diagnosis(tmp_path / "d")
    with pytest.raises(ConfigError, match="there are diagnoses, but no runs"):
        isogloss.report(folder, out=tmp_path / "out", baseline="mtl")


def test_numbers_that_are_read_are_numbers(tmp_path):
    layers = [{"layer": 1, **{m.field: interval(1.0, 0.0) for m in MEASURES}}]
    one = measured()["closeness"] | {"layers": layers}
    folder = write_diagnosis(tmp_path / "d", now=measured() | {"closeness": one})
    whole = Interval(1.0, 1.0, 1.0, 50)
    assert read_diagnosed(folder).layers == (Layer(1, whole, whole, whole),)
    layers[0]["centred"] = interval(1.0) | {"low": "deep"}
    write_diagnosis(folder, now=measured() | {"closeness": one})
    with pytest.raises(RunError, match=r"could not convert string to float: 'deep'"):
        read_diagnosed(folder)
