"""POST /classify/frames: a batch is admitted as a whole, and each frame fails alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from service.api.bodies import Part
from service.api.forms import MOST_OTHERS
from service.contract import schemas
from service.errors import TooLarge
from service.footage import FRAME_SECONDS
from service.limits import Quota
from tests import processes
from tests.api import check_problem, png, rejected, samples, serving
from tests.fakes import POISON
from tests.processes import shut
from tests.waiting import wait_until


def post(client: TestClient, frames: Sequence[bytes], **query: Any) -> Response:  # noqa: ANN401  # any value of a query
    files = [("files", (f"f{index:03}.png", frame)) for index, frame in enumerate(frames)]
    return client.post("/classify/frames", files=files, params={"faces": "whole", **query})


def test_each_frame_is_answered_in_order(client: TestClient) -> None:
    response = post(client, [png(value, (40 + value, 40)) for value in range(50)])
    assert response.status_code == 200
    answer = schemas.FramesResponse.model_validate(response.json(), strict=True)
    assert [frame.index for frame in answer.frames] == list(range(50))
    assert [frame.name for frame in answer.frames] == [f"f{index:03}.png" for index in range(50)]
    for value, frame in enumerate(answer.frames):
        assert frame.status == "ok"
        assert frame.image is not None
        assert frame.image.width == 40 + value
        assert frame.faces is not None
        assert frame.faces[0].scores.happiness == value  # the fake model's answer
    assert "track" not in response.json()["frames"][0]["faces"][0]


def test_server_timing_reports_the_stages_of_the_slowest_frame(client: TestClient) -> None:
    told = post(client, [png(1), b"no image", png(2)]).headers["Server-Timing"]
    spent = dict(each.split(";dur=") for each in told.split(", "))
    assert list(spent) == ["decode", "detect", "queue", "inference"]
    assert float(spent["inference"]) == 250  # the fake model's duration


def test_a_bad_frame_fails_alone(client: TestClient) -> None:
    frames = post(client, [png(1), b"no image", png(2), png(3)[:50]]).json()["frames"]
    assert [frame["status"] for frame in frames] == ["ok", "error", "ok", "error"]
    assert frames[1]["problem"]["type"] == "urn:gimefive:not-an-image"
    assert frames[1]["problem"]["status"] == 400
    assert "faces" not in frames[1]


def test_a_frame_over_the_size_limit_fails_alone() -> None:
    with serving(max_body_bytes=1000) as client:
        frames = post(client, [png(1), b"0" * 1001, png(2)]).json()["frames"]
    assert [frame["status"] for frame in frames] == ["ok", "error", "ok"]
    assert frames[1]["problem"]["status"] == 413
    assert "'f001.png'" in frames[1]["problem"]["detail"]


def test_a_frame_needs_no_file_name_and_other_parts_are_ignored(client: TestClient) -> None:
    parts = [
        b'Content-Disposition: form-data; name="files"\r\n\r\n' + png(1),
        b'content-disposition: form-data; name="files"; filename="b.png"\r\n\r\n' + png(2),
        b"Content-Type: text/plain\r\n\r\nof no field",
        b'Content-Disposition: form-data; name="\xff"\r\n\r\nof none that can be read',
    ]
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    frames = client.post("/classify/frames", content=body, headers=headers).json()["frames"]
    assert [(frame["index"], frame["name"], frame["status"]) for frame in frames] == [
        (0, "", "ok"),
        (1, "b.png", "ok"),
    ]


def test_frames_do_not_count_against_the_limit_of_unknown_parts(client: TestClient) -> None:
    assert len(post(client, [png(1)] * (MOST_OTHERS + 1)).json()["frames"]) == MOST_OTHERS + 1


def test_a_model_failure_on_one_frame_fails_only_that_frame() -> None:
    with serving(processes.raises) as client:
        frames = post(client, [png(1), png(POISON), png(2)]).json()["frames"]
    assert [frame["status"] for frame in frames] == ["ok", "error", "ok"]
    assert frames[1]["problem"]["type"] == "urn:gimefive:model-failure"


def test_faces_are_tracked_when_requested(client: TestClient) -> None:
    frames = post(client, [png(0), b"no image", png(10), png(10)], track=True).json()["frames"]
    faces = [frame["faces"][0] for frame in frames if frame["status"] == "ok"]
    assert [face["track"] for face in faces] == [1, 1, 1]
    smoothed = [face["smoothed"]["happiness"] for face in faces]
    assert smoothed[0] == 0
    assert smoothed[1] == pytest.approx(10 / (1 + 0.5 ** (2 * FRAME_SECONDS / 0.5)), rel=1e-4)
    assert smoothed[1] < smoothed[2] < 10


def test_a_batch_over_a_limit_gets_413_naming_the_limit() -> None:
    with serving(max_frames=3, max_body_bytes=1000, max_frames_bytes=5000) as client:
        assert post(client, [png(1)] * 3).status_code == 200
        assert "at most 3" in check_problem(post(client, [png(1)] * 4), 413, "too-large")
        assert "5,000" in check_problem(post(client, [b"0" * 5001]), 413, "too-large")


def test_a_batch_that_does_not_fit_in_the_queue_is_rejected_as_a_whole(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with (
        serving(processes.gated, str(gate), queue_items=4, max_frames=4) as client,
        ThreadPoolExecutor(2) as pool,
    ):

        def waiting() -> float:
            return samples(client)["gimefive_queue_depth{'lane': 'bulk'}"]

        with shut(gate):
            first = pool.submit(post, client, [png(1)] * 2)
            wait_until(Path(f"{gate}.log").exists)  # it has reached the model
            check_problem(post(client, [png(1)] * 3), 503, "overloaded")
            second = pool.submit(post, client, [png(1)] * 2)
            wait_until(lambda: waiting() == 2)  # the lane's share of those that can wait
        assert first.result().status_code == second.result().status_code == 200


def test_a_batch_that_does_not_fit_in_memory_gets_503_before_it_is_read() -> None:
    with serving(max_frames_bytes=1000) as client:
        memory: Quota = client.app_state["engine"].memory
        with memory.hold(1000), memory.hold(memory.most - 1001):
            refused = post(client, [png(1)])
            assert f"({memory.most - 1:,})" in check_problem(refused, 503, "overloaded")
            assert refused.headers["Retry-After"] == "5"
        assert rejected(client) == {"memory_full": 1}
        assert post(client, [png(1)]).status_code == 200


def test_a_request_that_is_not_a_valid_batch_is_rejected(client: TestClient) -> None:
    raw = client.post("/classify/frames", content=png(1), headers={"Content-Type": "image/png"})
    assert "multipart/form-data" in check_problem(raw, 415, "unsupported-media")
    other = client.post("/classify/frames", files={"file": ("f.png", png(1))})
    assert "'files'" in check_problem(other, 400, "bad-input")
    check_problem(post(client, [png(1)], faces="some"), 422, "bad-parameter")


@pytest.mark.parametrize(
    "body",
    [
        b"?",
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\ncut off',
        b"--x\r\n" + b"a" * 100_000 + b": b\r\n",
    ],
    ids=["no form", "cut short", "endless header"],
)
def test_a_malformed_form_gets_400(client: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/classify/frames", content=body, headers=headers)
    check_problem(response, 400, "bad-input")


def test_the_size_limit_applies_to_a_part_received_in_pieces() -> None:
    part = Part("f", 1000)
    part.write(b"0" * 600)
    part.write(b"0" * 400)
    assert part.read() == b"0" * 1000
    for _ in range(2):
        part.write(b"0")
        with pytest.raises(TooLarge):
            part.read()
