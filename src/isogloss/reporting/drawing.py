"""How figures look, and how they are written: the same bytes for the same numbers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.errors import RunError
from isogloss.runs import write_together

# Each has a contrast of 3 or more on white and on the page's dark ground. Their hues are apart for
# the usual kinds of colour blindness, and no line is told by its colour alone.
COLOURS = ("#2c7fb8", "#d0602b", "#1b9e77", "#b5518f", "#b8830f", "#7b6fc4", "#6f8f1f", "#808080")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (4, 1, 1, 1, 1, 1)), (0, (6, 2)), "-", "--")
WIDE = 5.6  # inches; a wider figure has the page's whole width
INK = "#010203"  # as good as black; in an SVG it becomes the colour of the text around
LIGHT, DARK = "#1d1f23", "#e8e6e1"  # that colour on light and on dark ground
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a name may have a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.28,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",
    "figure.dpi": 100.0,
}


@final
@dataclass(frozen=True)
class Drawing:
    """A figure, written: `svg` for either theme, `png` on white; `alt` says it in words."""

    name: str
    title: str
    alt: str
    svg: str
    png: bytes
    wide: bool

    @property
    def inline(self) -> str:
        """The SVG element alone, whose text has the colour of the page around it."""
        return self.svg[self.svg.index("<svg") :]

    @property
    def file(self) -> str:
        """The SVG as a file of its own, which follows the reader's theme."""
        dark = f"@media(prefers-color-scheme:dark){{svg{{color:{DARK}}}}}"
        at = self.svg.index(">", self.svg.index("<svg")) + 1
        return f"{self.svg[:at]}<style>svg{{color:{LIGHT}}}{dark}</style>{self.svg[at:]}"


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for our figures, undone afterwards."""
    with matplotlib.rc_context(_STYLE):
        yield


def panels(
    count: int, *, width: float, height: float, shared: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels beside each other, with one y axis if `shared`; its legend goes
    below.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=shared, squeeze=False)[0])


def legend(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, below them, in as many columns as its names leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(len(label) for label in labels)
        room = int(figure.get_figwidth() / (0.6 + 0.075 * longest))
        columns = max(1, min(len(labels), room))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def slug(*parts: str) -> str:
    """A file's name out of names.

    >>> slug("scores", "Llama 3.1 (a1)", "xquad")
    'scores-llama-3-1-a1-xquad'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def written(figure: Figure, name: str, title: str, alt: str) -> Drawing:
    """The figure as SVG and PNG, without a date or a random id."""
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # A label may have letters that the font lacks; SVG has them as text all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
        svg = _themed(stream.getvalue(), name)
        figure.set_layout_engine("none")  # what was laid out stays; doing so again takes as long
        raster = io.BytesIO()
        options: dict[str, Any] = {"dpi": 200, "facecolor": "white", "metadata": {"Software": None}}
        figure.savefig(raster, format="png", **options)
    return Drawing(name, title, alt, svg, raster.getvalue(), figure.get_figwidth() > WIDE)


def _themed(svg: str, name: str) -> str:
    """Text and axes in the colour of what is around, in its font; ids of the figure's own."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui")
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
    assert size, "an SVG has a width"
    svg = svg.replace(size[0], f'style="max-width: {float(size[1]) * 4 / 3:.0f}px"', 1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)


def save(folder: Path, drawings: Sequence[Drawing], texts: Mapping[Path, str]) -> None:
    """Write texts with the drawings' SVGs, all or none, then the PNGs; in the folder's `figures`.

    Raises:
        RunError: the folder cannot be written.
    """
    place = folder / "figures"
    svgs = {place / f"{each.name}.svg": each.file for each in drawings}
    try:
        write_together({**texts, **svgs})
        for each in drawings:
            (place / f"{each.name}.png").write_bytes(each.png)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error
