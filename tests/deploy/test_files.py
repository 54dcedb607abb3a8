"""The files that deploy the service are valid, and agree with each other and with the code."""

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


def one(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_what_kubernetes_takes(overlay: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(run("kubectl", "kustomize", f"k8s/overlays/{overlay}"))
    run("kubernetes-validate", "-k", "1.32", "--strict", "--no-warn", manifest)


def test_every_selector_finds_the_pods() -> None:
    resources = rendered("monitoring")
    labels = one(resources, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        one(resources, "Deployment")["spec"]["selector"]["matchLabels"],
        one(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(item["spec"]["selector"] for item in resources if item["kind"] == "Service"),
    ]
    assert len(selectors) == 5
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_a_pod_gets_the_time_that_draining_takes() -> None:
    resources = rendered("cpu")
    settings = one(resources, "ConfigMap")["data"]
    grace = one(resources, "Deployment")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert grace > float(settings["GIMEFIVE_DRAIN_DELAY"]) + float(
        settings["GIMEFIVE_DRAIN_TIMEOUT"]
    )


def test_a_container_gets_the_time_that_draining_takes() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gimefive"]
    environment = service["environment"]
    took = float(environment["GIMEFIVE_DRAIN_DELAY"]) + float(environment["GIMEFIVE_DRAIN_TIMEOUT"])
    assert float(service["stop_grace_period"].removesuffix("s")) > took


def test_every_setting_that_is_set_exists() -> None:
    files = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *(ROOT / "k8s").rglob("*.yaml")]
    named = {name for file in files for name in re.findall("GIMEFIVE_([A-Z_]+)", file.read_text())}
    assert named
    assert named <= {field.upper() for field in Settings.model_fields}


def test_autoscaling_by_waiting_replaces_autoscaling_by_cpu() -> None:
    kinds = {resource["kind"] for resource in rendered("autoscale")}
    assert "ScaledObject" in kinds
    assert "HorizontalPodAutoscaler" not in kinds


def test_the_dockerfile_is_clean() -> None:
    run("hadolint", "Dockerfile")


def test_the_dockerfile_and_the_makefile_pin_the_same_torch() -> None:
    pins = [
        re.findall(r"torch==[\d.]+", (ROOT / name).read_text())
        for name in ("Dockerfile", "Makefile", "pyproject.toml")
    ]
    assert len({pin for found in pins for pin in found}) == 1
    assert all(pins)


@pytest.mark.parametrize("profile", ["", "scale", "gpu"])
def test_the_compose_file_is_what_compose_takes(profile: str) -> None:
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin")
    run("docker", "compose", "--profile", profile, "config", "--quiet")


def test_the_balancers_configuration_is_valid(tmp_path: Path) -> None:
    folder = ROOT / "deploy" / "haproxy"
    text = (folder / "haproxy.cfg").read_text()
    local = tmp_path / "haproxy.cfg"
    local.write_text(text.replace("/usr/local/etc/haproxy", str(folder)))
    run("haproxy", "-c", "-f", local)


@pytest.mark.parametrize(("name", "status", "again"), [("lost", 503, True), ("late", 504, False)])
def test_what_the_balancer_says_itself_is_a_problem(name: str, status: int, again: bool) -> None:
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


def test_prometheus_takes_its_configuration() -> None:
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    run("promtool", "test", "rules", PROMETHEUS / "alerts.test.yml")


def test_the_operators_rules_are_the_same_rules() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    assert one(rendered("monitoring"), "PrometheusRule")["spec"]["groups"] == groups


def test_every_alert_says_in_the_documents_what_to_do() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    section = (ROOT / "docs/operations.md").read_text().partition("## Alerts\n")[2]
    described = set(re.findall(r"^\| `(Gimefive\w+)`", section.partition("\n## ")[0], re.MULTILINE))
    assert described == {rule["alert"] for group in groups for rule in group["rules"]}


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{n}", "expr": expr} for n, expr in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run("promtool", "check", "rules", file)


def test_the_dashboard_shows_every_metric_and_so_what_each_alert_is_about() -> None:
    shown = re.findall(r"gimefive_\w+", " ".join(expressions()))
    for metric in rows("Metrics") - rows("Reasons"):
        assert any(name.startswith(metric) for name in shown), metric


def test_panels_and_alerts_ask_only_for_metrics_that_there_are() -> None:
    there = {name + part for name in rows("Metrics") for part in ("", "_bucket", "_sum", "_count")}
    asked = re.findall(r"gimefive_\w+", " ".join(expressions()))
    asked += re.findall(r"gimefive_\w+", (PROMETHEUS / "alerts.yml").read_text())
    scaler = (ROOT / "k8s/components/autoscale/scaledobject.yaml").read_text()
    asked += re.findall(r"gimefive_\w+", scaler)
    assert set(asked) <= there
