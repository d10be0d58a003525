"""One item of a batch: counts the words of its share of the standard library. Needs no PyTorch.

usage: python -m backends.examples.array_task SHARES
"""

import os
import re
import sys
from collections import Counter

from backends.examples.corpus import stdlib_text
from backends.runtime import session

WORD = re.compile(rb"[A-Za-z_]{3,}")


def count_words(text: bytes) -> Counter[bytes]:
    return Counter(WORD.findall(text))


def share_of(text: bytes, index: int, shares: int) -> bytes:
    size = -(-len(text) // shares)
    return text[index * size : (index + 1) * size]


def main(argv: list[str]) -> int:
    """Count in as many steps as the job declares; the index in the array says which share."""
    shares = int(argv[0]) if argv else 1
    index = int(os.environ.get("DUALTRACK_ARRAY_INDEX", "0"))
    run = session.join()
    text = share_of(stdlib_text(), index, shares)
    pieces = round(run.seat.work or 1)
    counts: Counter[bytes] = Counter()
    for step in run.steps(total=pieces):
        counts += count_words(share_of(text, step, pieces))
    most = ", ".join(f"{word.decode()} {count}" for word, count in counts.most_common(3))
    sys.stdout.write(f"share {index} of {shares}: {counts.total()} words; {most}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
