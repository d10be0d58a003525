"""Makes the repository importable from the tests, and properties repeatable.

The suite draws the same examples each time, so that a change is judged by what it does; `make fuzz` draws others, as
many as one has time for, and what it finds becomes a test of its own.
"""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("repeatable")
