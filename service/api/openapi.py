"""The OpenAPI document: what FastAPI cannot know, and what all operations share."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service import errors
from service.api import forms, problems
from service.api.guard import open_paths
from service.api.observe import SANE_ID
from service.api.security import SCHEMES
from service.contract import lines
from service.contract.problems import Problem
from service.contract.schemas import LiveAnswer
from service.settings import Settings

EXAMPLES = Path(__file__).parent / "examples"
"""What was answered once: NAME.json holds examples of the schema NAME."""

TAGS = [
    {
        "name": "classify",
        "description": "Facial expressions in images, batches of frames and videos.",
    },
    {"name": "explain", "description": "Heat maps of the evidence for an emotion."},
    {"name": "live", "description": "A camera's frames, over a WebSocket."},
    {"name": "models", "description": "The models and their cards."},
    {"name": "operations", "description": "Probes and metrics."},
]

EXTRA_MODELS = (Problem, lines.AnswerLine, lines.FaceTable, LiveAnswer)
"""Models of answers that FastAPI does not write itself."""

REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "An id for the request, repeated in its answer, in problems and in the log.",
    "schema": {
        "type": "string",
        "pattern": f"^{SANE_ID.pattern.decode()}$",
        "examples": ["7f8a1c9e5d2b4f60"],
    },
}


def header(description: str, example: object, **schema: object) -> dict[str, Any]:
    """The entry of a response's header."""
    return {"description": description, "schema": schema, "example": example}


HEADERS = {
    "X-Request-ID": header(
        "The client's, if it sent a valid one, else a new one.", "7f8a1c9e5d2b4f60", type="string"
    ),
    "Server-Timing": header(
        "Milliseconds spent in each stage; 0 for videos and for most refusals.",
        "decode;dur=2.73, detect;dur=37.91, queue;dur=0.18, inference;dur=8.66",
        type="string",
    ),
    "Retry-After": header("Seconds to wait before trying again.", 1, type="integer"),
}
COMMON_HEADERS = {
    name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", "Server-Timing")
}

COMMON_ERRORS = (errors.NotReady, errors.ServiceError)
"""How any operation may fail: its process has ended, or an unforeseen error."""
BEHIND_KEYS = (errors.Unauthorised, errors.RateLimited)
WITH_A_BODY = (
    errors.BadInput,
    errors.SlowClient,
    errors.TooLarge,
    errors.UnsupportedMedia,
    errors.BadParameter,
    errors.Overloaded,
)


def install(app: FastAPI, settings: Settings) -> None:
    """Complete the document of `app`."""
    generate = app.openapi

    @cache
    def completed() -> dict[str, Any]:
        document = generate()
        components = document["components"]
        _add_components(components)
        for path, item in document["paths"].items():
            is_open = path in open_paths(settings)
            for operation in item.values():
                _complete(operation, components["schemas"], is_open=is_open)
                if settings.keys_file and is_open:
                    operation["security"] = []
        if settings.keys_file:
            components["securitySchemes"] = SCHEMES
            document["security"] = [{name: []} for name in SCHEMES]
        batch = document["paths"]["/classify/frames"]["post"]["requestBody"]["content"]
        batch[forms.FORM]["schema"]["properties"]["files"]["maxItems"] = settings.max_frames
        return document

    app.openapi = completed  # type: ignore[method-assign]  # how FastAPI wants it extended


def _add_components(components: dict[str, Any]) -> None:
    _, unseen = models_json_schema(
        [(model, "serialization") for model in EXTRA_MODELS],
        ref_template="#/components/schemas/{model}",
    )
    schemas = components["schemas"]
    schemas |= unseen["$defs"]
    for never in ("HTTPValidationError", "ValidationError"):
        schemas.pop(never, None)
    examples = {file.stem: json.loads(file.read_text()) for file in EXAMPLES.iterdir()}
    components["examples"] = {
        problem["type"].rpartition(":")[2]: {"summary": problem["title"], "value": problem}
        for problem in examples.pop("Problem")
    }
    for name, answered in examples.items():
        schemas[name]["examples"] = answered
    components["headers"] = HEADERS


def _complete(operation: dict[str, Any], schemas: dict[str, Any], *, is_open: bool) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):  # FastAPI's guess, which is never sent
        del answers["422"]
    shared = [
        *COMMON_ERRORS,
        *(() if is_open else BEHIND_KEYS),
        *(WITH_A_BODY if "requestBody" in operation else ()),
    ]
    problems.responses(*shared, among=answers)
    for status, answer in answers.items():
        if status != "101":
            answer["headers"] = {**COMMON_HEADERS, **answer.get("headers", {})}
        for content in answer["content"].values():
            _show(content, schemas)
    operation["responses"] = dict(sorted(answers.items()))
    operation.setdefault("parameters", []).append(REQUEST_ID)
    operation["summary"], _, operation["description"] = operation["description"].partition("\n\n")


def _show(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    """All examples where there are several: /docs shows the first of a schema only."""
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    examples = schemas[name].get("examples", []) if name else []
    if len(examples) > 1:
        content["examples"] = {
            str(number): {"summary": ", ".join(example), "value": example}
            for number, example in enumerate(examples)
        }
