"""The notice that an attempt has to end: a signal to one process, agreed on by all ranks."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Notice"]


class Notice:
    """SIGTERM sets a flag and does nothing else. `agreed` makes it the same on every rank at the same step."""

    def __init__(self) -> None:
        self.given = False
        if threading.current_thread() is threading.main_thread():  # only there may a handler be set
            signal.signal(signal.SIGTERM, self._take)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.given = True

    def agreed(self, group: Any) -> bool:
        """Whether any rank of `group` has the notice. Every rank must call it equally often; None: this rank alone."""
        if group is None:
            return self.given
        import torch
        import torch.distributed as dist

        flag = torch.tensor([int(self.given)], dtype=torch.int32)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=group)
        self.given = bool(flag.item())
        return self.given
