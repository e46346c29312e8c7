"""The rules of the house that a machine can check: who imports whom, and what is never done."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import isogloss

ROOT = Path(isogloss.__file__).parent
# Data flows down this list and never back up: each imports only from those before it.
ORDER = (
    "errors",
    "lazy",
    "shelf",
    "processes",
    "languages",
    "tasks",
    "demonstrations",
    "encoding",
    "spans",
    "packing",
    "episodes",
    "planning",
    "portions",
    "model",
    "intervals",
    "correlations",
    "alignment",
    "representation_shift",
    "tuning",
    "methods",
    "settings",
    "settling",
    "sentences",
    "pooling",
    "candidates",
    "progress",
    "runs",
    "corpus",
    "objective",
    "jobs",
    "placing",
    "staging",
    "joint",
    "learning",
    "training",
    "layering",
    "batching",
    "asking",
    "answering",
    "finished",
    "items",
    "scoring",
    "statistics",
    "evaluating",
    "selecting",
    "judging",
    "predicting",
    "serving",
    "compiling",
    "outcomes",
    "diagnosing",
    "gathering",
    "reporting",
    "experiments",
    "comparing",
    "card",
    "exporting",
    "api",
    "__init__",
    "lab",
    "cli",
    "__main__",
)
# What needs packages of an extra is imported where it is used, by the one command that is for it.
NEEDS_EXTRA = {("isogloss.cli.serve", "isogloss.serving.running")}
EXTRA = {"fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"}
TENSORS = {"torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate"}
UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "os.system",
    "torch.load",
    "numpy.load",
    "np.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
}


def module_name(path: Path) -> str:
    parts = ("isogloss", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(ROOT.rglob("*.py"))
TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def unit(module: str) -> str:
    """The entry of ORDER that a module belongs to."""
    return (module.split(".") + ["__init__"])[1]


def named(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports: `from package import module` names the module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    inside = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in TREES else str(node.module) for name in inside]


def imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def own_imports() -> Iterator[tuple[str, str]]:
    """Every (importing, imported) pair of modules of the package, once for each name."""
    for module, tree in TREES.items():
        for node in imports(tree):
            for name in named(node):
                if name.split(".")[0] == "isogloss":
                    yield module, name


def foreign_imports(module: str) -> set[str]:
    return {name.split(".")[0] for node in imports(TREES[module]) for name in named(node)}


def modules_of(package: str) -> list[str]:
    found = [module for module in TREES if unit(module) == package]
    assert found, f"no module '{package}'"
    return found


def test_every_module_has_its_place_in_the_order():
    assert {unit(module) for module in TREES} == set(ORDER)


def test_imports_go_one_way():
    seen, wrong = 0, []
    for module, name in own_imports():
        seen += 1
        later, earlier = ORDER.index(unit(module)), ORDER.index(unit(name))
        if earlier > later:
            wrong.append(f"{module} imports {name}")
    print(f"{seen} imports seen in {len(TREES)} modules")
    assert seen > 100
    assert len(TREES) > 40
    assert wrong == []


def test_no_two_modules_import_each_other():
    graph: dict[str, set[str]] = {module: set() for module in TREES}
    for module, name in own_imports():
        assert name in TREES, f"{module} imports {name}, which is no module"
        assert name != module
        graph[module].add(name)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) == len(TREES)


def test_our_own_code_is_imported_at_the_top_only():
    """Never in a function, in an `if TYPE_CHECKING`, in a `try`, or by a relative name."""
    wrong, late = [], set()
    for module, tree in TREES.items():
        for node in imports(tree):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            own = relative or any(name.split(".")[0] == "isogloss" for name in named(node))
            if not own or (not relative and node in tree.body):
                continue
            pairs = {(module, name) for name in named(node)}
            late |= pairs & NEEDS_EXTRA
            if relative or not pairs <= NEEDS_EXTRA:
                wrong.append(f"{module}, line {node.lineno}")
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "TYPE_CHECKING" not in names, module
    assert wrong == []
    assert late == NEEDS_EXTRA


def test_the_command_line_needs_no_extra():
    """All that it imports before a command is chosen does without the packages of `serve`."""
    graph: dict[str, set[str]] = {module: set() for module in TREES}
    for module, name in own_imports():
        if (module, name) not in NEEDS_EXTRA:
            graph[module].add(name)
    reached, left = set(), ["isogloss.cli.main"]
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += graph[module]
    assert "isogloss.serving.settings" in reached
    assert len(reached) > 100
    assert [module for module in reached if foreign_imports(module) & EXTRA] == []
    assert foreign_imports("isogloss.serving.app") & EXTRA


def test_tasks_and_demonstrations_know_no_tensors():
    for package in ("tasks", "demonstrations"):
        for module in modules_of(package):
            assert not foreign_imports(module) & TENSORS, module


def test_encoding_knows_no_model_and_the_model_no_task():
    pairs = {(unit(module), unit(name)) for module, name in own_imports()}
    assert ("encoding", "model") not in pairs
    assert ("model", "tasks") not in pairs
    assert ("methods", "training") not in pairs
    assert "torch" not in foreign_imports("isogloss.encoding")


def test_nothing_unsafe_is_called():
    seen, wrong = 0, []
    for module, tree in TREES.items():
        assert not foreign_imports(module) & UNSAFE_IMPORTS, module
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                seen += 1
                if ast.unparse(node.func) in UNSAFE_CALLS:
                    wrong.append(f"{module}, line {node.lineno}: {ast.unparse(node.func)}")
                for keyword in node.keywords:
                    value = ast.unparse(keyword.value)
                    if (keyword.arg, value) in (
                        ("trust_remote_code", "True"),
                        ("allow_pickle", "True"),
                        ("shell", "True"),
                    ):
                        wrong.append(f"{module}, line {node.lineno}: {keyword.arg}")
    assert seen > 500
    assert wrong == []


def test_every_module_says_what_it_is():
    without = [module for module, tree in TREES.items() if not ast.get_docstring(tree)]
    assert without == []


def test_no_module_is_a_heap():
    heaps = {"utils", "util", "helpers", "misc", "common"}
    assert [module for module in TREES if set(module.split(".")) & heaps] == []


def test_what_is_public_is_there():
    assert len(set(isogloss.__all__)) == len(isogloss.__all__) > 20
    assert [name for name in isogloss.__all__ if not hasattr(isogloss, name)] == []
