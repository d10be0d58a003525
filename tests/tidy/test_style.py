"""Names that say something, files and functions that fit a reader's head, and no loose ends."""

import ast
import re
import statistics

import pytest

from tests.support.tree import ROOT, functions, module_name, sources, tree_of

SHIPPED = sources("scheduler", "backends")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
PIECES = ("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("NotImplemented", "Error")  # apart, so that this file has none
LOOSE_ENDS = re.compile("|".join(rf"\b{first}{second}\b" for first, second in PIECES))
FOREIGN_PATHS = re.compile(r"(?<![\w.~])/(?:home|root|work|Users)/")
OUTPUT = ROOT / "scheduler/cli/output.py"


@pytest.mark.parametrize("path", sources("scheduler", "backends", "tests", "benchmarks"), ids=module_name)
def test_no_file_or_folder_has_a_name_that_says_nothing(path):
    assert not NAMES_THAT_SAY_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", sources("scheduler", "backends", "tests", "benchmarks"), ids=module_name)
def test_a_file_leaves_no_loose_ends_and_names_no_foreign_path(path):
    text = path.read_text()
    assert not LOOSE_ENDS.search(text)
    assert not FOREIGN_PATHS.search(text)


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_a_file_has_at_most_500_lines_and_its_functions_at_most_70(path):
    assert path.read_text().count("\n") <= 500
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path) if f.end_lineno - f.lineno >= 70}
    assert not long


def test_most_files_and_functions_are_far_smaller():
    lines = [path.read_text().count("\n") for path in SHIPPED]
    sizes = sorted(f.end_lineno - f.lineno + 1 for path in SHIPPED for f in functions(path))
    assert statistics.median(lines) <= 150
    assert sizes[int(0.9 * (len(sizes) - 1))] <= 25


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_every_argument_and_every_return_is_annotated(path):
    for function in functions(path):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        arguments += [a for a in (function.args.vararg, function.args.kwarg) if a]
        bare = [a.arg for a in arguments if a.arg not in ("self", "cls") and a.annotation is None]
        assert not bare, f"{function.name} at line {function.lineno}"
        assert function.returns is not None, f"{function.name} at line {function.lineno}"


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.read_text().strip()], ids=module_name)
def test_a_file_says_why_it_exists(path):
    assert ast.get_docstring(tree_of(path))


@pytest.mark.parametrize("path", [p for p in SHIPPED if p != OUTPUT], ids=module_name)
def test_only_the_output_module_prints(path):
    calls = (n.func for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call))
    assert not [f.lineno for f in calls if isinstance(f, ast.Name) and f.id == "print"]


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_a_broad_except_stands_only_at_a_boundary_and_gives_its_reason(path):
    lines = path.read_text().splitlines()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            named = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"Exception"}
            if named & {"Exception", "BaseException"}:
                nearby = lines[node.lineno - 2 : node.body[0].end_lineno]
                assert any(re.search(r"# (?!noqa)|noqa[^#]*\w - ", line) for line in nearby), f"line {node.lineno}"
