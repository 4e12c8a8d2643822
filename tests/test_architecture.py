"""The wings and the direction of flow, read from the imports: nothing imports upwards, and there is no circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "alstm_helpers"
# From the ground up. The ground floor is the modules at the root, but for the two that start the command.
WINGS = (
    *("ground", "data", "model", "figures", "evaluation", "deployment", "training"),
    *("own_videos", "course", "machine", "commands", "cli"),
)
GROUND = {
    *(
        "language",
        "translation",
        "errors",
        "digests",
        "levels",
        "extras",
        "paths",
        "files",
        "ledger",
        "progress",
        "runtime",
        "config",
        "ranks",
        "loopback",
        "workers",
    ),
    *("tfrecord", "safe_pickle", "pickles", "onnx_file", "metrics", "__init__"),
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def wing_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
        return parts[1]
    return "cli" if parts[-1] in ("cli", "__main__") else "ground"


def imports_of(source: str) -> set[str]:
    """Return the package's modules that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inside}
    return {name for name in found if name in MODULES}


def upward(importer: str, imported: str) -> bool:
    return WINGS.index(wing_of(importer)) < WINGS.index(wing_of(imported))


def test_the_ground_floor_is_what_the_house_says():
    found = {module.rpartition(".")[2] for module in MODULES if wing_of(module) == "ground" and "." in module}
    assert found | {"__init__"} == GROUND
    assert {wing_of(module) for module in MODULES} == set(WINGS)


def test_nothing_imports_upwards():
    against = [
        f"{importer} → {imported}"
        for importer, path in MODULES.items()
        for imported in sorted(imports_of(path.read_text(encoding="utf-8")))
        if upward(importer, imported)
    ]
    assert not against


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module: imports_of(path.read_text(encoding="utf-8")) - {module, module.rpartition(".")[0]}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(error.args[1])}")


def test_an_import_against_the_flow_is_seen():
    source = "def late():\n    from alstm_helpers.training import train\n    import alstm_helpers.data.convert\n"
    assert imports_of(source) == {"alstm_helpers.training.train", "alstm_helpers.data.convert"}
    assert upward("alstm_helpers.data.lists", "alstm_helpers.training.train")
    assert not upward("alstm_helpers.training.train", "alstm_helpers.data.lists")


@pytest.mark.parametrize("name", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_tests_mirror_the_wings(name: str):
    tests = PACKAGE.parent / "tests" / name
    assert any(tests.glob("test_*.py")), f"no tests in {tests}"


def test_functions_are_short_and_any_is_rare():
    """At most 50 lines per function, docstring included; ruff bounds branches and parameters."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
    functions = (
        (module, node)
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = [f"{module}.{node.name}" for module, node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]
    assert not long
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in MODULES.values())
    anys = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name)]
    assert sum(node.id == "Any" for node in anys) < 8 * lines / 1000
