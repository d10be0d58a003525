"""Every error that dualtrack raises on purpose.

DualtrackError                     exit code 1
├── ConfigError                    2   a file or an inline specification is wrong (place, problem, remedy)
├── UsageError                     2   a command was called in a way that cannot be meant
│   └── TooLargeError              2   the body of a request is larger than the service reads
├── InfeasibleError                4   no future state of this fleet can run the job
├── DeniedError                    5   a quota or rule refuses the job, and waiting cannot help
├── AuthError                      6   not authenticated, or not allowed
│   └── ForbiddenError             6   who asks is known, and their role does not allow it
├── ConflictError                  1   a live job has that name, or a submission key was used for another body
├── NotFoundError                  1   no such job, node or tenant that the caller may see
├── OverloadedError                1   a limit on waiting work was reached; try again later
├── UnavailableError               1   the service, the executor or a program that it needs is not there
│   └── PortInUseError             1   another program listens where the service should
├── TransitionError                1   an event met a state it has no row for (a defect; carries the job's story)
├── InvariantError                 1   the state contradicts itself (a defect; carries the invariant's number)
├── PlanRejectedError              1   a plan met a newer state than it was made for
├── JournalError                   1
│   ├── JournalWriteError          1   a write or a sync failed: nothing of the batch is acknowledged
│   ├── JournalCorruptError        1   a record in the middle does not match its checksum
│   ├── JournalVersionError        1   a record was written by a newer dualtrack
│   └── JournalLockedError         1   another scheduler leads on this journal
├── ExecutorError                  1
│   ├── OutcomeUnknownError        1   a call timed out: it may or may not have had its effect
│   └── StaleEpochError            1   the command belongs to an older epoch or attempt
└── DeviceError                    1   a device could not be probed, or is not what was granted
"""

__all__ = [
    "AuthError",
    "ConfigError",
    "ConflictError",
    "DeniedError",
    "DeviceError",
    "DualtrackError",
    "ExecutorError",
    "ForbiddenError",
    "InfeasibleError",
    "InvariantError",
    "JournalCorruptError",
    "JournalError",
    "JournalLockedError",
    "JournalVersionError",
    "JournalWriteError",
    "NotFoundError",
    "OutcomeUnknownError",
    "OverloadedError",
    "PlanRejectedError",
    "PortInUseError",
    "StaleEpochError",
    "TooLargeError",
    "TransitionError",
    "UnavailableError",
    "UsageError",
]


class DualtrackError(Exception):
    """The root: `problem` says what is wrong, `remedy` what to do about it (may be empty)."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class ConfigError(DualtrackError):
    """A file is wrong: `file:line: path: problem; remedy`, where line 0 means that no line is known."""

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "", *, file: str = "", line: int = 0, path: str = "") -> None:
        super().__init__(problem, remedy)
        self.file = file
        self.line = line
        self.path = path

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, super().__str__()) if part)


class UsageError(DualtrackError):
    exit_code = 2


class TooLargeError(UsageError):
    pass


class InfeasibleError(DualtrackError):
    exit_code = 4


class DeniedError(DualtrackError):
    exit_code = 5


class AuthError(DualtrackError):
    exit_code = 6


class ForbiddenError(AuthError):
    pass


class ConflictError(DualtrackError):
    pass


class NotFoundError(DualtrackError):
    pass


class OverloadedError(DualtrackError):
    pass


class UnavailableError(DualtrackError):
    pass


class PortInUseError(UnavailableError):
    pass


class TransitionError(DualtrackError):
    """An event met a state without a row for it. `story` lists what befell the job, oldest first."""

    def __init__(self, problem: str, story: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.story = story


class InvariantError(DualtrackError):
    """The state contradicts itself; `invariant` is its name, such as `I7`."""

    def __init__(self, invariant: str, problem: str) -> None:
        super().__init__(f"{invariant}: {problem}")
        self.invariant = invariant


class PlanRejectedError(DualtrackError):
    pass


class JournalError(DualtrackError):
    pass


class JournalWriteError(JournalError):
    pass


class JournalCorruptError(JournalError):
    pass


class JournalVersionError(JournalError):
    pass


class JournalLockedError(JournalError):
    pass


class ExecutorError(DualtrackError):
    pass


class OutcomeUnknownError(ExecutorError):
    pass


class StaleEpochError(ExecutorError):
    pass


class DeviceError(DualtrackError):
    pass
