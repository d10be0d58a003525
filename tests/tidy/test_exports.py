"""What a package offers is listed, sorted and there; importing the scheduler stays cheap."""

import ast
import importlib
import subprocess
import sys

import pytest

from tests.support.tree import ROOT, module_name, sources, tree_of


def listed(path):
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def offered(path):
    """What a package's own file imports or defines for others."""
    names = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


def order(name):
    """Constants first, then classes, then functions: the other usual order."""
    return (not name.isupper(), not name[:1].isupper(), name)


WITH_A_LIST = [path for path in sources("scheduler", "backends") if listed(path) is not None]


@pytest.mark.parametrize("path", WITH_A_LIST, ids=module_name)
def test_exported_names_are_unique_and_in_order(path):
    names = listed(path)
    assert len(names) == len(set(names))
    assert names in (sorted(names), sorted(names, key=str.lower), sorted(names, key=order))


@pytest.mark.parametrize("path", [p for p in WITH_A_LIST if p.name == "__init__.py"], ids=module_name)
def test_a_package_lists_everything_that_it_brings_together(path):
    assert offered(path) <= set(listed(path))


@pytest.mark.parametrize("path", [p for p in WITH_A_LIST if "ray" not in p.parts], ids=module_name)
def test_every_exported_name_exists(path):
    module = importlib.import_module(module_name(path))
    assert [name for name in listed(path) if not hasattr(module, name)] == []


def test_importing_the_scheduler_loads_neither_ray_torch_nor_yaml():
    code = "import sys, scheduler; print(sorted({'ray', 'torch', 'yaml', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_shows_its_help_without_loading_ray_torch_or_the_solvers():
    code = (
        "import sys; sys.argv = ['dualtrack', '--help']\n"
        "from scheduler.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(str(sorted({'ray', 'torch', 'sqlalchemy', 'plotly', 'fastapi'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "demo" in done.stdout
