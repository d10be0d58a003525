"""The verb `token`: who may ask the service of this home, and for what."""

import time
from typing import Annotated

import typer

from scheduler.cli.humanise import when
from scheduler.cli.output import Column, Format, say, table
from scheduler.cli.selection import FormatOption, HomeOption

__all__ = ["create", "list_", "register", "revoke"]

tokens = typer.Typer(no_args_is_help=True, help="Tokens of this home's service: who may ask, and for what.")


@tokens.command("create")
def create(
    user: Annotated[str, typer.Option(help="Who will use it")],
    role: Annotated[str, typer.Option(help="viewer, submitter, tenant-admin, operator or admin")] = "submitter",
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant that it acts for")] = "",
    expires: Annotated[str, typer.Option(help="Valid for so long, such as 90d; default: until revoked")] = "",
    home: HomeOption = None,
) -> None:
    """Print a new token, once: only its digest is kept."""
    from scheduler.cli.humanise import parse_duration
    from scheduler.errors import UsageError
    from scheduler.service.identity import Role, TokenStore
    from scheduler.service.settings import home_dir

    if role not in {known.value for known in Role}:
        raise UsageError(f"{role[:40]!r} is not a role", f"use one of {', '.join(Role)}")
    if not tenant and role not in (Role.OPERATOR, Role.ADMIN):
        raise UsageError(f"a {role} acts for a tenant", "name it with --tenant")
    ends_us = round((time.time() + parse_duration(expires)) * 1_000_000) if expires else None
    say(TokenStore(home_dir(home)).issue(user, tenant, Role(role), ends_us))


@tokens.command("list")
def list_(output: FormatOption = Format.TABLE, home: HomeOption = None) -> None:
    """Tokens by their public accessor."""
    from scheduler.service.feed import iso
    from scheduler.service.identity import TokenStore
    from scheduler.service.settings import home_dir

    rows = [
        {"accessor": r.accessor, "user": r.user, "tenant": r.tenant, "role": str(r.role), "expires": iso(r.expires_us)}
        for r in TokenStore(home_dir(home)).records()
    ]
    columns = (
        Column("ACCESSOR", lambda r: r["accessor"]),
        Column("USER", lambda r: r["user"]),
        Column("TENANT", lambda r: r["tenant"] or "(all)"),
        Column("ROLE", lambda r: r["role"]),
        Column("EXPIRES", lambda r: when(r["expires"])),
    )
    table(rows, columns, output, name="accessor")


@tokens.command("revoke")
def revoke(
    accessors: Annotated[list[str], typer.Argument(help="As `token list` shows them")], home: HomeOption = None
) -> None:
    """End tokens; a running service refuses them from its next request on."""
    from scheduler.service.identity import TokenStore
    from scheduler.service.settings import home_dir

    store = TokenStore(home_dir(home))
    for accessor in accessors:
        store.revoke(accessor)
        say(f"{accessor} revoked")


def register(app: typer.Typer) -> None:
    app.add_typer(tokens, name="token")
