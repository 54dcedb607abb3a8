"""Content negotiation of /explain between JSON and PNG."""

import pytest
from fastapi.testclient import TestClient

from tests.api import png


def negotiated_type(client: TestClient, *accepts: str) -> str:
    headers = [("Content-Type", "image/png"), *(("Accept", accept) for accept in accepts)]
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = client.post("/explain?faces=whole", content=png(9), headers=sent)
    assert response.headers["Vary"] == "Accept"
    return response.headers["Content-Type"]


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "APPLICATION/JSON; charset=utf-8",
        "application/json, text/plain, */*",
        "image/*;q=0.8, application/json;q=0.9",
        "application/json, image/png",
        "image/*, application/json",
        "text/\xff, application/json",
    ],
)
def test_json_is_returned_if_the_accept_header_prefers_it(client: TestClient, accept: str) -> None:
    assert negotiated_type(client, accept) == "application/json"


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/jsonp",
        "application/json;q=0",
        "application/json;q=high",
        "image/png, application/json;q=0.5",
        "image/*, application/json;q=0.5",
        "image/png, application/json",
    ],
)
def test_png_is_returned_otherwise(client: TestClient, accept: str) -> None:
    assert negotiated_type(client, accept) == "image/png"


def test_several_accept_headers_are_combined(client: TestClient) -> None:
    assert negotiated_type(client, "image/png;q=0.5", "application/json") == "application/json"
