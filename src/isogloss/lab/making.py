"""A world as a user's folder: its tasks, its text, and the model that was pre-trained on it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from isogloss.errors import RunError
from isogloss.lab.documents import Documents
from isogloss.lab.pretraining import RECORD, PretrainSettings, check_processes, pretrain_together
from isogloss.lab.shipped import copy_model, shipped_like
from isogloss.lab.tasks import TASKS, TaskSizes, write_task
from isogloss.lab.tokenizer import pieces
from isogloss.lab.voice import Voice
from isogloss.lab.world import RELATIONS, World
from isogloss.runs import Json, json_text, read_json_file, write_together

WORLD, MODEL, PARALLEL, SAMPLE = "world.json", "model", "parallel.tsv", "documents.txt"
SAMPLED, SAMPLE_LENGTH = 50, 128


@dataclass(frozen=True)
class Made:
    """Where the parts of a world's folder are; `model` is None where none was asked for."""

    folder: Path
    tasks: tuple[Path, ...]
    model: Path | None
    record: Json


def make(
    folder: Path,
    world: World,
    sizes: TaskSizes,
    training: PretrainSettings | None,
    *,
    processes: int = 1,
) -> Made:
    """Write a world's folder; its model is the shipped one where that is the same, or is made.

    Raises:
        RunError: the folder holds another world or model, or cannot be written.
        ConfigError: `processes` is below 1, or the rows cannot be shared evenly among them.
    """
    made = (folder / MODEL / RECORD).is_file()
    check_processes(processes, None if made else training)
    tasks = write_world(folder, world, sizes)
    if training is None:
        return Made(folder, tasks, None, {})
    like = shipped_like(world, training)
    if like and not (folder / MODEL).exists():
        copy_model(like, folder / MODEL)
    record = pretrain_together(world, training, folder / MODEL, processes)
    return Made(folder, tasks, folder / MODEL, record)


def write_world(folder: Path, world: World, sizes: TaskSizes) -> tuple[Path, ...]:
    """Write world.json, the tasks, parallel text and some documents; the tasks' YAML files."""
    content = {"world": dataclasses.asdict(world.settings), "sizes": dataclasses.asdict(sizes)}
    path = folder / WORLD
    if path.is_file() and read_json_file(path) != json.loads(json_text(content)):
        raise RunError(f"{path}: found another world; give another folder for this one")
    write_together(
        {
            path: json_text(content),
            folder / PARALLEL: parallel_text(world),
            folder / SAMPLE: sample(world),
        }
    )
    return tuple(write_task(folder / "tasks" / task.name, task, world, sizes) for task in TASKS)


def parallel_text(world: World) -> str:
    """Every fact as a sentence of every language: a table with a column for each."""
    lines = ["\t".join(world.codes)]
    for relation in RELATIONS:
        for thing in world.things:
            said = []
            for language in world.languages.values():
                voice = Voice.of(language)
                words = voice.concept(thing), relation, world.object(relation, thing)
                said.append(f"{voice.sentence(*words)} .")
            lines.append("\t".join(said))
    return "\n".join(lines) + "\n"


def sample(world: World) -> str:
    """The first documents of the pre-training text, each under a line with its number."""
    documents, texts = Documents(world), []
    for number in range(SAMPLED):
        text, length = "", 0
        for piece in documents.pieces(number):
            text, length = text + piece.whole, length + len(pieces(piece.whole))
            if length >= SAMPLE_LENGTH:
                break
        texts.append(f"--- document {number} ---\n{text.strip()}\n")
    return "\n".join(texts)
