"""The card of a version: everything known about it, as JSON next to its files."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from service.calibration import Calibration
from training.errors import ExportError
from training.report import Report, Share


class Input(TypedDict):
    """The input of the files."""

    shape: list[str | int]
    dtype: str
    colour: str


class File(TypedDict):
    """A file of the version.

    `parameters` is the dtype that the parameters are stored in, `engine` torch's quantized engine
    for an 8-bit file.
    """

    file: str
    sha256: str
    bytes: int
    parameters: str
    engine: NotRequired[str]


class Precision(File):
    """A file, and what was measured of it.

    `temperature` and `exponent` are those of its `service.calibration.Calibration` (up to version
    11 there is no exponent), and `agreement` is the share of held-out faces with the same answer as
    ``fp32``.
    """

    temperature: float
    exponent: NotRequired[float]
    agreement: float


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


class Measured(TypedDict):
    """What follows from the files' scores.

    Attributes:
        precisions: the files, by precision.
        calibrated_on: the part whose faces the calibrations were fitted on; see `calibrated_on`.
        threshold: the top score below which the service abstains by default.
        robustness: accuracy on held-out faces by condition and data set, of the default precision
            on CPUs.
    """

    precisions: dict[str, Precision]
    calibrated_on: NotRequired[Literal["held_out", "validation"]]
    threshold: float
    default_precision: dict[str, str]
    default_reason: dict[str, str]
    metrics: Metrics
    robustness: dict[str, dict[str, Share]]


class Card(Measured):
    """The card.

    Attributes:
        averaged: the share of each folder's weights (missing in early cards if there is one).
        offsets: what was added to the logits, by label (missing in version 1).
        evened: how far the frequencies of emotions were evened out, by data set (missing up to
            version 13); see `training.evening`.
    """

    name: str
    version: str
    labels: list[str]
    input: Input
    layers: dict[str, list[int]]
    parameters: int
    averaged: NotRequired[dict[str, float]]
    offsets: NotRequired[dict[str, float]]
    evened: NotRequired[dict[str, float]]
    data: list[Source]
    recipes: list[dict[str, Any]]
    history: list[dict[str, float]]
    command: str
    commit: str | None
    torch: str


def calibrated_on(card: Card) -> Literal["held_out", "validation"]:
    """The part of the data sets whose faces the calibrations were fitted on.

    Cards up to version 10 do not say. Version 10 was the first to use held-out faces.
    """
    inferred: Literal["held_out", "validation"] = (
        "held_out" if int(card["version"]) >= 10 else "validation"
    )
    return card.get("calibrated_on", inferred)


def calibration(entry: Precision) -> Calibration:
    """From a file's logits to scores."""
    return Calibration(entry["temperature"], entry.get("exponent", 0.0))


def commit() -> str | None:
    """The commit of the code, with ``-dirty`` if files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    words = [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(  # noqa: S603  # the command is fixed
        words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


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
