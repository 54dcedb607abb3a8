"""Reading labelled faces, and splitting them so that no file is used for training and testing."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from training.errors import DataError
from training.network import EMOTIONS, INPUT_SIZE

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class FaceSet:
    """Labelled faces of one data set.

    Attributes:
        name: the data set's name in reports.
        faces: uint8 ``[N, 64, 64]``, grey.
        labels: int64 ``[N]``, indices into `EMOTIONS`.
        files: the image's file name, for each face.
    """

    name: str
    faces: Faces
    labels: Labels
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """For each face, int64 ``[N]``, a hash of its file's name."""
        return np.array([crc32(file.encode()) for file in self.files])

    def digest(self) -> str:
        """The SHA-256, hexadecimal, of the faces, their labels and file names, in order."""
        hashed = sha256(self.faces.tobytes())
        hashed.update(repr((self.labels.tolist(), self.files)).encode())
        return hashed.hexdigest()

    def take(self, indices: NDArray[np.int64]) -> "FaceSet":
        """The faces at `indices`, in that order."""
        files = tuple(self.files[i] for i in indices)
        return FaceSet(self.name, self.faces[indices], self.labels[indices], files)

    @classmethod
    def pool(cls, sets: Sequence["FaceSet"]) -> "FaceSet":
        """Several sets as one, under the first one's name."""
        return cls(
            sets[0].name,
            np.concatenate([s.faces for s in sets]),
            np.concatenate([s.labels for s in sets]),
            tuple(file for s in sets for file in s.files),
        )


@dataclass(frozen=True)
class Split:
    """One data set split in three, stratified by emotion.

    Attributes:
        train: for training.
        validation: for choices: final weights, averaging shares, offsets, threshold.
        held_out: for reporting, calibration and the choice of precision.
    """

    train: FaceSet
    validation: FaceSet
    held_out: FaceSet

    @property
    def parts(self) -> dict[str, FaceSet]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "held_out": self.held_out}

    def digests(self) -> dict[str, str]:
        """The digest of each part, by name."""
        return {name: faces.digest() for name, faces in self.parts.items()}


Digests = dict[str, dict[str, str]]
"""Digests by part, ``train`` and ``validation``, and by data set, in the order given."""


def check_names(names: Sequence[str]) -> None:
    """Make sure that data sets have different names.

    Raises:
        DataError: two have the same name.
    """
    if len(set(names)) < len(names):
        raise DataError(f"two data sets have the same name: {', '.join(names)}")


def digests(train: Sequence[FaceSet], validation: Sequence[FaceSet]) -> Digests:
    """The digests by which two runs' training and validation faces can be compared.

    Raises:
        DataError: two data sets have the same name.
    """
    check_names([faces.name for faces in train])
    parts = {"train": train, "validation": validation}
    return {part: {faces.name: faces.digest() for faces in sets} for part, sets in parts.items()}


def read(path: Path) -> FaceSet:
    """Read a data set in any of the supported layouts.

    A folder or a zip file with ``images/`` and ``labels.csv`` (header ``filename,label``), or a CSV
    file without a header (``filename,label``) whose images are in the folder next to it that has
    the first word of the file's name: ``train_RAF_labels.csv`` and ``train/``.

    Raises:
        DataError: a file is missing, a label is unknown, or an image cannot be read.
    """
    if path.is_dir():
        rows = _rows(_text(path / "labels.csv"), path / "labels.csv", header=True)
        return _load(path.name, rows, lambda name: (path / "images" / name).read_bytes())
    if path.suffix == ".zip":
        return _read_zip(path)
    if path.suffix == ".csv":
        images = path.parent / path.stem.split("_")[0]
        rows = _rows(_text(path), path, header=False)
        return _load(path.stem, rows, lambda name: (images / name).read_bytes())
    raise DataError(f"{path}: not a folder, .zip or .csv; training/README.md shows the layouts")


def split(faces: FaceSet, seed: int, validation: float = 0.05, held_out: float = 0.1) -> Split:
    """Split a data set, stratified by emotion and in the same way for the same seed."""
    rng = np.random.default_rng(seed)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for emotion in range(len(EMOTIONS)):
        indices = rng.permutation(np.flatnonzero(faces.labels == emotion))
        cuts = np.round(np.cumsum([held_out, validation]) * len(indices)).astype(int)
        for part, chunk in zip(parts, np.split(indices, cuts), strict=True):
            part.append(chunk)
    held, validated, rest = (faces.take(np.sort(np.concatenate(part))) for part in parts)
    return Split(train=rest, validation=validated, held_out=held)


def check_unseen(unseen: Sequence[FaceSet], splits: Sequence[Split]) -> None:
    """Make sure that no unseen face occurs, pixel for pixel, in the data sets to train on.

    Raises:
        DataError: some do.
    """
    parts = [part for s in splits for part in s.parts.values()]
    known = {sha256(face).digest() for part in parts for face in part.faces}
    for faces in unseen:
        if seen := sum(sha256(face).digest() in known for face in faces.faces):
            raise DataError(
                f"{faces.name} shares {seen} of its {len(faces)} faces with the data sets to train "
                "on: remove them, or do not pass this set as --unseen"
            )


def _read_zip(path: Path) -> FaceSet:
    try:
        with zipfile.ZipFile(path) as archive:

            def member(name: str) -> bytes:
                try:
                    return archive.read(name)
                except KeyError as error:
                    raise FileNotFoundError(f"{name} is not in the archive") from error

            rows = _rows(_decoded(member("labels.csv"), path), path, header=True)
            return _load(path.stem, rows, lambda name: member(f"images/{name}"))
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    try:
        return _decoded(path.read_bytes(), path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _decoded(data: bytes, origin: Path) -> str:
    try:
        return data.decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{origin}: the labels are not in UTF-8: save them as UTF-8") from error


def _rows(text: str, origin: Path, *, header: bool) -> list[tuple[str, int]]:
    lines: Iterable[Sequence[str]] = csv.reader(io.StringIO(text))
    rows = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if header and number == 1:
            if line != ["filename", "label"]:
                raise DataError(f"{origin}:1: the header is {line}, not filename,label")
            continue
        if len(line) != 2:
            raise DataError(f"{origin}:{number}: the columns are {line}, not filename,label")
        if not line[1].isdecimal() or int(line[1]) >= len(EMOTIONS):
            raise DataError(f"{origin}:{number}: label {line[1]!r} is not 0 to {len(EMOTIONS) - 1}")
        first = first_lines.setdefault(line[0], number)
        if first < number:
            raise DataError(f"{origin}:{number}: {line[0]} is already on line {first}")
        rows.append((line[0], int(line[1])))
    if not rows:
        raise DataError(f"{origin}: no images are listed")
    return rows


def _load(name: str, rows: list[tuple[str, int]], open_image: Callable[[str], bytes]) -> FaceSet:
    faces = np.empty((len(rows), INPUT_SIZE, INPUT_SIZE), dtype=np.uint8)
    for i, (file, _) in enumerate(rows):
        try:
            faces[i] = grey_face(open_image(file))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{name}: image {file}: {error}") from error
    return FaceSet(name, faces, np.array([label for _, label in rows]), tuple(f for f, _ in rows))


def grey_face(data: bytes) -> Faces:
    """Decode an image as the paper does: resized to 64x64 (bilinear), then PIL's greyscale.

    Returns:
        uint8 ``[64, 64]``.
    """
    with Image.open(io.BytesIO(data)) as image:
        size = (INPUT_SIZE, INPUT_SIZE)
        rgb = image.convert("RGB")
        fitted = rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(fitted.convert("L"))
