"""The shipped dashboard's queries as Prometheus gets them: variables filled in as Grafana would."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "dualtrack.json"


def dashboard_queries(window: str = "5m") -> list[str]:
    """Every panel's query, for all tenants and cells, with rates over `window`."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [q.replace("$__rate_interval", window).replace("$tenant", ".*").replace("$cell", ".*") for q in queries]
    unfilled = [query for query in filled if "$" in query]
    assert not unfilled, f"a variable that nobody fills in: {unfilled}"
    return filled
