"""The page on files: each example is valid, each kind has one, and each field of ours is on the page."""

import re
from pathlib import Path

import pytest

from scheduler.config import load_catalog, read_text
from scheduler.config.document import KINDS
from scheduler.config.job import PART, WHOLE
from scheduler.model.precisions import PRECISIONS, SERVED_IN, TRAINED_IN

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "files.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[1])
def test_every_example_is_a_valid_file(example):
    read_text(example, "files.md", load_catalog())


def test_every_kind_has_an_example():
    assert {read_text(example, "files.md", load_catalog())[0] for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_that_a_job_may_name_is_on_the_page(precision):
    assert precision not in (*TRAINED_IN, *SERVED_IN) or f"`{precision}`" in PAGE


@pytest.mark.parametrize("field", [*WHOLE, *PART, "roles"])
def test_every_field_of_a_job_is_on_the_page(field):
    assert re.search(rf"(?m)^\s*{field}: |`{field}`|`{field}\.", PAGE)
