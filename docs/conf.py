"""Sphinx builds the documentation from this: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # the package need not be installed

project = "Isogloss"
author = "The Isogloss developers"
copyright = author
release = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)[0]
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "literal"  # docstrings write `name` for code, as Markdown does

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"Isogloss {release}"


def sections(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn `Raises:` into a list. Not for attributes: there a colon is only a colon."""
    if what != "attribute":
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, obj, options).lines()


def outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make links to files beside docs/ (README, CHANGELOG) links to copies of them."""
    source[0] = source[0].replace("](../", "](path:../")


def setup(app: Sphinx) -> None:
    app.connect("source-read", outside)
    app.connect("autodoc-process-docstring", sections)
