"""Where Numba is not installed the solvers take the same decisions over arrays."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
if sys.argv[1] == "plain":
    sys.modules["numba"] = None  # as if it were not installed
import numpy as np
from scheduler.policies.assignment import Assignment, solve
from scheduler.policies.kernels import COMPILED
from scheduler.policies.shares import Shares, max_min
from scheduler.policies.water_filling import water_filling

assert COMPILED == (sys.argv[1] != "plain")
draw, jobs, rows = np.random.default_rng(3), 700, 3
amount = draw.integers(1, 9, jobs * rows)
utility = draw.lognormal(0, 0.5, jobs * rows) * amount**0.8
row, available = np.tile(np.arange(rows), jobs), np.full(rows, 500)
ptr, use_ptr = np.arange(jobs + 1) * rows, np.arange(jobs * rows + 1)
found = solve(Assignment(ptr, utility, use_ptr, row, amount, available))
shares = Shares(ptr, utility, use_ptr, row, amount, available)
level, filled = max_min(shares, np.ones(jobs)), water_filling(shares, np.ones(jobs))
print(json.dumps({
    "option": found.option.tolist(),
    "numbers": [found.value, found.bound, *found.prices, level.level, level.bound, *level.prices, filled.level],
}))
"""


def decided(how: str) -> dict:
    told = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def test_without_numba_the_same_options_are_taken_at_the_same_prices() -> None:
    pytest.importorskip("numba")
    compiled, plain = decided("compiled"), decided("plain")
    assert compiled["option"] == plain["option"]
    assert compiled["numbers"] == pytest.approx(plain["numbers"], rel=1e-9)
