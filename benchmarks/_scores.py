"""How good predictions are: mean and 90th percentile of relative errors, and whether bands hold what they promise."""

import math
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import scheduler

__all__ = ["binomial_interval", "document", "rounded", "scores"]

LEVEL = 0.90


def scores(
    observed: Sequence[float],
    predicted: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    which: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Errors in per cent of what was observed; coverage of [low, high] with its 95 % binomial interval; n.

    `which` measurement each prediction is of, where several are of the same: n counts measurements, each of them
    covered in the share of its predictions, since repeated predictions of one measurement are not independent.
    """
    seen, said = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    errors = 100 * np.abs(said / seen - 1)
    inside = float(((np.asarray(low) <= seen) & (seen <= np.asarray(high))).mean())
    n = len(seen) if which is None else len(set(np.asarray(which).tolist()))
    lowest, highest = binomial_interval(round(inside * n), n)
    return {
        "mape_percent": round(float(errors.mean()), 3),
        "median_error_percent": round(float(np.median(errors)), 3),
        "p90_error_percent": round(float(np.quantile(errors, 0.9)), 3),
        "coverage_90_percent": round(100 * inside, 2),
        "coverage_interval_percent": [round(100 * lowest, 2), round(100 * highest, 2)],
        "coverage_holds": lowest <= LEVEL <= highest,
        "n": n,
        "predictions": len(seen),
    }


def binomial_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval, 1934, by bisection of the binomial distribution."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _root(lambda p: 1 - _at_most(hits - 1, n, p) - tail)
    high = 1.0 if hits == n else _root(lambda p: tail - _at_most(hits, n, p))
    return low, high


def _at_most(hits: int, n: int, p: float) -> float:
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 or hits >= n else 0.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(hits + 1)
    ]
    return math.fsum(math.exp(x) for x in logs)


def _root(rising: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def document(rows: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """What every benchmark prints with `-o json`."""
    return {
        "schema": "dualtrack/v1",
        "command": " ".join(sys.argv),
        "machine": f"{platform.platform()}, {platform.processor() or platform.machine()}",
        "versions": {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": np.__version__},
        **more,
        "results": list(rows),
    }


def rounded(value: Any, digits: int) -> Any:
    """Plain values whose numbers have so many significant digits, for files that ship."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
