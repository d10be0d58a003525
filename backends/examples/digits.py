"""Scikit-learn's handwritten digits, read from its package without importing it: that would cost each rank a second."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits"]


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """1,797 pictures as (n, 64) in [0, 1], and their digits (n,)."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise SystemExit("this example needs scikit-learn: pip install scikit-learn")
    packed = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(packed, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return (table[:, :-1] / 16).astype(np.float32), table[:, -1].astype(np.int64)
