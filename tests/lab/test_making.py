"""A world as a folder, in Python and on the command line."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice
from pathlib import Path

import pytest

from isogloss.cli.main import main
from isogloss.errors import ConfigError, RunError
from isogloss.lab import making, shipped
from isogloss.lab.documents import Documents
from isogloss.lab.making import make, parallel_text, write_world
from isogloss.lab.pretraining import PretrainSettings, pretrain
from isogloss.lab.tasks import TASKS, TaskSizes
from isogloss.lab.tokenizer import pieces
from isogloss.lab.world import RELATIONS, World, WorldSettings
from isogloss.model.load import load
from isogloss.tasks.own_data import check_task
from lab_reader import Reader

TINY = PretrainSettings(steps=2, rows=2, length=16, width=32, layers=1, heads=2, save_every=1)
TINY_FLAGS = "--steps 2 --rows 2 --length 16 --width 32 --layers 1 --heads 2 --save-every 1"
SIZES = TaskSizes(dominant_items=6, target_items=3, test_items=4)
SIZE_FLAGS = "--dominant-items 6 --target-items 3 --test-items 4"
SMALL = WorldSettings(seed=5, dial=0.4)
SMALL_FLAGS = "--seed 5 --dial 0.4"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A lab model of two updates, which no test may change."""
    folder = tmp_path_factory.mktemp("lab") / "model"
    pretrain(World(SMALL), TINY, folder)
    return folder


ALL_FLAGS = (*SMALL_FLAGS.split(), *SIZE_FLAGS.split(), *TINY_FLAGS.split())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def give(capsys):
    """Gives a command line: (exit code, standard output, standard error)."""

    def run(*line: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["lab", *[str(word) for word in line]])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return (code, *capsys.readouterr())

    return run


def test_parallel_text_has_every_fact_in_every_language() -> None:
    world = World(
        WorldSettings(seed=5, languages=3, orders=("svo", "sov", "ovs"), suffixes=(True,))
    )
    header, *lines = parallel_text(world).splitlines()
    assert header.split("\t") == ["a", "b", "c"]
    assert len(lines) == 4 * 90
    reader, facts = Reader(world), set()
    for line in lines:
        said = line.split("\t")
        assert len(said) == 3
        meant = set()
        for code, sentence in zip("abc", said, strict=True):
            words = reader.words(sentence)
            assert {word.code for word in words} == {code}
            by_sort = {word.sort: word.which for word in words if word.sort != "concept"}
            concepts = [word.which for word in words if word.sort == "concept"]
            if code == "c":  # the object comes first
                concepts.reverse()
            meant.add((by_sort["relation"], *concepts))
        ((relation, subject, thing),) = meant
        assert world.object(relation, subject) == thing
        facts.add((relation, subject))
    assert facts == {(relation, thing) for relation in RELATIONS for thing in world.things}


def test_a_worlds_folder(tmp_path: Path) -> None:
    world = World(SMALL)
    tasks = write_world(tmp_path, world, SIZES)
    assert tasks == tuple(tmp_path / "tasks" / task.name / "task.yaml" for task in TASKS)
    assert all(check_task(path)[1] == [] for path in tasks)
    record = json.loads((tmp_path / "world.json").read_text())
    assert record["sizes"] == dataclasses.asdict(SIZES)
    assert record["world"]["dial"] == 0.4
    sample = (tmp_path / "documents.txt").read_text()
    parts = sample.split("--- document ")[1:]
    assert [int(part.split()[0]) for part in parts] == list(range(len(parts)))
    documents = Documents(world)
    for number, part in enumerate(parts):
        shown = pieces(part.split("---\n", 1)[1])
        text = "".join(piece.whole for piece in islice(documents.pieces(number), 140))
        assert len(shown) > 100
        # The file ends each document with one line break in the place of its own blank line.
        own = pieces(text)[: len(shown)]
        assert shown[:100] == own[:100]


def test_making_again_changes_nothing(tmp_path: Path) -> None:
    write_world(tmp_path, World(SMALL), SIZES)
    before = contents(tmp_path)
    write_world(tmp_path, World(SMALL), SIZES)
    assert contents(tmp_path) == before


def test_a_shipped_model_of_the_same_settings_is_copied_not_made(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", model.parent)
    monkeypatch.setattr(shipped, "DIALS", ("model",))
    assert shipped.shipped_like(World(SMALL), TINY) == model
    assert shipped.shipped_like(World(SMALL), dataclasses.replace(TINY, steps=3)) is None
    assert shipped.shipped_like(World(dataclasses.replace(SMALL, dial=0.5)), TINY) is None
    made = make(tmp_path, World(SMALL), SIZES, TINY)
    assert made.model == tmp_path / making.MODEL
    assert (made.model / "model.safetensors").read_bytes() == (
        model / "model.safetensors"
    ).read_bytes()
    assert made.record == json.loads((model / "lab.json").read_text())


def test_the_world_of_a_model_is_the_one_it_was_made_from(model: Path, tmp_path: Path) -> None:
    world = shipped.world_of(model)
    assert world.settings == SMALL
    assert world.languages == World(SMALL).languages
    with pytest.raises(RunError, match=r"is no model of the lab: it holds no lab\.json"):
        shipped.world_of(tmp_path)
    (tmp_path / "lab.json").write_text("{}")
    with pytest.raises(RunError, match="this version cannot read its world"):
        shipped.world_of(tmp_path)


def test_there_is_no_other_dial() -> None:
    with pytest.raises(ConfigError, match="no dial 'hgih'; there is low, middle, high"):
        shipped.shipped("hgih")
    assert [shipped.shipped(name).name for name in shipped.DIALS] == ["low", "middle", "high"]


def test_the_command_writes_tasks_and_text_without_a_model(give, tmp_path: Path) -> None:
    line = ["make", "--out", tmp_path / "lab", "--no-model", *ALL_FLAGS]
    code, out, error = give(*line, "--json")
    assert code == 0, error
    said = json.loads(out)
    assert said["model"] is None
    assert [Path(path).parent.name for path in said["tasks"]] == [task.name for task in TASKS]
    write_world(tmp_path / "twin", World(SMALL), SIZES)
    assert contents(tmp_path / "lab") == contents(tmp_path / "twin")
    code, out, _ = give(*line)
    assert code == 0
    assert "6 tasks, parallel.tsv, documents.txt" in out
    assert "model" not in out


def test_another_world_in_the_folder_is_refused(give, tmp_path: Path) -> None:
    line = ["make", "--out", tmp_path, "--no-model", *ALL_FLAGS]
    assert give(*line)[0] == 0
    before = contents(tmp_path)
    for change in (["--seed", 6], ["--test-items", 5]):
        code, out, error = give(*line, *change)
        assert (code, out) == (2, "")
        assert "world.json: found another world; give another folder for this one" in error
        assert contents(tmp_path) == before


def test_the_command_makes_a_model_too(give, model: Path, tmp_path: Path) -> None:
    line = ["make", "--out", tmp_path, *ALL_FLAGS]
    code, out, error = give(*line)
    assert code == 0, error
    record = json.loads((tmp_path / "model" / "lab.json").read_text())
    assert f"({record['parameters']} parameters)" in out
    assert record["sha256"] == json.loads((model / "lab.json").read_text())["sha256"]
    assert load(str(tmp_path / "model")).model.config.hidden_size == 32
    before = contents(tmp_path)
    code, out, error = give(*line, "--json")
    assert (code, json.loads(out)["record"]) == (0, record)
    code, _, error = give(*line, "--steps", 3)
    assert code == 2
    assert "found a model with steps 2; expected 3" in error
    assert contents(tmp_path) == before


def test_the_command_pretrains_alone(give, model: Path, tmp_path: Path) -> None:
    line = ["pretrain", "--out", tmp_path, *SMALL_FLAGS.split(), *TINY_FLAGS.split()]
    code, out, error = give(*line, "--json")
    assert code == 0, error
    made, twin = json.loads(out), json.loads((model / "lab.json").read_text())
    assert made["sha256"] == twin["sha256"]
    assert set(made) == set(twin)
    code, out, _ = give(*line)
    assert code == 0
    assert f"next: isogloss lab probe {tmp_path}" in out.replace("\n", " ")


def test_the_command_probes(give, model: Path) -> None:
    code, out, error = give("probe", model, "--items", 3, "--json")
    assert code == 0, error
    rows = json.loads(out)
    cells = [(row["shape"], row["language"], row["demonstrations"]) for row in rows]
    assert cells == [
        (s, c, k) for s in ("choice", "label", "span") for c in "ab" for k in (0, 1, 3)
    ]
    assert all(row["items"] == 3 and 0 <= row["value"] <= 1 for row in rows)


WRONG = [
    (["make", "--dial", 2], "dial is 2"),
    (["make", "--languages", 1], "languages is 1; it must be 2 to 8"),
    (["make", "--seed", -1], "seed is -1"),
    (["make", "--told", 0], "told is 0"),
    (["make", "--things", 8], "things is 8; it must be 32 or more"),
    (["make", "--test-items", 0], "test items is 0"),
    (["make", "--rows", 0], "rows is 0; it must be 1 or more"),
    (["make", "--width", 30], "width is 30"),
    (["make", "--processes", 0], "processes is 0"),
    (["make", "--rows", 3, "--processes", 2], "rows is 3; it must be a multiple"),
    (["pretrain", "--learning-rate", 0], "learning rate is 0"),
    (["pretrain", "--rows", 3, "--processes", 2], "rows is 3; it must be a multiple"),
    (["make", "--tie", "loose"], "loose"),
    (["make", "--dail", 1], "dail"),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_a_wrong_flag_is_named_and_nothing_is_written(
    give, tmp_path: Path, line: list[object], said: str
) -> None:
    command, *rest = line
    code, out, error = give(command, "--out", tmp_path / "lab", *rest)
    assert code == 2
    assert out == ""
    assert said in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("command", ["make", "pretrain"])
def test_a_folder_is_needed(give, command: str) -> None:
    code, _, error = give(command)
    assert code == 2
    assert "--out" in error


def test_probing_asks_for_a_lab_model_and_items(give, model: Path, model_folder) -> None:
    code, _, error = give("probe", model, "--items", 0)
    assert (code, "items is 0; it must be 1 or more" in error) == (2, True)
    code, _, error = give("probe", model_folder("llama"), "--items", 2)
    assert code == 2
    assert "is no model of the lab: it holds no lab.json" in error
    code, _, error = give("probe", "/nowhere/at/all", "--items", 2)
    assert code == 2
    assert "/nowhere/at/all" in error
