"""The image, built from the Dockerfile and run with hardening options."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.deploy.engine import (
    JPEG,
    PHOTOGRAPH,
    address,
    docker,
    figure,
    inspect,
    load,
    wait_healthy,
)

pytestmark = pytest.mark.deployed
HARDENED = ["--read-only", "--tmpfs", "/tmp"]  # noqa: S108  # in the container
HARDENED += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    start = time.monotonic()
    name = docker("run", "--detach", *HARDENED, "--env", "GIMEFIVE_DRAIN_DELAY=2", image)
    try:
        wait_healthy(name)
        figure("seconds from docker run to healthy", round(time.monotonic() - start, 1))
        yield name
    finally:
        docker("rm", "--force", name)


def test_the_image_has_no_compiler_and_sound_models(image: str) -> None:
    figure("megabytes of the image", round(inspect(image)["Size"] / 1e6))
    for layer in docker("history", "--format", "{{json .}}", image).splitlines():
        entry = json.loads(layer)
        if "COPY" in entry["CreatedBy"]:
            figure("layer", f"{entry['Size']} {entry['CreatedBy'][:60]}")
    for tool in ("gcc", "cc", "make"):
        found = [
            "run",
            "--rm",
            "--entrypoint",
            "sh",
            image,
            "-c",
            f"command -v {tool} || echo none",
        ]
        assert docker(*found) == "none", tool
    labels = inspect(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert docker("run", "--rm", image, "verify").count("sound: ") == 3


def test_no_process_runs_as_root(container: str) -> None:
    owners = docker("top", container, "-eo", "uid,pid").splitlines()[1:]
    assert len(owners) >= 2
    assert {line.split()[0] for line in owners} == {"10001"}


def test_the_photograph_is_classified_and_explained(container: str) -> None:
    with httpx.Client(base_url=f"http://{address(container)}:8000", timeout=120) as client:
        answer = client.post("/classify", content=PHOTOGRAPH, headers=JPEG).json()
        assert [face["emotion"] for face in answer["faces"]] == ["happiness"]
        picture = client.post("/explain", content=PHOTOGRAPH, headers=JPEG)
        assert picture.status_code == 200
        assert picture.content.startswith(b"\x89PNG")


def test_stopping_under_load_loses_no_request(container: str) -> None:
    with load(f"http://{address(container)}:8000") as seen:
        docker("stop", "--time", 60, container)
    figure("docker stop under load", f"{seen.answered} answered, {len(seen.lost)} lost")
    assert inspect(container)["State"]["ExitCode"] == 0
    assert seen.lost == []
    assert set(seen.statuses) == {200}
