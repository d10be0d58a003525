"""Runs a vendor's tool with a time limit, so that whatever goes wrong there is one DeviceError here."""

import subprocess
from collections.abc import Sequence

from backends.devices.base import Runner
from scheduler.errors import DeviceError

__all__ = ["ask", "command_runner"]

MAX_OUTPUT = 4 * 1024 * 1024
"""Characters of tool output that are read; a table of a thousand devices needs a tenth of it."""


def command_runner(timeout_s: float = 20.0) -> Runner:
    """A runner that executes commands on this machine, without a shell."""

    def run(command: Sequence[str]) -> str:
        done = subprocess.run(
            list(command), capture_output=True, timeout=timeout_s, check=False, text=True, errors="replace", env=None
        )
        if done.returncode != 0 and not done.stdout.strip():
            raise DeviceError(f"{command[0]} failed with code {done.returncode}: {_last_line(done.stderr)}")
        return done.stdout

    return run


def ask(runner: Runner, command: Sequence[str]) -> str:
    """The output of `command`; every way in which a tool can fail becomes a DeviceError that names it."""
    tool = command[0]
    try:
        text = runner(command)
    except FileNotFoundError as error:
        raise DeviceError(
            f"{tool} was not found", "install the vendor's driver tools, or declare the devices in the cluster file"
        ) from error
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise DeviceError(f"{tool} did not answer in time", "a driver may hang; look at the kernel's log") from error
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DeviceError(f"{tool} could not be run: {_last_line(str(error))}") from error
    return text[:MAX_OUTPUT]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
