"""Fig. 2a and 2b: cosines among a sentence's and its translation's tokens; sentences in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import matplotlib
from torch import Tensor

from isogloss.reporting.drawing import COLOURS, Drawing, legend, panels, style, written


@final
@dataclass(frozen=True)
class SentencePlane:
    """Sentences of two languages in the plane of one layer, (sentences, 2) each."""

    layer: int
    own: Tensor
    other: Tensor
    shares: tuple[float, float]


def draw_token_maps(
    maps: Mapping[str, Tensor], lengths: Mapping[str, int], languages: tuple[str, str]
) -> Drawing:
    """Fig. 2a: a heat map for each model; `lengths` are the tokens of the dominant language."""
    with style():
        figure, drawn = panels(len(maps), width=2.9 * len(maps) + 0.9, height=3.1, shared=False)
        image = None
        for axes, (name, cosines) in zip(drawn, maps.items(), strict=True):
            image = axes.imshow(
                cosines.numpy(), vmin=0, vmax=1, cmap=matplotlib.colormaps["viridis"]
            )
            edge = lengths[name] - 0.5
            axes.axhline(edge, color="white", linewidth=0.8)
            axes.axvline(edge, color="white", linewidth=0.8)
            middles = [edge / 2, (edge + len(cosines)) / 2]
            axes.set_xticks(middles, list(languages))
            axes.set_yticks(middles, list(languages))
            axes.tick_params(length=0)
            axes.set_title(name)
            axes.grid(visible=False)
        assert image is not None, "there is a map"
        figure.colorbar(image, ax=drawn, shrink=0.8, label="cosine, mean over layers")
        said = "; ".join(
            f"{name}: {float(cosines[: lengths[name], lengths[name] :].mean()):.2f} across, "
            f"{float(cosines[: lengths[name], : lengths[name]].mean()):.2f} within {languages[0]}"
            for name, cosines in maps.items()
        )
        title = "Cosines among the tokens of a sentence and its translation (Fig. 2a)"
        return written(figure, "fig2a", title, f"Mean cosines. {said}.")


def draw_sentence_planes(
    planes: Sequence[SentencePlane], name: str, model: str, languages: tuple[str, str]
) -> Drawing:
    """Fig. 2b: the first, middle and last layers of one model."""
    with style():
        figure, drawn = panels(len(planes), width=2.5 * len(planes) + 0.4, height=2.9)
        for axes, plane in zip(drawn, planes, strict=True):
            for side, colour, marker, label in (
                (plane.own, COLOURS[0], "o", languages[0]),
                (plane.other, COLOURS[1], "^", languages[1]),
            ):
                size = float(_farthest(plane))
                points = (side / size).numpy()
                axes.scatter(
                    points[:, 0], points[:, 1], s=9, color=colour, marker=marker, label=label
                )
            axes.set_title(
                f"layer {plane.layer} ({plane.shares[0]:.0%}, {plane.shares[1]:.0%} of variance)"
            )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
        legend(figure, drawn[0])
        title = f"Sentences of {languages[0]} and {languages[1]} in {model} (Fig. 2b)"
        layers = ", ".join(str(plane.layer) for plane in planes)
        return written(figure, name, title, f"Mean-pooled sentence vectors at layers {layers}.")


def _farthest(plane: SentencePlane) -> Tensor:
    """The farthest coordinate of a plane, to which its panel is scaled."""
    found: Tensor = max(plane.own.abs().max(), plane.other.abs().max()).clamp(min=1e-30)
    return found
