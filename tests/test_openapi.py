"""GET /openapi.json: valid, complete, and consistent with real responses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from websockets.asyncio.client import connect

from service.api.openapi import EXAMPLES
from service.contract import lines
from service.contract.problems import TABLE
from service.csv_text import csv_text
from tests.api import KEY, line, png, serving
from tests.cameras import exchange, live
from tests.videos import counting, encode

Document = dict[str, Any]

PROBES = {"livez", "readyz", "startupz"}
WITH_BODY = {"classify", "classify_frames", "classify_video", "explain", "explain_video"}
GUARDED = WITH_BODY | {"live", "models", "model", "model_card", "metrics"}
OPERATIONS_BY_STATUS = {
    "400": WITH_BODY,
    "401": GUARDED,
    "403": {"live"},
    "404": {"model", "model_card"},
    "408": WITH_BODY,
    "413": WITH_BODY,
    "415": WITH_BODY,
    "422": GUARDED - {"metrics"},
    "426": {"live"},
    "429": GUARDED,
    "500": GUARDED | PROBES,
    "503": GUARDED | PROBES,
    "504": WITH_BODY,
}
STANDARD_HEADERS = {
    *("connection", "content-length", "content-type", "upgrade", "www-authenticate"),
    *("referrer-policy", "sec-websocket-version", "vary", "x-content-type-options"),
    "x-frame-options",
}
"""Standard headers that are not specific to this API."""


@pytest.fixture(scope="module")
def document(client: TestClient) -> Document:
    fetched: Document = client.get("/openapi.json").json()
    return fetched


def operations(document: Document) -> dict[str, Document]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }


def contents(document: Document) -> Iterator[tuple[str, Document]]:
    """Every response content, labelled with operation, status and media type."""
    for name, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            for kind, content in answer["content"].items():
                yield f"{name} {status} {kind}", content


def resolved(document: Document, node: Document) -> Document:
    """The target of a reference, or the node itself."""
    if "$ref" in node:
        _, _, group, name = node["$ref"].split("/")
        found: Document = document["components"][group][name]
        return found
    return node


def check(document: Document, schema: Document, value: object) -> None:
    OAS31Validator({**schema, "components": document["components"]}).validate(value)


def examples(document: Document, node: Document) -> list[object]:
    """The examples next to a schema, or else those in it."""
    if "examples" in node:
        return [resolved(document, each)["value"] for each in node["examples"].values()]
    if "example" in node:
        return [node["example"]]
    found: list[object] = resolved(document, node["schema"]).get("examples", [])
    return found


@pytest.mark.parametrize("keys", [False, True])
def test_the_document_is_valid_openapi(tmp_path: Path, *, keys: bool) -> None:
    file = tmp_path / "keys"
    file.write_text(line("camera", KEY))
    with serving(keys_file=file if keys else None) as client:
        validate(client.get("/openapi.json").json())


def test_every_schema_and_textual_response_has_an_example_that_matches(
    document: Document,
) -> None:
    for name, content in contents(document):
        shown = examples(document, content)
        assert shown or content["schema"].get("format") == "binary", name
        for each in shown:
            check(document, content["schema"], each)
    for name, schema in document["components"]["schemas"].items():
        for each in schema.get("examples", []):
            check(document, {"$ref": f"#/components/schemas/{name}"}, each)


def test_every_parameter_and_header_has_a_description_and_an_example_or_default(
    document: Document,
) -> None:
    parameters = [
        each for one in operations(document).values() for each in one.get("parameters", [])
    ]
    headers = [
        resolved(document, header)
        for operation in operations(document).values()
        for answer in operation["responses"].values()
        for header in answer.get("headers", {}).values()
    ]
    for each in [*parameters, *headers]:
        assert each["description"]
        told = json.dumps(each)
        assert '"example' in told or '"default"' in told or '"enum"' in told, told
        for example in examples(document, each):
            check(document, each["schema"], example)


def test_problem_examples_match_the_problem_table(document: Document) -> None:
    shown = document["components"]["examples"]
    assert set(shown) == {kind.slug for kind in TABLE.values()}
    for kind in TABLE.values():
        problem = shown[kind.slug]["value"]
        assert problem["type"] == f"urn:gimefive:{kind.slug}"
        assert (problem["title"], problem["status"]) == (kind.title, kind.status)


def test_the_csv_example_matches_the_json_example(document: Document) -> None:
    told = document["components"]["schemas"]["AnswerLine"]["examples"]
    rows = [row for each in told if "frame" in each for row in lines.rows(each)]
    (table,) = document["components"]["schemas"]["FaceTable"]["examples"]
    assert table == csv_text([lines.COLUMNS, *rows])


def test_each_status_is_documented_for_exactly_the_operations_that_return_it(
    document: Document,
) -> None:
    told = operations(document)
    for status, names in OPERATIONS_BY_STATUS.items():
        assert {name for name, each in told.items() if status in each["responses"]} == names, status
    assert set(told) == GUARDED | PROBES


def test_every_operation_has_a_summary_and_described_tags(document: Document) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    for operation in operations(document).values():
        assert operation["summary"]
        assert set(operation["tags"]) <= described


def test_batch_limits_are_documented_from_the_settings(client: TestClient) -> None:
    with serving(max_frames=7) as other:
        for served, most in ((client, 256), (other, 7)):
            frames = operations(served.get("/openapi.json").json())["classify_frames"]
            (form,) = frames["requestBody"]["content"].values()
            files = form["schema"]["properties"]["files"]
            assert (files["minItems"], files["maxItems"]) == (1, most)


def check_documented(document: Document, path: str, response: Response) -> None:
    """Check that the status, headers and content of a response are documented."""
    operation = document["paths"][path][response.request.method.lower()]
    answer = operation["responses"][str(response.status_code)]
    headers = {name.lower(): resolved(document, each) for name, each in answer["headers"].items()}
    assert set(response.headers) - STANDARD_HEADERS == set(headers)
    for name, header in headers.items():
        typed = header["schema"].get("type", "string") != "string"
        value = response.headers[name]
        check(document, header["schema"], json.loads(value) if typed else value)
    kind = response.headers["Content-Type"].partition(";")[0]
    schema = answer["content"][kind]["schema"]
    if kind == "application/x-ndjson":
        for each in response.text.splitlines():
            check(document, schema, json.loads(each))
    elif kind.endswith("json"):
        check(document, schema, response.json())


@pytest.mark.parametrize(
    ("path", "query", "accept"),
    [
        ("/classify", "faces=whole", "*/*"),
        ("/classify", "faces=some", "*/*"),
        ("/classify/frames", "faces=whole&track=true", "*/*"),
        ("/classify/frames", "faces=some", "*/*"),
        ("/explain", "faces=whole", "*/*"),
        ("/explain", "faces=whole&faithfulness=true", "application/json"),
        ("/explain", "face=2", "*/*"),
        ("/classify/video", "faces=whole", "*/*"),
        ("/classify/video", "faces=whole", "text/csv"),
        ("/classify/video", "start=9", "*/*"),
        ("/explain/video", "faces=whole", "*/*"),
        ("/explain/video", "target=joy", "*/*"),
    ],
)
def test_responses_to_uploads_match_the_document(
    client: TestClient, document: Document, path: str, query: str, accept: str
) -> None:
    good = encode(counting(3)) if "video" in path else png(9)
    field = "files" if "frames" in path else "file"
    for body in (good, b"neither picture nor video"):
        sent = {field: ("it", body)}
        response = client.post(f"{path}?{query}", files=sent, headers={"Accept": accept})
        check_documented(document, path, response)
    check_documented(document, path, client.post(path, content=b"", headers={"Accept": accept}))


@pytest.mark.parametrize(
    "path",
    [
        *("/livez", "/readyz", "/startupz", "/metrics", "/live"),
        *("/models", "/models/{name}", "/models/{name}/card"),
    ],
)
def test_responses_without_a_body_match_the_document(
    client: TestClient, document: Document, path: str
) -> None:
    for name in ("gimefive", "yunet", "resnet"):
        check_documented(document, path, client.get(path.format(name=name)))


def test_rejections_match_the_document_and_only_open_paths_need_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("camera", KEY))
    with serving(keys_file=file, rate_limit=0.01, rate_burst=1, metrics_open=True) as client:
        document = client.get("/openapi.json").json()
        headers = {"X-API-Key": KEY}
        refused = [client.get("/models"), *(client.get("/models", headers=headers) for _ in "12")]
        assert [each.status_code for each in refused] == [401, 200, 429]
        for response in refused:
            check_documented(document, "/models", response)
        client.app_state["engine"].draining = True
        check_documented(document, "/readyz", client.get("/readyz"))
    told = operations(document)
    assert {name for name in told if told[name].get("security") == []} == PROBES | {"metrics"}


@pytest.mark.anyio
async def test_answers_to_camera_frames_match_the_document(document: Document) -> None:
    content = operations(document)["live"]["responses"]["101"]["content"]["application/json"]
    async with live() as (_, url), connect(f"{url}?faces=whole&explain=gradcam") as camera:
        for frame in (png(9), b"no picture"):
            check(document, content["schema"], await exchange(camera, frame))


def test_every_example_file_is_shown(document: Document) -> None:
    shown = {name for name, each in document["components"]["schemas"].items() if "examples" in each}
    assert {file.stem for file in EXAMPLES.iterdir()} == shown | {"Problem"}
