"""What kind of answer a client gets where there are two."""

import pytest
from fastapi.testclient import TestClient

from tests.api import png


def kind(client: TestClient, *accepts: str) -> str:
    headers = [("Content-Type", "image/png"), *(("Accept", accept) for accept in accepts)]
    response = client.post("/explain?faces=whole", content=png(9), headers=headers)
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
    ],
)
def test_numbers_are_given_to_who_wants_them_most(client: TestClient, accept: str) -> None:
    assert kind(client, accept) == "application/json"


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
def test_everybody_else_gets_the_picture(client: TestClient, accept: str) -> None:
    assert kind(client, accept) == "image/png"


def test_several_headers_count_as_one(client: TestClient) -> None:
    assert kind(client, "image/png;q=0.5", "application/json") == "application/json"
