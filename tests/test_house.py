"""The law of imports: the docstring of `steerlib` has the order, and every module keeps to it."""

import ast
import importlib
import inspect
import re
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import steerlib

ROOT = Path(__file__).resolve().parents[1]
ORDER = re.findall(r"^    (\w+) +\w", steerlib.__doc__.split("from the ground up")[1], re.M)


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {dotted(path): path for path in sorted((ROOT / "steerlib").rglob("*.py"))}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def home(target):
    """The module that an import reaches: of ``from steerlib import sweep``, the one that defines `sweep`."""
    parent, _, name = target.rpartition(".")
    if target in MODULES or parent not in PACKAGES:
        return target if target in MODULES else parent
    value = getattr(importlib.import_module(parent), name)
    defined = getattr(value, "__module__", parent)
    return defined if defined in MODULES else parent


def imports(name):
    """Modules of this project that a module imports: at its top, inside functions, and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = name.split(".") if name in PACKAGES else name.split(".")[:-1]
            base = inside[: len(inside) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        found |= {home(target) for target in targets if target.split(".")[0] == "steerlib"}
        found |= {target for target in targets if target.split(".")[0] == "book"}
    return found


IMPORTS = {name: imports(name) for name in MODULES if name != "steerlib"}


def wing(name):
    """The line of the order on which a module stands; `steerlib` itself and ``__main__`` come last."""
    return (name.split(".") + ["__main__"])[1]


def place(name):
    return ORDER.index(wing(name)) if wing(name) in ORDER else len(ORDER)


def test_every_module_stands_in_the_order():
    assert len(ORDER) > 10 and len(set(ORDER)) == len(ORDER)
    assert {wing(name) for name in MODULES} <= {*ORDER, "__main__"}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_module_imports_from_its_own_wing_and_from_lines_above(name):
    assert not {
        other
        for other in IMPORTS[name]
        if other in MODULES and wing(other) != wing(name) and place(other) >= place(name)
    }


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({name: others & set(IMPORTS) for name, others in IMPORTS.items()}).prepare()


def test_nothing_in_the_library_imports_the_tools_of_the_book():
    assert not {name for name, others in IMPORTS.items() if others - set(MODULES)}


def test_no_chapter_imports_another():
    chapters = {name for name in IMPORTS if name.startswith("steerlib.chapters.")}
    assert not {name for name in chapters if IMPORTS[name] & chapters}


def test_no_function_hides_the_module_that_has_its_name():
    for package in map(importlib.import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            if f"{package.__name__}.{name}" in MODULES:
                assert isinstance(getattr(package, name), ModuleType), f"{package.__name__}.{name}"


def test_the_face_is_small():
    assert len(steerlib.__all__) <= 15
    assert len(inspect.signature(steerlib.sweep).parameters) <= 12
    assert len(inspect.signature(steerlib.generate).parameters) <= 8


def test_a_study_delegates():
    assert len(MODULES["steerlib.study"].read_text(encoding="utf-8").splitlines()) <= 350
