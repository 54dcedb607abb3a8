"""The model store on disk: ``NAME/VERSION/card.json``, and the files that the card names."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.calibration import Calibration
from service.errors import NotFound, StoreError
from service.records import EMOTIONS

ModelT = TypeVar("ModelT", bound=BaseModel)

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class StoredFile(BaseModel):
    """A file that a card names.

    Attributes:
        file: its name in the version's folder.
        sha256: of its bytes, hexadecimal.
    """

    model_config = ConfigDict(frozen=True)

    file: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    sha256: Sha256


class Artefact(StoredFile):
    """The model in one precision.

    Attributes:
        temperature: of its calibration, as in `Calibration`.
        exponent: likewise; cards up to version 11 have none.
        engine: torch's quantisation engine that it was exported for; None if not quantised.
    """

    temperature: Annotated[float, Field(gt=0)]
    exponent: Annotated[float, Field(ge=0)] = 0.0
    engine: str | None = None

    @property
    def calibration(self) -> Calibration:
        """From its logits to scores."""
        return Calibration(self.temperature, self.exponent)


class ModelCard(BaseModel):
    """The part of ``card.json`` that the service uses; the rest is for readers.

    Attributes:
        labels: the classes, in the order of the network's outputs.
        threshold: confidence below which the service abstains, unless a setting overrides it.
        precisions: the artefacts, by precision; ``fp32`` is always there.
        default_precision: the best choice for each kind of device, ``cpu`` and ``cuda``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    labels: tuple[str, ...]
    threshold: Annotated[float, Field(ge=0, le=1)]
    precisions: Mapping[str, Artefact]
    default_precision: Mapping[str, str]

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if "fp32" not in self.precisions:
            raise ValueError("precisions has no fp32")
        if not self.default_precision.keys() >= {"cpu", "cuda"}:
            raise ValueError("default_precision needs both cpu and cuda")
        return self


@dataclass(frozen=True)
class StoredModel:
    """A version of a model in the store.

    Attributes:
        folder: where its files are.
        card: the part of its card that the service uses.
        document: the whole card.
    """

    folder: Path
    card: ModelCard
    document: Mapping[str, Any]


class ModelStore:
    """The models in one folder. A version never changes."""

    def __init__(self, root: Path) -> None:
        """Use the folder `root`.

        Raises:
            StoreError: there is no such folder.
        """
        if not root.is_dir():
            raise StoreError(f"no model store at {root}: set GIMEFIVE_MODEL_STORE to its folder")
        self.root = root

    def names(self) -> tuple[str, ...]:
        """The names of the models, sorted."""
        return tuple(sorted({card.parent.parent.name for card in self.root.glob("*/*/card.json")}))

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model, lowest first.

        Raises:
            NotFound: there is no such model.
        """
        found = [
            card.parent.name
            for card in self.root.glob("*/*/card.json")
            if card.parent.parent.name == name
        ]
        if not found:
            others = ", ".join(self.names())
            raise NotFound(f"no model {name!r} here" + (f": use one of {others}" if others else ""))
        return tuple(sorted(found, key=_version_key))

    def gimefive(self, version: str | None = None) -> StoredModel:
        """The emotion model: the given version, or the highest.

        Raises:
            StoreError: it is not in the store, or its card is invalid.
        """
        folder, document = self._needed("gimefive", version)
        card = _validated(ModelCard, document, folder / "card.json")
        if card.labels != EMOTIONS:
            raise StoreError(f"{folder / 'card.json'}: labels are not {', '.join(EMOTIONS)}")
        return StoredModel(folder, card, document)

    def document(self, name: str, version: str | None = None) -> Mapping[str, Any]:
        """The whole card of any model.

        Raises:
            NotFound: there is no such model or version.
            StoreError: it cannot be read.
        """
        return _read_card(self._folder(name, version) / "card.json")

    def detector(self) -> bytes:
        """The verified bytes of the face detector.

        Raises:
            StoreError: the file is missing or altered.
        """
        folder, document = self._needed("yunet")
        named = _validated(StoredFile, document, folder / "card.json")
        return read_verified(folder / named.file, named.sha256)

    def _needed(self, name: str, version: str | None = None) -> tuple[Path, Mapping[str, Any]]:
        """The folder and the card of a model that the service requires."""
        try:
            folder = self._folder(name, version)
        except NotFound as error:
            raise StoreError(f"{self.root}: {error}") from error
        return folder, _read_card(folder / "card.json")

    def _folder(self, name: str, version: str | None) -> Path:
        """The folder of a version of a model; of the highest if `version` is None."""
        versions = self.versions(name)
        if version is not None and version not in versions:
            raise NotFound(f"no version {version!r} of {name}: use one of {', '.join(versions)}")
        return self.root / name / (version or versions[-1])

    def verify(self) -> Iterator[Path]:
        """Verify every file that a card names, and yield the path of each that is intact.

        Raises:
            StoreError: a file is missing, truncated or altered.
        """
        for card in sorted(self.root.glob("*/*/card.json")):
            document = _read_card(card)
            entries = document.get("precisions", {"": document})
            for entry in entries.values() if isinstance(entries, dict) else [entries]:
                named = _validated(StoredFile, entry, card)
                path = card.parent / named.file
                read_verified(path, named.sha256)
                yield path


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file of the store, checked against the card's SHA-256.

    Raises:
        StoreError: the file is missing, truncated or altered.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise StoreError(
            f"{path}: SHA-256 is {found[:12]}..., the card says {sha256[:12]}...: "
            "the file is truncated or altered; put the original back"
        )
    return data


def _read_card(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not a JSON object")
    return document


def _validated(model: type[ModelT], document: object, path: Path) -> ModelT:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        parts = (str(path), ".".join(map(str, first["loc"])), first["msg"])
        raise StoreError(": ".join(filter(None, parts))) from error


def _version_key(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (-1, version)
