"""Data sets in every layout, errors for invalid ones, and the split."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.generated import (
    encode_image,
    noise_faces,
    write_folder,
    write_paper_layout,
    write_zip,
)
from training.data import FaceSet, check_unseen, grey_face, read, split
from training.errors import DataError


@pytest.mark.parametrize("write", [write_folder, write_zip, write_paper_layout])
def test_all_layouts_give_the_same_faces(
    write: Callable[[FaceSet, Path], Path], tmp_path: Path
) -> None:
    faces = noise_faces("RAF", each=2)
    found = read(write(faces, tmp_path))
    np.testing.assert_array_equal(found.faces, faces.faces)
    np.testing.assert_array_equal(found.labels, faces.labels)
    assert found.files == faces.files
    assert "RAF" in found.name


def test_colour_image_is_resized_and_converted_to_grey_as_in_the_paper() -> None:
    rng = np.random.default_rng(0)
    colours = np.kron(rng.integers(0, 256, (10, 13, 3)), np.ones((10, 10, 1), dtype=int))
    rgb = colours.astype(np.uint8)
    fitted = Image.fromarray(rgb).resize((64, 64), Image.Resampling.BILINEAR)
    luma = np.asarray(fitted, dtype=float) @ [0.299, 0.587, 0.114]
    assert np.abs(grey_face(encode_image(rgb)) - luma).max() <= 1


def write_invalid_header(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,emotion\n0.png,0\n")


def write_invalid_label(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n0.png,0\n1.png,6\n")


def drop_label_column(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n0.png\n")


def write_header_only(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n")


def remove_labels(folder: Path) -> None:
    (folder / "labels.csv").unlink()


def remove_image(folder: Path) -> None:
    (folder / "images" / "3.png").unlink()


def corrupt_image(folder: Path) -> None:
    (folder / "images" / "3.png").write_bytes(b"no picture")


def truncate_image(folder: Path) -> None:
    path = folder / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:60])


def duplicate_row(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text(path.read_text() + "3.png,1\n")


def append_latin_1_row(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_bytes(path.read_bytes() + "frühling.png,0\n".encode("latin-1"))


INVALID_FOLDERS = pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            write_invalid_header,
            r"labels\.csv:1: the header is \['file', 'emotion'\], not filename,label",
        ),
        (write_invalid_label, r"labels\.csv:3: label '6' is not 0 to 5"),
        (drop_label_column, r"labels\.csv:2: the columns are"),
        (write_header_only, r"no images are listed"),
        (remove_labels, r"labels\.csv: No such file"),
        (remove_image, r"image 3\.png"),
        (corrupt_image, r"image 3\.png: cannot identify image"),
        (truncate_image, r"image 3\.png"),
        (duplicate_row, r"labels\.csv:8: 3\.png is already on line 5"),
        (append_latin_1_row, r"labels\.csv: the labels are not in UTF-8"),
    ],
)


@INVALID_FOLDERS
def test_invalid_folder_is_rejected_with_the_location(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = write_folder(noise_faces("broken", each=1), tmp_path)
    change(folder)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_labels_exported_from_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """With a byte-order mark and Windows line endings."""
    folder = write_folder(noise_faces("spreadsheet", each=1), tmp_path)
    path, expected = folder / "labels.csv", read(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read(folder).faces, expected.faces)


def test_zip_without_labels_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/0.png", b"")
    with pytest.raises(DataError, match=r"set\.zip: labels\.csv is not in the archive"):
        read(path)


def test_zip_without_a_listed_image_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.csv", "filename,label\n0.png,0\n")
    with pytest.raises(DataError, match=r"image 0\.png: images/0\.png is not in the archive"):
        read(path)


def test_file_that_is_not_a_zip_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"set\.zip: File is not a zip file"):
        read(path)


@pytest.mark.parametrize("name", ["missing.zip", "missing.csv", "missing", "faces.tar"])
def test_missing_path_is_rejected_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


def test_split_is_stratified_by_emotion() -> None:
    parts = split(noise_faces("set", each=40), seed=1)
    counts = [np.bincount(part.labels) for part in (parts.held_out, parts.validation, parts.train)]
    assert [count.tolist() for count in counts] == [[4] * 6, [2] * 6, [34] * 6]


def test_split_assigns_each_face_to_exactly_one_part() -> None:
    faces = noise_faces("set", each=17)
    parts = split(faces, seed=1)
    files = [*parts.train.files, *parts.validation.files, *parts.held_out.files]
    assert sorted(files) == sorted(faces.files)


def test_split_keeps_the_labels_of_training_faces() -> None:
    faces = noise_faces("set", each=9)
    labels = dict(zip(faces.files, faces.labels, strict=True))
    part = split(faces, seed=1).train
    assert [labels[file] for file in part.files] == part.labels.tolist()


def test_unseen_set_with_faces_of_a_split_is_rejected() -> None:
    faces = noise_faces("set", each=20)
    strange = noise_faces("strange", each=2, seed=1)
    splits = [split(faces, seed=1)]
    check_unseen([strange], splits)
    for part in (splits[0].train, splits[0].held_out):
        copy = FaceSet.pool([strange, part.take(np.array([3, 0]))])
        with pytest.raises(DataError, match="strange shares 2 of its 14 faces"):
            check_unseen([strange, copy], splits)


def test_split_is_determined_by_the_seed() -> None:
    faces = noise_faces("set", each=30)
    first, again, other = (split(faces, seed).held_out.files for seed in (1, 1, 2))
    assert first == again
    assert first != other
