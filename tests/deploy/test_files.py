"""The deployment files are valid and consistent with each other and with the code."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.contract.problems import TABLE, Problem
from service.settings import Settings
from tests.deploy.conftest import ROOT, tool
from tests.deploy.dashboard import expressions
from tests.documents import rows

OVERLAYS = ("cpu", "gpu", "monitoring", "autoscale")
PROMETHEUS = ROOT / "deploy" / "prometheus"


def run(name: str, *arguments: object) -> str:
    ended = subprocess.run(
        [tool(name), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def rendered(overlay: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", f"k8s/overlays/{overlay}")))


def only(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid_for_kubernetes(overlay: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(run("kubectl", "kustomize", f"k8s/overlays/{overlay}"))
    run("kubernetes-validate", "-k", "1.32", "--strict", "--no-warn", manifest)


def test_every_selector_matches_the_pods() -> None:
    resources = rendered("monitoring")
    labels = only(resources, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        only(resources, "Deployment")["spec"]["selector"]["matchLabels"],
        only(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(item["spec"]["selector"] for item in resources if item["kind"] == "Service"),
    ]
    assert len(selectors) == 5
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_the_termination_grace_period_covers_draining() -> None:
    resources = rendered("cpu")
    settings = only(resources, "ConfigMap")["data"]
    grace = only(resources, "Deployment")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert grace > float(settings["GIMEFIVE_DRAIN_DELAY"]) + float(
        settings["GIMEFIVE_DRAIN_TIMEOUT"]
    )


def test_the_compose_stop_grace_period_covers_draining() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gimefive"]
    environment = service["environment"]
    took = float(environment["GIMEFIVE_DRAIN_DELAY"]) + float(environment["GIMEFIVE_DRAIN_TIMEOUT"])
    assert float(service["stop_grace_period"].removesuffix("s")) > took


def test_every_setting_in_deployment_files_exists() -> None:
    files = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *(ROOT / "k8s").rglob("*.yaml")]
    named = {name for file in files for name in re.findall("GIMEFIVE_([A-Z_]+)", file.read_text())}
    assert named
    assert named <= {field.upper() for field in Settings.model_fields}


def test_the_autoscale_overlay_replaces_the_cpu_autoscaler() -> None:
    kinds = {resource["kind"] for resource in rendered("autoscale")}
    assert "ScaledObject" in kinds
    assert "HorizontalPodAutoscaler" not in kinds


def test_the_dockerfile_passes_hadolint() -> None:
    run("hadolint", "Dockerfile")


def test_dockerfile_makefile_and_pyproject_pin_the_same_torch() -> None:
    pins = [
        re.findall(r"torch==[\d.]+", (ROOT / name).read_text())
        for name in ("Dockerfile", "Makefile", "pyproject.toml")
    ]
    assert len({pin for found in pins for pin in found}) == 1
    assert all(pins)


@pytest.mark.parametrize("profile", ["", "scale", "gpu"])
def test_the_compose_file_is_valid(profile: str) -> None:
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin")
    run("docker", "compose", "--profile", profile, "config", "--quiet")


def test_the_balancer_configuration_is_valid(tmp_path: Path) -> None:
    folder = ROOT / "deploy" / "haproxy"
    text = (folder / "haproxy.cfg").read_text()
    local = tmp_path / "haproxy.cfg"
    local.write_text(text.replace("/usr/local/etc/haproxy", str(folder)))
    run("haproxy", "-c", "-f", local)


@pytest.mark.parametrize(("name", "status", "again"), [("lost", 503, True), ("late", 504, False)])
def test_error_responses_of_the_balancer_are_problems(name: str, status: int, again: bool) -> None:
    file = ROOT / "deploy" / "haproxy" / f"{name}.http"
    head, _, body = file.read_bytes().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert f"Content-Length: {len(body)}" in lines
    assert ("Retry-After: 1" in lines) == again
    said = json.loads(body)
    (kind,) = [kind for kind in TABLE.values() if said["type"] == f"urn:gimefive:{kind.slug}"]
    assert (said["status"], said["title"]) == (status, kind.title) == (kind.status, said["title"])
    assert set(said) == set(Problem.model_fields)


def test_the_prometheus_configuration_is_valid() -> None:
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_the_alert_rules_pass_their_unit_tests() -> None:
    run("promtool", "test", "rules", PROMETHEUS / "alerts.test.yml")


def test_the_prometheus_rule_resource_matches_the_alert_rules() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    assert only(rendered("monitoring"), "PrometheusRule")["spec"]["groups"] == groups


def test_every_alert_is_documented() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    section = (ROOT / "docs/operations.md").read_text().partition("## Alerts\n")[2]
    described = set(re.findall(r"^\| `(Gimefive\w+)`", section.partition("\n## ")[0], re.MULTILINE))
    assert described == {rule["alert"] for group in groups for rule in group["rules"]}


def test_every_panel_query_is_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{n}", "expr": expr} for n, expr in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run("promtool", "check", "rules", file)


def test_the_dashboard_shows_every_metric() -> None:
    shown = re.findall(r"gimefive_\w+", " ".join(expressions()))
    for metric in rows("Metrics") - rows("Reasons"):
        assert any(name.startswith(metric) for name in shown), metric


def test_panels_alerts_and_the_scaler_use_only_existing_metrics() -> None:
    there = {name + part for name in rows("Metrics") for part in ("", "_bucket", "_sum", "_count")}
    asked = re.findall(r"gimefive_\w+", " ".join(expressions()))
    asked += re.findall(r"gimefive_\w+", (PROMETHEUS / "alerts.yml").read_text())
    scaler = (ROOT / "k8s/components/autoscale/scaledobject.yaml").read_text()
    asked += re.findall(r"gimefive_\w+", scaler)
    assert set(asked) <= there
