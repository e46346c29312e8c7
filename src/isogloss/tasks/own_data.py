"""A user's own task (Section 6.1): one YAML file, and items in JSON lines, CSV or TSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from isogloss.errors import DataError, Problem
from isogloss.languages import check_language
from isogloss.tasks.example import Example, Kind, Portion, SplitName, Task, Wording
from isogloss.tasks.examples import Shelved
from isogloss.tasks.own_checks import check_files
from isogloss.tasks.own_items import each_item, is_there, read_answers, read_fields, scalar_text
from isogloss.tasks.own_schema import Schema, read_schema
from isogloss.tasks.reading import Record

USUAL_NAME = "task.yaml"


@final
@dataclass(frozen=True)
class OwnTask(Task):
    """A task as its YAML file describes it; `schema` holds all that the file says."""

    name: str
    kind: Kind
    metric: str
    dominant: str
    languages: tuple[str, ...]
    schema: Schema

    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        """The examples of one language and split; nothing is drawn, so `seed` changes nothing.

        Raises:
            ConfigError: the task has no such language.
            DataError: the file is missing (but for validation) or has problems; all are listed.
        """
        check_language(language, self.languages, self.name)
        path = self.schema.files.get((language, split))
        if path is None or not is_there(path):
            if split == "validation":
                return Portion(())
            raise DataError(self.schema.missing(language, split, f"the {split} items"))
        problems: list[Problem] = []
        examples = Shelved()
        for item in each_item(self.schema, language, split, problems):
            examples.add(item.example)
        if problems:
            raise DataError(problems)
        return Portion(examples.plain(), (path, self.schema.path))

    def sentence_fields(self) -> tuple[str, ...]:
        """All fields but the context of a span task, which is a passage."""
        return tuple(name for name in self.schema.fields if name != self.schema.context)

    def answer_field(self) -> str:
        """The field that the YAML file calls the answer."""
        return self.schema.answer

    def wording(self, language: str) -> Wording:
        """The wording for items of a language.

        Raises:
            ConfigError: the task has no such language.
        """
        check_language(language, self.languages, self.name)
        return self.schema.wordings[language]

    def parse(self, record: Record, language: str) -> Example:
        """A new item; its answer and id may lack, and then its line stands for the id.

        Raises:
            ConfigError: the task has no such language.
            DataError: a field is missing or wrong; all are listed.
        """
        check_language(language, self.languages, self.name)
        problems: list[Problem] = []
        fields = read_fields(self.schema, record, problems)
        answers: tuple[str, ...] = ()
        if record.values.get(self.schema.answer) not in (None, "", []):
            answers = read_answers(self.schema, record, fields, problems)
        if problems:
            raise DataError(problems)
        name = scalar_text(record.values.get(self.schema.id)) if self.schema.id else None
        options = self.schema.options
        return Example(
            name or str(record.line), language, MappingProxyType(fields), options, answers
        )


def load_task(path: Path) -> OwnTask:
    """The task of a YAML file, or of the task.yaml in a folder. No item is read yet.

    Raises:
        DataError: the file cannot be read or any key is wrong; all problems are listed.
    """
    problems: list[Problem] = []
    schema = read_schema(_yaml_file(path), problems)
    if problems or schema is None:
        raise DataError(problems)
    return _task(schema)


def check_task(path: Path) -> tuple[OwnTask | None, list[Problem], list[dict[str, object]]]:
    """Every problem at once, in the YAML file and in all files of all languages and splits.

    Comes with the task, None where its YAML has a problem, and with a row for each file there
    is: language, split, items (the good ones) and file.
    """
    problems: list[Problem] = []
    schema = read_schema(_yaml_file(path), problems)
    if schema is None:
        return None, problems, []
    task = None if problems else _task(schema)
    found, rows = check_files(schema)
    return task, problems + found, rows


def _yaml_file(path: Path) -> Path:
    inside = path / USUAL_NAME
    return inside if path.is_dir() and inside.is_file() else path


def _task(schema: Schema) -> OwnTask:
    return OwnTask(
        schema.name, schema.kind, schema.metric, schema.dominant, schema.languages, schema
    )
