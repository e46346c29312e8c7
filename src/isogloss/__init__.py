"""Isogloss: carry what a language model knows about a task into a non-dominant language.

>>> import isogloss
>>> isogloss.cl_icp("xcopa", "choice").context.count
3
"""

from __future__ import annotations

from isogloss.answering import Prediction
from isogloss.api import (
    compare,
    compile_run,
    diagnose,
    evaluate,
    export,
    layers,
    predict,
    report,
    train,
)
from isogloss.comparing.comparing import Compared
from isogloss.compiling.compiling import CompiledRun
from isogloss.corpus import LayerChoice
from isogloss.diagnosing.diagnosis import Diagnosis
from isogloss.errors import (
    ConfigError,
    DataError,
    IsoglossError,
    ModelError,
    Problem,
    RunError,
)
from isogloss.evaluating import Scores
from isogloss.exporting.exporting import Exported
from isogloss.methods.method import Method, Stage
from isogloss.methods.published import cl_icp, cl_icp_s
from isogloss.methods.registry import METHODS
from isogloss.model.load import Loaded, ModelOptions, load
from isogloss.reporting.making import Report, ReportOptions
from isogloss.runs import Run, list_runs, open_run
from isogloss.settings import (
    CompareSettings,
    CompileSettings,
    DiagnoseSettings,
    EvaluateSettings,
    ExportSettings,
    LayersSettings,
    PredictSettings,
    TrainSettings,
)
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Example, Task, Wording
from isogloss.tasks.opening import open_task

__all__ = [
    "METHODS",
    "BenchmarkSettings",
    "CompareSettings",
    "Compared",
    "CompileSettings",
    "CompiledRun",
    "ConfigError",
    "DataError",
    "DiagnoseSettings",
    "Diagnosis",
    "EvaluateSettings",
    "Example",
    "ExportSettings",
    "Exported",
    "IsoglossError",
    "LayerChoice",
    "LayersSettings",
    "Loaded",
    "Method",
    "ModelError",
    "ModelOptions",
    "PredictSettings",
    "Prediction",
    "Problem",
    "Report",
    "ReportOptions",
    "Run",
    "RunError",
    "Scores",
    "Stage",
    "Task",
    "TrainSettings",
    "Wording",
    "cl_icp",
    "cl_icp_s",
    "compare",
    "compile_run",
    "diagnose",
    "evaluate",
    "export",
    "layers",
    "list_runs",
    "load",
    "open_run",
    "open_task",
    "predict",
    "report",
    "train",
]
