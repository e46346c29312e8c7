"""Methods that train nothing: the model asked alone, or with solved examples before (Fig. 3)."""

from __future__ import annotations

from dataclasses import replace

from isogloss.demonstrations.choose import DemonstrationLanguages, Demonstrations
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method
from isogloss.methods.published import preset_of
from isogloss.tasks.example import Kind
from isogloss.tuning.untuned import Untuned


def _free(name: str, section: str, summary: str, context: Demonstrations) -> Method:
    return Method(
        name=name,
        section=section,
        summary=summary,
        stages=(),
        tune=Untuned(),
        context=context,
        loss=AnswerLoss("off"),
    )


def zero_shot(task: str, kind: Kind) -> Method:
    """The model as it is, without demonstrations."""
    summary = "the model as it is, asked without demonstrations"
    return _free("zero-shot", "6.1", summary, Demonstrations(0, "mixed"))


def _icl(
    name: str, summary: str, task: str, kind: Kind, languages: DemonstrationLanguages
) -> Method:
    """In-context learning with as many demonstrations as CL-ICP (Appendix B.2)."""
    count = preset_of(task, kind).demonstrations
    return _free(name, "5.2", summary, Demonstrations(count, languages))


def icl_dominant(task: str, kind: Kind) -> Method:
    """In-context learning from demonstrations in the dominant language (Fig. 3)."""
    summary = "the model as it is, demonstrations in the dominant language"
    return _icl("icl-dominant", summary, task, kind, "dominant")


def icl_target(task: str, kind: Kind) -> Method:
    """In-context learning from demonstrations in the target language (Fig. 3)."""
    summary = "the model as it is, demonstrations in the target language"
    return _icl("icl-target", summary, task, kind, "target")


def icl_mixed(task: str, kind: Kind) -> Method:
    """In-context learning from demonstrations of both languages."""
    summary = "the model as it is, demonstrations of both languages"
    return _icl("icl-mixed", summary, task, kind, "mixed")


def icl_retrieved(task: str, kind: Kind) -> Method:
    """In-context learning from the demonstrations nearest to each item (Tanwar et al. 2023).

    Nearness is BM25 over character n-grams; `--demonstration-choice encoder` takes an encoder's.
    """
    summary = "the model as it is, the demonstrations of both languages nearest to each item"
    base = _icl("icl-retrieved", summary, task, kind, "mixed")
    return replace(base, context=replace(base.context, choose="bm25"))


def icl_calibrated(task: str, kind: Kind) -> Method:
    """In-context learning with contextual calibration (Zhao et al. 2021); not for spans."""
    summary = "icl-mixed, answers divided by what they get without content"
    base = _icl("icl-calibrated", summary, task, kind, "mixed")
    return replace(base, section="beyond", calibration="contextual")
