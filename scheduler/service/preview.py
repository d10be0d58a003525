"""What `up` would change in a home that has a history already: told before it is done."""

import contextlib
from pathlib import Path
from typing import Any, Final

from scheduler.engine.image import encode
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from scheduler.service.configuration import Sources, configured
from scheduler.service.quota_changes import effects
from scheduler.service.settings import JOURNAL_FILE
from scheduler.service.wallclock import WallClock

__all__ = ["preview"]

PARTS: Final = ("catalog", "cluster", "tenants", "rules", "policy")


def preview(home: Path, journal: str, sources: Sources) -> dict[str, Any] | None:
    """`parts` of the configuration that change, the tenants that do, and the jobs that would be reclaimed or stranded.

    None where the home has no history, or its configuration is what the files say. The journal is only read. Raises
    ConfigError for files that are wrong, and ConflictError for a change that may not be made.
    """
    if not journal and not (home / JOURNAL_FILE).exists():
        return None
    with contextlib.closing(open_journal(journal or home / JOURNAL_FILE)) as store:
        found = replay(store)
    if found.engine is None:
        return None
    state = found.engine.state
    wanted = configured(sources, state.config)
    if state.config == wanted:
        return None
    told = effects(encode(state), wanted, WallClock(found.time_us).now_us())
    return {**told, "parts": [part for part in PARTS if getattr(state.config, part) != getattr(wanted, part)]}
