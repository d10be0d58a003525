"""One item of a batch: how many bits a byte of its share of the standard library's source holds.

usage: python -m backends.examples.array_task SHARES

The index in the array (DUALTRACK_ARRAY_INDEX) says which share.
"""

import os
import sys
from typing import Any

import torch

from backends.examples.corpus import stdlib_text
from backends.runtime import session


def share_of(text: bytes, index: int, shares: int) -> bytes:
    """The part `index` of `shares` equal ones; the last may be shorter."""
    size = -(-len(text) // shares)
    return text[index * size : (index + 1) * size]


def entropy_bits(counts: Any) -> float:
    """Bits per byte of a histogram (256,)."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def main(argv: list[str]) -> int:
    torch.set_num_threads(1)
    shares = int(argv[0]) if argv else 1
    index = int(os.environ.get("DUALTRACK_ARRAY_INDEX", "0"))
    run = session.join()
    text = share_of(stdlib_text(), index, shares)
    pieces = round(run.seat.work or 1)
    counts = torch.zeros(256, dtype=torch.int64)
    for step in run.steps(total=pieces):
        piece = bytearray(share_of(text, step, pieces))
        counts += torch.bincount(torch.frombuffer(piece, dtype=torch.uint8), minlength=256)
        run.loss = entropy_bits(counts)
    sys.stdout.write(f"share {index} of {shares}: {len(text)} bytes, {entropy_bits(counts):.3f} bits each\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
