"""The running compose project: replicas behind the balancer, scraped by Prometheus."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.deploy.dashboard import expressions
from tests.deploy.engine import ROOT, docker, figure, load, patience, wait_healthy
from tests.videos import counting, encode

pytestmark = pytest.mark.deployed
FILES = ["--file", "docker-compose.yml", "--file", "tests/deploy/small.yml"]
STANDINS = ["--file", "tests/deploy/standins.yml"]
BALANCER = "http://127.0.0.1:8080"
SERVICES = ("gimefive", "replica", "balancer", "prometheus")


class Project:
    """The compose project."""

    def __init__(self, *files: str) -> None:
        self._files = files

    def __call__(self, *arguments: object) -> str:
        return docker("compose", *self._files, "--profile", "scale", *arguments)

    def container(self, service: str) -> str:
        return self("ps", "--all", "--quiet", service)


def can_pull() -> bool:
    pulled = ["docker", "compose", "--profile", "scale", "pull", "balancer", "prometheus"]
    return subprocess.run(pulled, cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def project(image: str) -> Iterator[Project]:  # noqa: ARG001  # the image that the services run
    if can_pull():
        project = Project(*FILES)
    else:
        docker(
            "build", "--tag", "gimefive-standin", "--file", "tests/deploy/standin.Dockerfile", "."
        )
        project = Project(*FILES, *STANDINS)
    try:
        project("up", "--detach", "--no-build", *SERVICES)
        wait_healthy(project.container("gimefive"))
        wait_healthy(project.container("replica"))
        wait_until_balanced(2)
        yield project
    finally:
        project("down", "--volumes", "--timeout", 1)


def query_result(query: str) -> list[dict[str, object]]:
    """The result of a Prometheus query.

    The query is sent from the host to the published port.
    """
    answer = httpx.get("http://127.0.0.1:9090/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    result = answer["data"]["result"]
    assert isinstance(result, list)
    return result


def wait_until_balanced(replicas: int) -> None:
    """Wait until Prometheus scrapes this many replicas and the balancer is ready."""
    with patience(120, f"{replicas} scraped replicas") as tries:
        for _ in tries:
            try:
                if len(query_result('up{job="gimefive"} == 1')) == replicas:
                    break
            except httpx.HTTPError:
                continue
    with patience(60, "the balancer") as tries:
        for _ in tries:
            try:
                if httpx.get(f"{BALANCER}/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                continue


def test_killing_a_replica_loses_no_request(project: Project) -> None:
    victim = project.container("replica")
    with load(BALANCER) as seen:
        docker("kill", "--signal", "KILL", victim)
        before = seen.answered
        with patience(120, "answers after the kill") as tries:
            for _ in tries:
                if seen.answered > before + 20:
                    break
    figure("a replica killed under load", f"{dict(seen.statuses)}, {len(seen.lost)} lost")
    assert seen.lost == []
    assert seen.refused == 0
    assert set(seen.statuses) <= {200, 503}
    project("up", "--detach", "--no-build", "--no-deps", "replica")
    wait_healthy(project.container("replica"))
    wait_until_balanced(2)


def test_replacing_replicas_one_by_one_loses_no_request(project: Project) -> None:
    with load(BALANCER) as seen:
        for service in ("replica", "gimefive"):
            project("up", "--detach", "--no-build", "--no-deps", "--force-recreate", service)
            wait_healthy(project.container(service))
            wait_until_balanced(2)
    figure("two replicas replaced under load", f"{dict(seen.statuses)}, {len(seen.lost)} lost")
    assert seen.lost == []
    assert set(seen.statuses) == {200}


@pytest.mark.usefixtures("project")
def test_a_video_is_classified_on_a_read_only_file_system() -> None:
    answer = httpx.post(
        f"{BALANCER}/classify/video",
        params={"faces": "whole"},
        content=encode(counting(5)),
        headers={"Content-Type": "video/mp4"},
        timeout=120,
    )
    assert answer.status_code == 200
    assert answer.text.count('"frame":') == 5


@pytest.mark.usefixtures("project")
def test_every_panel_shows_data_under_load() -> None:
    # Where nothing is refused, dropped or failed, those counters have no series.
    idle = ("rejected", "dropped", "failures")
    shown = [query for query in expressions() if not any(name in query for name in idle)]
    with load(BALANCER):
        for query in shown:
            with patience(120, f"data of {query}") as tries:
                for _ in tries:
                    if query_result(query):
                        break
