"""The verb `rules`: every rule with its margin and what it withholds."""

from typing import Any

from scheduler.cli.humanise import share, when
from scheduler.cli.output import Column, Format, document, say, table
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect

__all__ = ["rule_rows", "rules"]


def rules(output: FormatOption = Format.TABLE, server: ServerOption = None, home: HomeOption = None) -> None:
    """The rules on lots, shares, eligibility and prices, with their margin and every alarm."""
    with connect(server, home) as client:
        found = client.rules()
    if document(found, output):
        return
    rows = rule_rows(found)
    if output is not Format.NAME:
        say(f"domestic share of installed devices: {share(found['measured']['domestic_installed_devices'])}")
        say()
    columns = (
        Column("RULE", lambda r: r["id"]),
        Column("KIND", lambda r: r["kind"]),
        Column("MODE", lambda r: r["mode"]),
        Column("SAYS", lambda r: r["says"]),
        Column("NOW", lambda r: r["now"], right=True),
        Column("FORECAST", lambda r: r["forecast"], right=True),
        Column("MARGIN", lambda r: r["margin"], right=True),
        Column("PRICE", lambda r: r["price"], right=True, wide=True),
        Column("WITHHELD", lambda r: r["withheld"], wide=True),
        Column("ALARMS", lambda r: ", ".join(r["alarms"])),
    )
    table(rows, columns, output, name="id")


def rule_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer of /v1/rules as rows of text: lots, shares, eligibility, then prices."""
    rows = [_lot(lot) for lot in found["lots"]]
    rows += [_share(rule) for rule in found["domestic_shares"]]
    rows += [_eligibility(rule) for rule in found["eligibility"]]
    rows += [_price(price) for price in found["prices"]]
    listed = {row["id"] for row in rows}
    rows += [_row(a["rule"], "lot", says="named by nodes, not by the rules", alarms=[a["alarm"]])
             for a in found["alarms"] if a["rule"] not in listed]  # fmt: skip
    return rows


def _row(name: str, kind: str, **values: Any) -> dict[str, Any]:
    empty = {"mode": "-", "says": "", "now": "-", "forecast": "-", "margin": "-", "price": "-", "withheld": "-"}
    return {"id": name, "kind": kind, **empty, "alarms": [], **values}


def _lot(lot: dict[str, Any]) -> dict[str, Any]:
    standing = lot["standing"]
    says = f"{lot['accelerator']}, use {lot['use']}, procurement {lot['procurement']}, {standing['cleared']} cleared"
    if standing["coming"]:
        first = standing["coming"][0]
        says += f", {sum(part['count'] for part in standing['coming'])} to come from {when(first['expected'])}"
    margin = "-"
    if standing["match_need"] is not None:
        margin = f"{standing['match_have'] - standing['match_need']:+,.0f}"
        says += f", match due {when(standing['match_due'])}"
    return _row(
        lot["id"], "lot", says=says, now=f"{standing['in_service']:,}", margin=margin, alarms=standing["alarms"]
    )


def _share(rule: dict[str, Any]) -> dict[str, Any]:
    standing = rule["standing"]
    says = f"at least {share(rule['target'])} of {rule['measure']} {rule['basis']}"
    if rule["scope"]:
        says += f" by {rule['scope']}"
    if not standing["judged"]:
        says += " (too little to be judged)"
    withheld = "-"
    if standing.get("withheld_compute_unit_hours"):
        units, h20 = standing["withheld_compute_unit_hours"], standing["withheld_h20_equivalent_hours"]
        withheld = f"{units:.1f} unit-hours, {h20:.1f} H20-hours"
    return _row(
        rule["id"],
        "domestic share",
        mode=rule["mode"],
        says=says,
        now=_part(standing["share"]),
        forecast=_part(standing["forecast"]),
        margin="-" if standing["margin"] is None else f"{100 * standing['margin']:+.1f}%",
        price=f"{standing['price']:.3f}" if "price" in standing else "-",
        withheld=withheld,
        alarms=standing["alarms"],
    )


def _part(value: float | None) -> str:
    return "-" if value is None else share(value)


def _eligibility(rule: dict[str, Any]) -> dict[str, Any]:
    labels = [f"{key}={value}" for key, value in rule["jobs"].items()]
    about = [*labels, *(f"data-class {name}" for name in rule["data_classes"]), *rule["tenants"]]
    nodes = [f"{key}={value}" for key, value in rule["nodes"].items()]
    nodes += [
        f"{kind} {' or '.join(rule[field])}"
        for kind, field in (("site", "sites"), ("jurisdiction", "jurisdictions"), ("entity", "entities"))
        if rule[field]
    ]
    says = f"{', '.join(about) or 'every job'} only on {', '.join(nodes)}"
    return _row(
        rule["id"], "eligibility", mode=rule["mode"], says=says, now=f"{rule['standing']['jobs_against']} against"
    )


def _price(price: dict[str, Any]) -> dict[str, Any]:
    says = f"{price['fen_per_device_hour'] / 100:g} CNY per device-hour"
    return _row(price["of"], "price", says=says if price["in_force"] else f"{says} (not in force)")
