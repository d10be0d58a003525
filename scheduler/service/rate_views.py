"""What running jobs have shown about rates, for the API and for Prometheus."""

import math
from collections.abc import Callable, Mapping

from scheduler.engine.state import State
from scheduler.profiles.observed import band_of
from scheduler.service.views import View

__all__ = ["observed_ratios", "rates_view"]


def rates_view(state: State, sees: Callable[[str], bool]) -> View:
    """Observed over modelled rate by kind of job and accelerator where it was seen, with its 90 % band; of the tenants
    that the caller sees."""
    rows = []
    for shown in state.learned.told():
        if not sees(shown.tenant):
            continue
        low, high = band_of(shown.correction)
        rows.append(
            {
                "tenant": shown.tenant,
                "class": shown.work_class.value,
                "model": shown.model,
                "accelerator": shown.accelerator,
                "ratio": math.exp(shown.correction.mean),
                "low": low,
                "high": high,
                "attempts": shown.correction.attempts,
                "bounds": shown.correction.bounds,
            }
        )
    return {"rates": rows}


def observed_ratios(state: State) -> Mapping[tuple[str, str], float]:
    """Geometric mean of observed over modelled rates by accelerator and class of work, kinds weighed by attempts."""
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for shown in state.learned.told():
        key, correction = (shown.accelerator, shown.work_class.value), shown.correction
        if correction.attempts:
            total, attempts = sums.get(key, (0.0, 0))
            sums[key] = total + correction.mean * correction.attempts, attempts + correction.attempts
    return {key: math.exp(total / attempts) for key, (total, attempts) in sums.items()}
