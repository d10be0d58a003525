"""The command `dualtrack`: verbs by name, and one way in which every failure ends."""

import os
import sys
from typing import Any, Final

import typer

from scheduler.cli.output import complain
from scheduler.errors import DualtrackError

__all__ = ["app", "demo", "main", "run"]

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

CommandLineError: Any = typer.BadParameter.__mro__[2]
"""What the command line's parser raises, wherever this version of typer keeps it."""

app = typer.Typer(
    name="dualtrack",
    help="Schedule training and inference jobs over unequal accelerators, within quotas, and ask what if.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    """Every verb by its module. The modules load nothing heavy until a verb runs."""
    from scheduler.cli import (
        acts,
        fleet,
        insight,
        jobs,
        planning,
        profiles,
        quota,
        reserving,
        running,
        serving,
        submitting,
        tokens,
        validating,
    )

    modules = (serving, submitting, planning, jobs, insight, running, acts, fleet, quota, reserving, profiles, tokens)
    for module in (*modules, validating):
        module.register(app)


@app.command(
    "demo", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def demo(context: typer.Context) -> None:
    """Run a small mixed cluster with real jobs on this machine, end to end, and report."""
    from scheduler.cli.demo import demo as run_demo

    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    inner.command("demo")(run_demo)
    code = inner(args=context.args, prog_name="dualtrack demo", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


_register()


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code; a failure is one line on standard error."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    debug = os.environ.get("DUALTRACK_DEBUG") == "1"
    try:
        code = app(args=arguments, prog_name="dualtrack", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except DualtrackError as error:
        if debug:
            raise
        complain(f"error: {error}")
        return error.exit_code
    except CommandLineError as error:
        complain(f"error: {error.format_message()}; see `{_usage_of(error)} --help`")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone: nothing more to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    # The process boundary: whatever went wrong in here, the user gets one line, and the traceback on request.
    except Exception as error:
        if debug:
            raise
        complain(f"error: a defect in dualtrack: {type(error).__name__}: {error}; DUALTRACK_DEBUG=1 shows where")
        return 1


def _usage_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "dualtrack"


if __name__ == "__main__":
    main()
