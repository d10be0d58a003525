"""The verb `why`: what blocks each option of a waiting job, when it will start, and what would start it sooner."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.humanise import duration, seconds_between, when
from scheduler.cli.output import Format, document, say, table
from scheduler.cli.rows import OPTIONS, held
from scheduler.cli.selection import FormatOption, HomeOption, Jobs, ServerOption, connect
from scheduler.cli.sentences import reason_of, sentence

if TYPE_CHECKING:
    from scheduler.service.client import Client

__all__ = ["band", "exit_code", "register", "say_changes", "say_options", "say_rules", "why"]

DENIALS: Final = frozenset(
    {"quota_zero", "exceeds_quota", "user_limit_exceeded", "labels_exclude", "eligibility", "licence", "lot_forbidden"}
)
"""Codes of quota and rules that stand for ever."""


def why(
    jobs: Jobs,
    changes: Annotated[
        bool, typer.Option("--changes/--no-changes", help="Try what would start them sooner; takes a forecast")
    ] = True,
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """Why jobs wait, for each of their options, when they are expected to start, and what would start them sooner.

    Exit code: 0; 3 if one starts only after a delivery, 4 if one can never start, 5 if quota or rules never admit it.
    """
    with connect(server, home) as client:
        found = [_asked(client, job, changes) for job in jobs]
    code = max((exit_code(job) for job in found), default=0)
    if output is Format.NAME:
        table(found, (), output, name="id")
    elif not document(found[0] if len(found) == 1 else found, output):
        for number, job in enumerate(found):
            if number:
                say()
            _explain(job, output)
    raise typer.Exit(code)


def _asked(client: "Client", job: str, changes: bool) -> dict[str, Any]:
    """The reasons stand whatever becomes of the forecast."""
    from scheduler.errors import OverloadedError

    try:
        return client.reasons(job, changes=changes)
    except OverloadedError as error:
        if not changes:
            raise
        return {**client.reasons(job), "forecast_problem": str(error)}


def exit_code(job: Mapping[str, Any]) -> int:
    """0 where waiting helps; else 3, 4 or 5, by what stands for ever against every option."""
    if job["state"] != "waiting" or not job["options"]:
        return 0
    if any(not option["for_ever"] and not option["delivery"] for option in job["options"]):
        return 0
    if any(option["delivery"] for option in job["options"]):
        return 3
    codes = {reason["code"] for option in job["options"] for reason in option["reasons"]}
    return 5 if codes & DENIALS else 4


def _explain(job: dict[str, Any], output: Format) -> None:
    said = f"{job['id']} {job['name']} is {job['state']}"
    if job["state"] != "waiting":
        devices = "" if held(job) == "-" else f" on {held(job)}"
        say(f"{said}{devices}.")
        return
    place = f", number {job['position']} of {job['waiting']} in the queue" if job.get("position") else ""
    say(f"{said} since {duration(seconds_between(job['submitted']))}{place}.")
    main = sentence(reason_of(job["reason"])) if job["reason"] else ""
    if main:
        say(main)
    if job["offer"]:
        say(f"The service would start it now on {job['offer']['option']} ({', '.join(job['offer']['nodes'])}).")
    say_options(job["options"], output, told=main)
    expected = job["expected"] or {}
    if expected.get("start"):
        start = duration(max(0.0, -(seconds_between(expected["start"]) or 0.0)))
        say()
        say(
            f"Expected to start at {when(expected['start'])} (in {start}{band(expected, 'start')}) and to end at "
            f"{when(expected['finish'])}{band(expected, 'finish')}."
        )
    say_rules(job.get("rules", []))
    say_changes(job.get("changes", []))
    if "forecast_problem" in job:
        say()
        say(f"No forecast: {job['forecast_problem']}")


def band(expected: Mapping[str, Any], name: str) -> str:
    """`, between 12:03:04 and 12:40:00`, where the two differ."""
    low, high = expected.get(f"{name}_low"), expected.get(f"{name}_high")
    if not low or low == high:
        return ""
    return f", between {when(low)} and {when(high)}" if high else f", at the earliest {when(low)}"


def say_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """What would start the job sooner, the smallest change first."""
    if not changes:
        return
    say()
    say("It would start sooner with:")
    for change in changes:
        starts = "now" if not change["wait_s"] else f"in {duration(change['wait_s'])}"
        others = len(change["victims"])
        cost = f"; {others} other job{'s' if others > 1 else ''} would have to leave" if others else ""
        say(f"- {change['text']}: on {change['starts_on']}, {starts}{cost}")


def say_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    """What rules make of the options: those on imported devices count for less."""
    for rule in rules:
        forecast = "" if rule["forecast"] is None else f", {100 * rule['forecast']:.0f}% forecast"
        say(
            f"- rule {rule['rule']} lets imported options count for less: at least {100 * rule['target']:.0f}% domestic"
            f"{forecast} (price {rule['price']:.2g})"
        )


def say_options(options: list[dict[str, Any]], output: Format, told: str = "") -> None:
    """A table of options, and under it one sentence for each thing that blocks one, but for what was `told`."""
    if not options:
        return
    say()
    table(options, OPTIONS, Format.WIDE if output is Format.WIDE else Format.TABLE)
    reasons = dict.fromkeys(sentence(reason_of(reason)) for option in options for reason in option["reasons"])
    more = [line for line in reasons if line != told]
    if more:
        say()
    for line in more:
        say(f"- {line}")
    for delivery in (option["delivery"] for option in options if option.get("delivery")):
        late = f", nine times in ten by {delivery['p90'][:10]}" if delivery["p90"] else ""
        say(f"- Lot {delivery['lot']} brings {delivery['count']} by {delivery['expected'][:10]}{late}.")


def register(app: typer.Typer) -> None:
    app.command("why")(why)
