"""The CPU overlay on the single-node cluster of KUBECONFIG, which runs on this machine."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.conftest import tool
from tests.deploy.engine import docker, figure, load, patience, sh

pytestmark = [
    pytest.mark.deployed,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]
KEY = "open-sesame"
OLD = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
"""The names of these API versions before Kubernetes 1.23 and 1.21."""


def kubectl(*arguments: object, given: str | None = None) -> str:
    return sh(tool("kubectl"), *arguments, given=given)


def pods() -> dict[str, dict[str, Any]]:
    """The pods that are not terminating, by name."""
    found = json.loads(
        kubectl("get", "pods", "-l", "app.kubernetes.io/name=gimefive", "-o", "json")
    )
    return {
        pod["metadata"]["name"]: pod
        for pod in found["items"]
        if "deletionTimestamp" not in pod["metadata"]
    }


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def wait_for_two_ready_pods() -> None:
    with patience(400, "two ready pods") as tries:
        for _ in tries:
            found = pods().values()
            if len(found) == 2 and all(map(ready, found)):
                break


@pytest.fixture(scope="module")
def service(image: str) -> Iterator[str]:  # noqa: ARG001  # the image that the pods run
    """The address of the service."""
    manifest = kubectl("kustomize", "tests/deploy/cluster")
    served = kubectl("api-versions").splitlines()
    for new, old in OLD.items():
        if new not in served:
            manifest = manifest.replace(f"apiVersion: {new}\n", f"apiVersion: {old}\n")
    kubectl("apply", "-f", "-", given=manifest)
    try:
        wait_for_two_ready_pods()
        address = kubectl("get", "service", "gimefive", "-o", "jsonpath={.spec.clusterIP}")
        yield f"http://{address}"
    finally:
        kubectl("delete", "-f", "-", "--ignore-not-found", given=manifest)


def test_a_rollout_under_load_fails_no_request(service: str) -> None:
    docker("tag", "gimefive:cpu", "gimefive:next")
    with load(service, key=KEY) as seen:
        kubectl("set", "image", "deployment/gimefive", "gimefive=gimefive:next")
        kubectl("rollout", "status", "deployment/gimefive", "--timeout=500s")
        wait_for_two_ready_pods()
    figure("a rollout under load", f"{dict(seen.statuses)}, {len(seen.lost)} lost")
    assert (seen.lost, seen.refused) == ([], 0)
    assert set(seen.statuses) == {200}


def test_a_deleted_pod_is_replaced_without_a_failed_request(service: str) -> None:
    victim = next(iter(pods()))
    with load(service, key=KEY) as seen:
        kubectl("delete", "pod", victim, "--wait=false")
        wait_for_two_ready_pods()
    assert victim not in pods()
    figure("a pod deleted under load", f"{dict(seen.statuses)}, {len(seen.lost)} lost")
    assert (seen.lost, seen.refused) == ([], 0)
    assert set(seen.statuses) == {200}


@pytest.mark.usefixtures("service")
def test_a_pod_is_unready_while_its_model_process_restarts_in_place() -> None:
    victim = next(iter(pods()))
    children = "open('/proc/1/task/1/children').read().split()"
    kill = f"import os; [os.kill(int(child), 9) for child in {children}]"
    with patience(60, "readiness to turn") as tries:
        for _ in tries:
            kubectl("exec", victim, "--", "python", "-c", kill)  # repeated if it restarted too soon
            if not ready(pods()[victim]):
                break
    wait_for_two_ready_pods()
    assert pods()[victim]["status"]["containerStatuses"][0]["restartCount"] == 0
