"""Share problems drawn from a seed, and plain readings of what shares come to."""

import numpy as np

from scheduler.policies.shares import Shares

TENANTS = 3


def drawn_shares(seed: int, jobs: int, types: int, quotas: bool = False) -> Shares:
    """Gangs of 1 to 4 with one option per type, some of them dead; with `quotas` a row for each tenant and type."""
    draw = np.random.default_rng(seed)
    speed = draw.lognormal(0, 0.7, (jobs, types))
    speed[draw.random((jobs, types)) < 0.15] = 0.0
    size = draw.choice([1, 2, 4], jobs, p=[0.6, 0.25, 0.15])
    kind, job = np.tile(np.arange(types), jobs), np.repeat(np.arange(jobs), types)
    row, available = kind[:, None], draw.integers(2, 2 + max(2, jobs // 2), types)
    if quotas:
        row = np.stack((kind, types + (job % TENANTS) * types + kind), axis=1)
        available = np.concatenate((available, draw.integers(1, 2 + max(2, jobs // 4), types * TENANTS)))
    width = row.shape[1]
    return Shares(
        ptr=np.arange(jobs + 1) * types,
        speed=speed.ravel(),
        use_ptr=np.arange(jobs * types + 1) * width,
        use_row=row.ravel(),
        use_amount=np.repeat(size[job], width),
        available=available,
    )


def fastest(problem: Shares) -> np.ndarray:
    """float64[n]: on the options that fit the rows alone."""
    used_by = np.repeat(np.arange(len(problem.speed)), np.diff(problem.use_ptr))
    speed = problem.speed.copy()
    speed[used_by[problem.use_amount > problem.available[problem.use_row]]] = 0.0
    return np.array([speed[a:b].max(initial=0.0) for a, b in zip(problem.ptr, problem.ptr[1:], strict=False)])


def loads(problem: Shares, share: np.ndarray) -> np.ndarray:
    """float64[r]: the part of each row in use."""
    taken = np.repeat(share, np.diff(problem.use_ptr)) * problem.use_amount
    return np.bincount(problem.use_row, weights=taken, minlength=len(problem.available)) / problem.available


def throughput(problem: Shares, share: np.ndarray) -> np.ndarray:
    owner = np.repeat(np.arange(len(problem.ptr) - 1), np.diff(problem.ptr))
    return np.bincount(owner, weights=problem.speed * share, minlength=len(problem.ptr) - 1)
