"""How much a file may hold, in one place, each limit with its reason."""

from typing import Final

from msgspec import Struct

__all__ = ["ANY_LIMITS", "JOB_LIMITS", "Limits", "SMALL_LIMITS", "WORKLOAD_LIMITS"]


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on one text before anything is made of it."""

    size: int  # bytes, checked before the text is looked at
    events: int  # of the parser: scalars, and two for each list and mapping; bounds time and memory
    documents: int = 1  # separated by `---`
    depth: int = 32  # nested lists and mappings; no form of ours needs ten


JOB_LIMITS: Final = Limits(size=1 << 20, events=20_000, documents=100)
"""A job is a page of text; a file may submit a hundred. Anybody may send one, so this is the tightest."""

SMALL_LIMITS: Final = Limits(size=4 << 20, events=200_000)
"""What an operator writes: clusters are run-length, a tree of 2,000 tenants with six quotas fits."""

WORKLOAD_LIMITS: Final = Limits(size=64 << 20, events=6_000_000)
"""100,000 jobs of sixty values each."""

ANY_LIMITS: Final = Limits(size=WORKLOAD_LIMITS.size, events=WORKLOAD_LIMITS.events, documents=JOB_LIMITS.documents)
"""While the kind of a file is still unknown; its own limits hold afterwards."""

MAX_SCALAR: Final = 65_536
"""Characters of one value: a long command line fits, a file pasted by mistake does not."""

MAX_INT: Final = 2**63 - 1
"""Integers are int64 everywhere inside."""

MAX_INT_DIGITS: Final = 19
"""Digits read before a number is refused unread: converting thousands of digits takes quadratic time."""

MAX_ERROR_TEXT: Final = 80
"""Characters of a wrong value that an error repeats, so that it stays one readable line."""

MAX_PATH: Final = 400
"""Characters of the path within a file that an error names."""

MAX_DURATION_US: Final = 100 * 366 * 86_400 * 1_000_000
"""A century: longer is a mistake, and sums of a few stay far from the end of int64."""

MAX_PRIORITY: Final = 1000
MAX_COUNT: Final = 1_000_000
"""Devices of one option; the largest fleet in sight has a few hundred thousand."""

MAX_COUNTS: Final = 64
MAX_OPTIONS: Final = 32
"""Options of one role: each is a row of the optimiser's arrays."""

MAX_ROLES: Final = 4
MAX_ARGUMENTS: Final = 1024
MAX_ENV: Final = 256
MAX_LABELS: Final = 64
MAX_LIST: Final = 256
"""Entries of any other list in a job (mounts, secrets, dependencies): one submission stays a small record."""

MAX_ARRAY: Final = 10_000
"""Jobs that one array makes: one submission may not fill the queue."""

MAX_REPLICAS: Final = 10_000
MAX_RETRIES: Final = 1000
MAX_TENANT_DEPTH: Final = 6
MAX_TENANTS: Final = 20_000
MAX_NODES_PER_POOL: Final = 200_000
MAX_POOLS: Final = 10_000
MAX_CELLS: Final = 1_000
MAX_DEVICES: Final = 10_000_000
"""Devices of one cluster: thirty times the largest that is shipped."""

MAX_ACCELERATORS: Final = 1_000
MAX_AMOUNT: Final = 10**15
"""Quota amounts and money in fen: sums over every tenant stay within int64."""
