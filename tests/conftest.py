"""Makes the repository importable from the tests, whichever folder they run from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
