"""The card of a version: everything known about it, as JSON next to its files."""

import json
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from training.errors import ExportError
from training.report import Report, Share


class Input(TypedDict):
    """The input of the files."""

    shape: list[str | int]
    dtype: str
    colour: str


class Precision(TypedDict):
    """A file of the version.

    `parameters` is the dtype that the parameters are stored in, `engine` torch's quantized engine
    for an 8-bit file, and `agreement` the share of held-out faces with the same answer as ``fp32``.
    """

    file: str
    sha256: str
    bytes: int
    temperature: float
    parameters: str
    agreement: float
    engine: NotRequired[str]


class Source(TypedDict):
    """A data set: its contents, and the number of faces in each part.

    `sha256` is the digest of each part's faces (missing in early cards).
    """

    name: str
    file: str
    images: int
    classes: dict[str, int]
    parts: dict[str, int]
    sha256: NotRequired[dict[str, str]]
    licence: str


class Metrics(TypedDict):
    """Reports by data set (or ``pooled``) and precision."""

    held_out: dict[str, dict[str, Report]]
    unseen: dict[str, dict[str, Report]]


class Card(TypedDict):
    """The card.

    Attributes:
        averaged: the share of each folder's weights, if they are a mean.
        offsets: what was added to the logits, by label (missing in version 1).
        calibrated_on: the part whose faces the temperatures were fitted on; see `calibrated_on`.
        threshold: the top score below which the service abstains by default.
        robustness: accuracy on held-out faces by condition and data set, of the default precision
            on CPUs.
    """

    name: str
    version: str
    labels: list[str]
    input: Input
    layers: dict[str, list[int]]
    parameters: int
    averaged: NotRequired[dict[str, float]]
    offsets: NotRequired[dict[str, float]]
    calibrated_on: NotRequired[Literal["held_out", "validation"]]
    threshold: float
    precisions: dict[str, Precision]
    default_precision: dict[str, str]
    default_reason: dict[str, str]
    data: list[Source]
    metrics: Metrics
    robustness: dict[str, dict[str, Share]]
    recipes: list[dict[str, Any]]
    history: list[dict[str, float]]
    command: str
    commit: str | None
    torch: str


def calibrated_on(card: Card) -> Literal["held_out", "validation"]:
    """The part of the data sets whose faces the temperatures were fitted on.

    Cards up to version 10 do not say. Version 10 was the first to use held-out faces.
    """
    inferred: Literal["held_out", "validation"] = (
        "held_out" if int(card["version"]) >= 10 else "validation"
    )
    return card.get("calibrated_on", inferred)


def write(card: Card, folder: Path) -> None:
    """Write ``card.json``, with floats rounded to six significant digits."""
    text = json.dumps(_tidy(card), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "card.json").write_text(text + "\n")


def read(folder: Path) -> Card:
    """Read the ``card.json`` of a version.

    Raises:
        ExportError: there is none.
    """
    path = folder / "card.json"
    try:
        card: Card = json.loads(path.read_text())
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error
    return card


def _tidy(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _tidy(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_tidy(part) for part in value]
    return value
