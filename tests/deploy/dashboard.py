"""The Prometheus queries of the dashboard."""

import json

from tests.deploy.conftest import ROOT

DASHBOARD = ROOT / "k8s" / "components" / "monitoring" / "gimefive.json"


def expressions() -> list[str]:
    """The queries of all panels, with dashboard variables filled in."""
    board = json.loads(DASHBOARD.read_text())
    return [
        target["expr"].replace("$job", ".+").replace("$__rate_interval", "1m")
        for panel in board["panels"]
        for target in panel["targets"]
    ]
