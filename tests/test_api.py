"""The HTTP contract: the real API and real images, over a fake model."""

import asyncio
import gzip
import io
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from starlette.types import Message
from structlog.testing import capture_logs

from service.api.app import create_app
from service.api.forms import MOST_OTHERS
from service.contract import schemas
from service.drawing import draw
from service.engine import Engine
from service.intake import SMALL_BYTES
from service.records import Picture
from service.settings import Settings
from tests import processes
from tests.api import check_problem, explain, png, post, rejected, said, samples, serving
from tests.fakes import POISON
from tests.pictures import PORTRAIT, encode, large_and_small, noise
from tests.processes import shut
from tests.waiting import LIMIT, wait_until


def test_an_aligned_face_gets_the_documented_answer(client: TestClient) -> None:
    response = post(client, png(1, (48, 48)), faces="whole")
    assert response.status_code == 200
    assert response.json() == {
        "model": {"name": "gimefive", "version": "1", "precision": "fp32"},
        "image": {"width": 48, "height": 48},
        "faces": [
            {
                "box": {"x": 0, "y": 0, "width": 48, "height": 48},
                "landmarks": None,
                "detection_score": None,
                "emotion": "happiness",
                "confidence": 1.0,
                "abstained": False,
                "scores": {
                    "happiness": 1.0,
                    "surprise": 0.0,
                    "sadness": 0.0,
                    "anger": 0.0,
                    "disgust": 0.0,
                    "fear": 0.0,
                },
            }
        ],
    }
    schemas.ClassifyResponse.model_validate(response.json(), strict=True)


def test_boxes_are_whole_pixels_and_landmarks_have_one_decimal(client: TestClient) -> None:
    (face,) = post(client, PORTRAIT.read_bytes(), "image/jpeg").json()["faces"]
    assert all(type(value) is int for value in face["box"].values())
    values = [value for point in face["landmarks"].values() for value in point]
    assert len(values) == 10
    assert values == [round(value, 1) for value in values]


def test_a_form_upload_gets_the_same_answer_as_a_raw_body(client: TestClient) -> None:
    raw = post(client, png(1), faces="whole")
    form = client.post("/classify", files={"file": ("me.png", png(1))}, params={"faces": "whole"})
    assert form.json() == raw.json()


def test_an_image_without_a_face_gets_an_empty_list(client: TestClient) -> None:
    response = post(client, png(128, (320, 240)))
    assert response.status_code == 200
    assert response.json()["faces"] == []


@pytest.mark.parametrize(("threshold", "abstained"), [(0.0, False), (1.0, True)])
def test_a_face_below_the_threshold_abstains(
    client: TestClient, threshold: float, abstained: bool
) -> None:
    response = post(client, png(0), faces="whole", threshold=threshold)
    assert response.json()["faces"][0]["abstained"] is abstained


@pytest.mark.parametrize(
    "body", [b"", b"hello", png()[:60], b"\xff\xd8\xff\xe0" + b"\0" * 50], ids=repr
)
def test_a_body_that_is_not_an_image_gets_400(client: TestClient, body: bytes) -> None:
    check_problem(post(client, body), 400, "not-an-image")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
def test_an_unsupported_content_type_gets_415_naming_the_supported_ones(
    client: TestClient, kind: str
) -> None:
    detail = check_problem(post(client, png(), kind), 415, "unsupported-media")
    assert "image/jpeg" in detail


def test_a_form_without_the_file_field_gets_400(client: TestClient) -> None:
    response = client.post("/classify", files={"picture": ("me.png", png())})
    assert "'file'" in check_problem(response, 400, "bad-input")


def test_a_misused_form_gets_an_error_that_names_the_correct_usage(client: TestClient) -> None:
    me = ("me.png", png())
    for path, field in (("/classify", "file"), ("/classify/frames", "files"), ("/explain", "file")):
        data = {"faces": "whole"}
        misplaced = client.post(path, files={field: me}, data=data)
        assert "?faces=" in check_problem(misplaced, 422, "bad-parameter")
    two = client.post("/classify", files=[("file", me), ("file", me)])
    assert "/classify/frames" in check_problem(two, 400, "bad-input")
    for path in ("/classify/video", "/explain/video"):
        two = client.post(path, files=[("file", me), ("file", me)])
        assert "two files" in check_problem(two, 400, "bad-input")
    misnamed = client.post("/explain", files={"face": me})
    assert "no file in the field 'file'" in check_problem(misnamed, 400, "bad-input")


@pytest.mark.parametrize(("others", "status"), [(MOST_OTHERS, 200), (MOST_OTHERS + 1, 413)])
def test_a_form_with_too_many_unknown_fields_gets_413(
    client: TestClient, others: int, status: int
) -> None:
    data = {f"note{number}": "x" for number in range(others)}
    response = client.post("/classify", data=data, files={"file": ("me.png", png())})
    assert response.status_code == status


def test_a_malformed_form_gets_400(client: TestClient) -> None:
    unreadable = post(client, b"?", "multipart/form-data; boundary=x")
    assert "let your HTTP client write it" in check_problem(unreadable, 400, "bad-input")
    assert "no boundary" in check_problem(
        post(client, png(), "multipart/form-data"), 400, "bad-input"
    )


def test_a_compressed_body_gets_415(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    response = client.post("/classify", content=gzip.compress(png()), headers=headers)
    assert "gzip" in check_problem(response, 415, "unsupported-media")


def test_a_body_may_have_no_content_encoding_in_so_many_words(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": ""}
    assert client.post("/classify", content=png(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("faces", "some", "'detect' or 'whole'"),
        ("threshold", 2, "less than or equal to 1"),
        ("threshold", "high", "valid number"),
        ("threshold", "nan", "finite number"),
    ],
)
def test_an_invalid_parameter_gets_422_with_the_reason(
    client: TestClient,
    name: str,
    value: Any,  # noqa: ANN401  # any value of a query
    why: str,
) -> None:
    detail = check_problem(post(client, png(), **{name: value}), 422, "bad-parameter")
    assert detail.startswith(f"{name}: ")
    assert why in detail


def test_an_invalid_deadline_gets_422_with_the_reason(client: TestClient) -> None:
    for value, why in (("-1", "greater than 0"), ("inf", "finite number")):
        headers = {"Content-Type": "image/png", "X-Deadline-Ms": value}
        response = client.post("/classify", content=png(), headers=headers)
        assert why in check_problem(response, 422, "bad-parameter")


@pytest.mark.parametrize(
    "path", ["/classify", "/classify/frames", "/classify/video", "/explain", "/explain/video"]
)
def test_a_misspelled_parameter_gets_422_suggesting_the_right_one(
    client: TestClient, path: str
) -> None:
    response = client.post(f"{path}?treshold=0.5", content=png(1))
    detail = check_problem(response, 422, "bad-parameter")
    assert "'treshold'" in detail
    assert "threshold" in detail.partition(":")[2]


def test_the_deadline_is_not_a_query_parameter(client: TestClient) -> None:
    response = client.post("/classify?deadline_ms=1", content=png(1))
    assert "'deadline_ms'" in check_problem(response, 422, "bad-parameter")


@pytest.mark.parametrize("path", ["/classify", "/explain"])
def test_the_first_of_several_deadlines_counts(client: TestClient, path: str) -> None:
    headers = [("Content-Type", "image/png"), *(("X-Deadline-Ms", ms) for ms in ("0.001", "60000"))]
    response = client.post(f"{path}?faces=whole", content=png(1), headers=headers)
    check_problem(response, 504, "deadline-exceeded")


def test_unknown_parameters_of_models_get_422(client: TestClient) -> None:
    detail = check_problem(client.get("/models/gimefive/card?vers=1"), 422, "bad-parameter")
    assert detail == "unknown parameter 'vers': did you mean version?"
    for path in ("/models", "/models/gimefive"):
        detail = check_problem(client.get(f"{path}?version=1"), 422, "bad-parameter")
        assert detail == "unknown parameter 'version': this address takes none"


def test_a_small_file_may_contain_a_large_image(client: TestClient) -> None:
    large = png(1, (1000, 1000))
    assert len(large) < SMALL_BYTES
    response = post(client, large, faces="whole")
    assert response.json()["image"] == {"width": 1000, "height": 1000}


def test_an_oversized_body_gets_413() -> None:
    with serving(max_body_bytes=1000) as client:
        headers = {"Content-Type": "image/png"}
        streamed = client.post("/classify", content=iter([b"\0" * 100] * 20), headers=headers)
        check_problem(streamed, 413, "too-large")
        check_problem(post(client, b"\0" * 1001), 413, "too-large")
        form = client.post("/classify", files={"file": ("me.png", b"\0" * 2000)})
        check_problem(form, 413, "too-large")


def test_a_body_of_exactly_the_size_limit_is_accepted() -> None:
    picture = png(1)
    with serving(max_body_bytes=len(picture)) as client:
        assert post(client, picture, faces="whole").status_code == 200
        headers = {"Content-Type": "Image/PNG", "Content-Encoding": "Identity"}
        pieces = client.post("/classify", content=iter([picture]), headers=headers)
        assert pieces.status_code == 200


FORM = "multipart/form-data; boundary=x"
LIMITED = [
    ("/classify", "image/png"),
    ("/classify", FORM),
    ("/classify/frames", FORM),
    ("/classify/video", "video/mp4"),
    ("/classify/video", FORM),
    ("/explain", "image/png"),
    ("/explain/video", "video/mp4"),
]


def serving_small_bodies() -> AbstractContextManager[TestClient]:
    """The API with a limit of 1,000 bytes for every body."""
    return serving(max_body_bytes=1000, max_frames_bytes=1000, max_video_bytes=1000)


@pytest.mark.parametrize(("path", "kind"), LIMITED)
def test_a_body_whose_content_length_is_over_the_limit_is_rejected_unread(
    path: str, kind: str
) -> None:
    async def receive() -> Message:
        pytest.fail("it was read")

    with serving_small_bodies() as client:
        headers = {"Content-Type": kind, "Content-Length": "1001"}
        start, _ = said(client, path, headers, receive)
    assert start["status"] == 413


@pytest.mark.parametrize(("path", "kind"), LIMITED)
def test_a_body_of_unknown_length_is_rejected_as_soon_as_it_is_over_the_limit(
    path: str, kind: str
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file%s"; filename="a"\r\n\r\n'
    read = 0

    async def receive() -> Message:
        nonlocal read
        piece = b"0" * 100
        if kind == FORM and not read:
            piece = head % (b"s" if path.endswith("frames") else b"")
        assert read <= 1000, "it was read on"
        read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    with serving_small_bodies() as client:
        start, _ = said(client, path, {"Content-Type": kind}, receive)
    assert start["status"] == 413


@pytest.mark.parametrize("path", ["/classify", "/explain"])
@pytest.mark.parametrize("form", [False, True])
def test_an_image_that_does_not_fit_in_memory_gets_503_until_memory_is_free(
    path: str, *, form: bool
) -> None:
    picture, query = png(1), {"faces": "whole"}
    sent: dict[str, Any] = (
        {"files": {"file": ("face.png", picture)}}
        if form
        else {"content": picture, "headers": {"Content-Type": "image/png"}}
    )
    with serving() as client:
        engine: Engine = client.app_state["engine"]
        room = engine.memory.most
        with engine.memory.hold(room - len(picture) + 1):
            refused = client.post(path, params=query, **sent)
            check_problem(refused, 503, "overloaded")
            assert refused.headers["Retry-After"] == "10"
        assert rejected(client) == {"memory_full": 1}
        assert client.post(path, params=query, **sent).status_code == 200
        with engine.memory.hold(room):
            pass  # all memory was released


def test_explaining_an_image_that_does_not_fit_in_memory_gets_503(client: TestClient) -> None:
    engine: Engine = client.app_state["engine"]
    picture = png(9, (1000, 1000))
    with engine.memory.hold(engine.memory.most - 3 * 10**6):
        check_problem(explain(client, picture), 503, "overloaded")
        assert post(client, picture, faces="whole").status_code == 200
    assert explain(client, picture).status_code == 200


def test_an_image_with_too_many_pixels_gets_413() -> None:
    with serving(max_pixels=64 * 64) as client:
        assert post(client, png(1), faces="whole").status_code == 200
        check_problem(post(client, png(1, (65, 64)), faces="whole"), 413, "too-large")


def test_unknown_paths_methods_and_models_get_problem_responses(client: TestClient) -> None:
    check_problem(client.get("/nowhere"), 404, "not-found")
    check_problem(client.get("/livez/"), 404, "not-found")
    wrong_method = client.get("/classify")
    assert "use POST" in check_problem(wrong_method, 405, "method-not-allowed")
    assert wrong_method.headers["Allow"] == "POST"
    check_problem(client.get("/models/resnet"), 404, "not-found")
    check_problem(client.get("/models/gimefive/card?version=99"), 404, "not-found")


def test_head_gets_the_same_status_as_get(client: TestClient) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/models", "/"):
        assert client.head(path).status_code == 200
    check_problem(client.get("/classify"), 405, "method-not-allowed")
    assert client.head("/classify").status_code == 405
    assert 'method="HEAD",route="/livez",status="200"' in client.get("/metrics").text


def test_a_valid_request_id_is_kept_and_an_invalid_one_is_replaced(client: TestClient) -> None:
    kept = client.get("/readyz", headers={"X-Request-ID": "order-66"})
    assert kept.headers["X-Request-ID"] == "order-66"
    for insane in ("a b", "x" * 200, "<script>"):
        given = client.get("/readyz", headers={"X-Request-ID": insane}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{16}", given)


def test_server_timing_lists_the_duration_of_each_stage(client: TestClient) -> None:
    for response, inference in (
        (post(client, png(1), faces="whole"), 250),
        (explain(client, png(1), "application/json"), 500),
    ):
        header = response.headers["Server-Timing"]
        stages = dict(part.split(";dur=") for part in header.split(", "))
        assert list(stages) == ["decode", "detect", "queue", "inference"]
        assert float(stages["inference"]) == inference
        assert float(stages["decode"]) > 0


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda client: post(client, png(POISON), faces="whole"), 500),
        (lambda client: explain(client, png(POISON)), 500),
        (lambda client: explain(client, png(1), face=1), 422),
    ],
)
def test_the_durations_of_completed_stages_are_known_of_a_request_that_fails(
    ask: Callable[[TestClient], Response], status: int
) -> None:
    with serving(processes.raises) as client, capture_logs() as log:
        response = ask(client)
    assert response.status_code == status
    stages = dict(part.split(";dur=") for part in response.headers["Server-Timing"].split(", "))
    assert float(stages["decode"]) > 0
    (line,) = [line for line in log if line["event"] == "request"]
    assert line["decode_ms"] == float(stages["decode"])


def opened(response: Response) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "image/png"
    return Image.open(io.BytesIO(response.content))


def test_explain_returns_an_image_with_its_values_in_headers(client: TestClient) -> None:
    response = explain(client, png(9, (200, 200)))
    assert opened(response).size >= (200, 200)
    assert response.headers["X-Emotion"] == "happiness"
    assert response.headers["X-Target"] == "happiness"
    assert 0.9 < float(response.headers["X-Confidence"]) <= 1
    assert float(response.headers["X-Map-Max"]) == 9
    assert response.headers["X-Map-Empty"] == "false"


def test_the_map_is_bright_only_where_the_evidence_is(client: TestClient) -> None:
    heat = opened(explain(client, png(9), view="map"))
    assert heat.mode == "L"
    assert heat.size == (64, 64)
    assert heat.getpixel((7, 7)) > 200  # type: ignore[operator]  # a grey image has one value a pixel
    assert heat.getpixel((60, 60)) < 20  # type: ignore[operator]  # likewise


@pytest.mark.parametrize("view", ["overlay", "face", "heatmap", "panel", "map"])
@pytest.mark.parametrize("colormap", ["jet", "gray"])
def test_every_view_is_drawn_with_every_colormap(
    client: TestClient, view: str, colormap: str
) -> None:
    opened(explain(client, png(9), view=view, colormap=colormap, alpha=0.7))


def test_the_grid_view_requires_the_activations_method(client: TestClient) -> None:
    opened(explain(client, png(9), view="grid", method="activations"))
    detail = check_problem(explain(client, png(9), view="grid"), 422, "bad-parameter")
    assert "activations" in detail


def test_the_grid_view_without_activations_is_refused_before_the_image_is_read(
    client: TestClient,
) -> None:
    check_problem(explain(client, b"no image", view="grid"), 422, "bad-parameter")
    as_json = explain(client, b"no image", "application/json", view="grid")
    check_problem(as_json, 400, "not-an-image")


def test_a_target_without_evidence_gets_an_empty_map_and_a_plain_image(
    client: TestClient,
) -> None:
    plain = explain(client, png(0), view="face", target="fear")
    assert plain.headers["X-Map-Empty"] == "true"
    assert plain.headers["X-Target"] == "fear"
    assert opened(plain).convert("RGB").getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("spelled", ["gradcam++", "gradcam%2B%2B"])
def test_a_method_with_pluses_is_accepted_literally_and_percent_encoded(
    client: TestClient, spelled: str
) -> None:
    headers = {"Content-Type": "image/png", "Accept": "application/json"}
    query = f"faces=whole&method={spelled}"
    response = client.post(f"/explain?{query}", content=png(9), headers=headers)
    assert response.json()["explanation"]["method"] == "gradcam++"


def test_an_explained_face_below_the_threshold_abstains(client: TestClient) -> None:
    for threshold, abstained in ((0, False), (1, True)):
        answer = explain(client, png(9), "application/json", threshold=threshold).json()
        assert answer["face"]["abstained"] is abstained
    sure, doubtful = (explain(client, png(9), threshold=threshold) for threshold in (0, 1))
    assert (np.asarray(opened(sure)) != np.asarray(opened(doubtful))).any(), "and is drawn so"


def test_explain_returns_the_map_and_faithfulness_as_json(client: TestClient) -> None:
    response = explain(client, png(9), "application/json", method="layercam", faithfulness=True)
    answer = schemas.ExplainResponse.model_validate(response.json(), strict=True)
    assert answer.explanation.method == "layercam"
    assert answer.explanation.map[0] == [9, 0, 0, 0]
    assert answer.explanation.max == 9
    assert answer.explanation.faithfulness is not None
    without = explain(client, png(9), "application/json").json()
    assert without["explanation"]["faithfulness"] is None
    assert without["explanation"]["method"] == "gradcam"
    assert without["explanation"]["layer"] == "conv5"
    other = explain(client, png(9), "application/json", target="fear", faithfulness=True).json()
    assert set(other["explanation"]["faithfulness"].values()) == {0}  # no evidence for fear
    assert (answer.explanation.logit, other["explanation"]["logit"]) == (9, 0)
    empty = explain(client, png(0), "application/json", target="fear", faithfulness=True).json()
    assert empty["explanation"]["faithfulness"] is None


def test_faithfulness_is_the_same_with_a_queue_shorter_than_its_batch(
    client: TestClient,
) -> None:
    body = encode(noise(64, 64), "PNG")

    def measured(client: TestClient) -> object:
        answer = explain(client, body, "application/json", faithfulness=True).json()
        return answer["explanation"]["faithfulness"]

    with serving(queue_items=40, max_frames=40) as narrow:
        assert measured(narrow) == measured(client)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("target", "joy", "happiness"),
        ("method", "magic", "layercam"),
        ("layer", "conv6", "conv5"),
        ("view", "hologram", "panel"),
        ("colormap", "rainbow", "viridis"),
        ("alpha", 2, "less than or equal to 1"),
        ("face", 1, "this picture has 1,"),
        ("face", -1, "greater than or equal to 0"),
    ],
)
def test_an_invalid_explain_parameter_gets_422_naming_the_allowed_values(
    client: TestClient,
    name: str,
    value: Any,  # noqa: ANN401  # any value of a query
    allowed: str,
) -> None:
    detail = check_problem(explain(client, png(9), **{name: value}), 422, "bad-parameter")
    assert allowed in detail


def test_drawing_that_exceeds_the_deadline_gets_504(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    with serving() as client:
        assert client.portal is not None
        loop = client.portal.call(asyncio.get_running_loop)
        on_time = loop.time

        def slow_draw(*_: object) -> Picture:
            monkeypatch.setattr(loop, "time", lambda: on_time() + 60)
            loop.call_soon_threadsafe(lambda: None)  # has it look at the time
            told.wait(LIMIT)
            return np.zeros((1, 1, 3), np.uint8)

        monkeypatch.setattr("service.explainer.draw", slow_draw)
        headers = {"Content-Type": "image/png", "X-Deadline-Ms": "60000"}
        response = client.post("/explain?faces=whole", content=png(9), headers=headers)
        told.set()
    check_problem(response, 504, "deadline-exceeded")


def test_an_explained_face_counts_in_the_faces_metric() -> None:
    with serving() as client:
        explain(client, png(9))
        counted = re.findall(r"gimefive_faces_total{.*} (.*)", client.get("/metrics").text)
        assert sum(map(float, counted)) == 1


def test_the_chosen_face_is_explained_as_if_it_were_alone(client: TestClient) -> None:
    both = large_and_small()
    alone = both.copy()
    alone[:, :300] = 0

    def explained(picture: Picture, face: int) -> dict[str, Any]:
        body, kind = encode(picture, "PNG"), "application/json"
        answer: dict[str, Any] = explain(client, body, kind, faces="detect", face=face).json()
        return answer

    large, chosen, expected = explained(both, 0), explained(both, 1), explained(alone, 0)
    assert chosen["face"]["box"] == pytest.approx(expected["face"]["box"], abs=2)
    place, expected_place = (answer["explanation"]["place"] for answer in (chosen, expected))
    np.testing.assert_allclose(place, expected_place, atol=0.5)
    assert chosen["explanation"]["max"] == pytest.approx(expected["explanation"]["max"], abs=5)
    assert large["explanation"]["max"] > 2 * chosen["explanation"]["max"] > 0


def test_the_card_of_an_explained_face_covers_no_other_face(client: TestClient) -> None:
    picture = large_and_small()
    body = encode(picture, "PNG")
    boxes = [face["box"] for face in post(client, body, faces="detect").json()["faces"]]
    for face, other in ((0, boxes[1]), (1, boxes[0])):
        drawn = opened(explain(client, body, faces="detect", face=face, alpha=0))
        changed = np.asarray(drawn)[:, : picture.shape[1]] != picture
        assert changed.any()
        top, left = other["y"], other["x"]
        assert not changed[top : top + other["height"], left : left + other["width"]].any()


def test_explaining_an_image_without_a_face_gets_422(client: TestClient) -> None:
    check_problem(explain(client, png(128, (320, 240)), faces="detect"), 422, "no-face")


def test_a_full_queue_gets_503_with_retry_after(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    files = [("files", ("f.png", png(1)))]
    with (
        serving(processes.gated, str(gate), queue_items=1, max_frames=1) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with shut(gate):
            batch = pool.submit(client.post, "/classify/frames?faces=whole", files=files)
            wait_until(Path(f"{gate}.log").exists)  # it has reached the model
            response = post(client, png(1), faces="whole")
        assert batch.result().status_code == 200
    detail = check_problem(response, 503, "overloaded")
    assert detail.startswith("overloaded (pictures waiting: 1): try again in ")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("path", ["/classify", "/classify?faces=whole", "/explain"])
def test_an_unready_service_gets_503_before_the_body_is_decoded(path: str, tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Engine]:
        argv = processes.argv(processes.ends_when_ready, str(tmp_path / "started"))
        async with Engine.open(settings, lambda _: argv) as engine:
            yield engine

    with TestClient(create_app(Settings().with_changes(workers=1), opened)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 503)
        refused = client.post(path, content=b"broken", headers={"Content-Type": "image/png"})
        check_problem(refused, 503, "not-ready")


def test_an_image_counts_as_held_memory_while_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    with serving() as client:
        served: Engine = client.app_state["engine"]

        def counting_draw(*arguments: Any) -> Picture:  # noqa: ANN401  # the arguments of draw
            held.append(served.memory.held())
            return draw(*arguments)

        monkeypatch.setattr("service.explainer.draw", counting_draw)
        response = client.post(
            "/explain?faces=whole", content=png(1), headers={"Content-Type": "image/png"}
        )
        assert response.status_code == 200
        assert held == [len(png(1)) + 64 * 64 * 3]
        assert served.memory.held() == 0


def test_a_model_failure_gets_500_and_the_next_request_succeeds() -> None:
    with serving(processes.raises) as client:
        check_problem(post(client, png(POISON), faces="whole"), 500, "model-failure")
        assert post(client, png(1), faces="whole").status_code == 200


def test_an_unexpected_error_gets_500_without_its_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("service.imaging.decode", fail)
    with serving() as client:
        sent: dict[str, Any] = {"content": png(1), "headers": {"Content-Type": "image/png"}}
        for path in ("/classify", "/explain"):
            detail = check_problem(client.post(path, **sent), 500, "internal")
            assert "secret" not in detail


def test_an_internal_error_does_not_reveal_file_paths(tmp_path: Path) -> None:
    shutil.copytree(
        Settings().model_store, tmp_path, ignore=shutil.ignore_patterns("*.pt"), dirs_exist_ok=True
    )
    with serving(model_store=tmp_path) as client:
        (tmp_path / "yunet" / "1" / "card.json").write_text("{")
        answer = client.get("/models/yunet/card")
        assert str(tmp_path) not in check_problem(answer, 500, "internal")


def test_probes_succeed_and_draining_fails_only_readiness(client: TestClient) -> None:
    assert client.get("/livez").json() == {"live": True}
    assert client.get("/startupz").status_code == 200
    assert client.get("/readyz").json() == {"ready": True}
    with serving() as other:
        other.app_state["engine"].draining = True
        check_problem(other.get("/readyz"), 503, "not-ready")
        assert other.get("/livez").status_code == 200


def test_requests_are_counted_by_route_even_when_rejected_before_routing(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"someone:{sha256(b'secret').hexdigest()}\n")
    with serving(keys_file=keys, metrics_open=True) as client:
        post(client, png(1))
        client.get("/openapi.json")
        client.get("/models/gimefive/card")
        client.get("/nowhere")
        seen = samples(client)
    for method, route, status in (
        ("POST", "/classify", "401"),
        ("GET", "/openapi.json", "200"),
        ("GET", "/models/{name}/card", "401"),
        ("GET", "unmatched", "401"),
    ):
        labels = {"method": method, "route": route, "status": status}
        assert seen["gimefive_requests_total" + str(labels)] == 1, route


def test_metrics_match_the_requests_a_client_sent() -> None:
    with serving() as client:
        for _ in range(3):
            post(client, png(1), faces="whole")
        post(client, b"no image")
        seen = samples(client)
    route = {"method": "POST", "route": "/classify"}
    assert seen["gimefive_requests_total" + str({**route, "status": "200"})] == 3
    assert seen["gimefive_requests_total" + str({**route, "status": "400"})] == 1
    assert seen["gimefive_faces_total{'emotion': 'happiness'}"] == 3
    assert seen["gimefive_faces_total{'emotion': 'fear'}"] == 0
    assert seen["gimefive_worker_up{}"] == 1
    lane = {"lane": "interactive", "model": "gimefive", "version": "1"}
    assert seen["gimefive_batch_size_sum" + str(lane)] == 3
    assert seen["gimefive_queue_duration_seconds_count" + str(lane)] == 3


def test_models_lists_what_is_serving_and_why(client: TestClient) -> None:
    models = {model["name"]: model for model in client.get("/models").json()["models"]}
    assert models["gimefive"]["serving"]["precision"] == "fp32"
    assert models["gimefive"]["serving"]["reason"] == "a fake"
    assert models["yunet"]["serving"] is None
    assert client.get("/models/gimefive").json() == models["gimefive"]
    assert client.get("/models/gimefive/card").json()["labels"][0] == "happiness"
    assert client.get("/models/yunet/card").json()["licence"] == "MIT"
