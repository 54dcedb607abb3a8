"""What the dashboard asks Prometheus."""

import json

from tests.deploy.conftest import ROOT

DASHBOARD = ROOT / "k8s" / "components" / "monitoring" / "gimefive.json"


def expressions() -> list[str]:
    """What the dashboard asks, with its variables filled in."""
    board = json.loads(DASHBOARD.read_text())
    return [
        target["expr"].replace("$job", ".+").replace("$__rate_interval", "1m")
        for panel in board["panels"]
        for target in panel["targets"]
    ]
