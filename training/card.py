"""The card of a version: everything that is known about it, as JSON beside its files."""

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from training.errors import ExportError
from training.report import Report, Share


class Input(TypedDict):
    """What the files take."""

    shape: list[str | int]
    dtype: str
    colour: str


class Precision(TypedDict):
    """A file of the version.

    `parameters` is the dtype they are stored in, `engine` what torch is to run 8 bits with, and
    `agreement` the part of the held-out faces that get the same answer as from ``fp32``.
    """

    file: str
    sha256: str
    bytes: int
    temperature: float
    parameters: str
    agreement: float
    engine: NotRequired[str]


class Source(TypedDict):
    """A data set: what it holds, and how many faces are for which use.

    `sha256` tells, by use, which faces these are (cards of before have none).
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

    `averaged` holds the share that each folder's weights have, where they are of several; `offsets`
    were added to the logits, by label (the first version has none); `threshold` is the
    top score below which the service abstains by default, `robustness` the accuracy on held-out
    faces of the default precision on processors, by condition and data set.
    """

    name: str
    version: str
    labels: list[str]
    input: Input
    layers: dict[str, list[int]]
    parameters: int
    averaged: NotRequired[dict[str, float]]
    offsets: NotRequired[dict[str, float]]
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


def write(card: Card, folder: Path) -> None:
    """Write ``card.json``, with six digits of every number that is not whole."""
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
