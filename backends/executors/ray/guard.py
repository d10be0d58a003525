"""A supervisor that does not outlive the actor that started it.

    python -m backends.executors.ray.guard DIRECTORY

Standard input is a pipe whose other end the actor holds and never writes to. When the actor goes, however it goes, the
kernel closes that end and sends a signal here; the whole session is killed then, supervisor, ranks and what they began.
"""

import fcntl
import os
import select
import signal
import sys
from types import FrameType

from backends.runtime.processes import identify, kill_session
from backends.runtime.supervisor import main as supervise

__all__ = ["main"]


def _end_with_actor(_number: int, _frame: FrameType | None) -> None:
    kill_session(identify(os.getpid()))  # this process is in it


def _watch_actor(pipe: int) -> None:
    signal.signal(signal.SIGIO, _end_with_actor)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(pipe, 0)
    if poll.poll(0):  # it had gone before the kernel was asked to tell
        sys.exit(1)


def main(directory: str) -> int:
    """As the supervisor's own main, for as long as the actor is there."""
    _watch_actor(sys.stdin.fileno())
    return supervise(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
