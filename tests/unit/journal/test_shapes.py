"""No event changes its shape without a new version."""

import json
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct

from scheduler.journal.codec import KIND_VERSIONS
from scheduler.journal.shapes import shape_of
from scheduler.model.events import Event

ON_FILE = Path(__file__).resolve().parents[2] / "golden" / "journal_shapes.json"


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__struct_config__.tag)
def test_a_kind_of_event_keeps_its_shape_for_as_long_as_its_version(kind):
    name = kind.__struct_config__.tag
    known = json.loads(ON_FILE.read_text())[name]
    assert known == {"version": KIND_VERSIONS[name], "shape": shape_of(kind)}, (
        f"the shape of {name} changed: add one to its version in scheduler/journal/codec.py and an upgrade in "
        "scheduler/journal/upgrades.py (before the first release: neither), then python -m tests.support.golden_journal"
    )


def test_a_shape_tells_fields_types_and_choices_but_not_words():
    class Before(Struct):
        """Words."""

        a: int

    class Reworded(Struct):
        """Other words."""

        a: int

    class Grown(Struct):
        a: int
        b: int = 0

    class Retyped(Struct):
        a: str

    shapes = []
    for kind in (Before, Reworded, Grown, Retyped):
        kind.__name__ = kind.__qualname__ = "Same"
        shapes.append(shape_of(kind))
    assert shapes[0] == shapes[1]
    assert len(set(shapes)) == 3
