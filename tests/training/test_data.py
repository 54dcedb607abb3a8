"""Data sets in every layout, what is said of broken ones, and the split."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.generated import (
    encoded,
    noise_faces,
    write_folder,
    write_paper_layout,
    write_zip,
)
from training.data import FaceSet, check_unseen, grey_face, read, split
from training.errors import DataError


@pytest.mark.parametrize("write", [write_folder, write_zip, write_paper_layout])
def test_every_layout_gives_the_same_faces(
    write: Callable[[FaceSet, Path], Path], tmp_path: Path
) -> None:
    faces = noise_faces("RAF", each=2)
    found = read(write(faces, tmp_path))
    np.testing.assert_array_equal(found.faces, faces.faces)
    np.testing.assert_array_equal(found.labels, faces.labels)
    assert found.files == faces.files
    assert "RAF" in found.name


def test_a_colour_picture_is_fitted_and_turned_grey_as_the_paper_does() -> None:
    rng = np.random.default_rng(0)
    colours = np.kron(rng.integers(0, 256, (10, 13, 3)), np.ones((10, 10, 1), dtype=int))
    rgb = colours.astype(np.uint8)
    fitted = Image.fromarray(rgb).resize((64, 64), Image.Resampling.BILINEAR)
    luma = np.asarray(fitted, dtype=float) @ [0.299, 0.587, 0.114]
    assert np.abs(grey_face(encoded(rgb)) - luma).max() <= 1


def break_header(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,emotion\n0.png,0\n")


def break_label(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n0.png,0\n1.png,6\n")


def break_columns(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n0.png\n")


def empty_list(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n")


def remove_list(folder: Path) -> None:
    (folder / "labels.csv").unlink()


def remove_image(folder: Path) -> None:
    (folder / "images" / "3.png").unlink()


def spoil_image(folder: Path) -> None:
    (folder / "images" / "3.png").write_bytes(b"no picture")


def cut_image(folder: Path) -> None:
    path = folder / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:60])


def repeat_image(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text(path.read_text() + "3.png,1\n")


def encode_otherwise(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_bytes(path.read_bytes() + "frühling.png,0\n".encode("latin-1"))


BROKEN = pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_header, r"labels\.csv:1: the header is \['file', 'emotion'\], not filename,label"),
        (break_label, r"labels\.csv:3: label '6' is not 0 to 5"),
        (break_columns, r"labels\.csv:2: 1 columns"),
        (empty_list, r"no images are listed"),
        (remove_list, r"labels\.csv: No such file"),
        (remove_image, r"image 3\.png"),
        (spoil_image, r"image 3\.png: cannot identify image"),
        (cut_image, r"image 3\.png"),
        (repeat_image, r"labels\.csv:8: 3\.png is already on line 5"),
        (encode_otherwise, r"labels\.csv: the labels are not in UTF-8"),
    ],
)


@BROKEN
def test_a_broken_folder_is_refused_with_the_place(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = write_folder(noise_faces("broken", each=1), tmp_path)
    change(folder)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_labels_out_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """Theirs begin with a byte-order mark, and lines end as on Windows."""
    folder = write_folder(noise_faces("spreadsheet", each=1), tmp_path)
    path, expected = folder / "labels.csv", read(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read(folder).faces, expected.faces)


def test_a_zip_that_lacks_its_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/0.png", b"")
    with pytest.raises(DataError, match=r"set\.zip: labels\.csv is not in the archive"):
        read(path)


def test_a_zip_that_lacks_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.csv", "filename,label\n0.png,0\n")
    with pytest.raises(DataError, match=r"image 0\.png: images/0\.png is not in the archive"):
        read(path)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"set\.zip: File is not a zip file"):
        read(path)


@pytest.mark.parametrize("name", ["missing.zip", "missing.csv", "missing", "faces.tar"])
def test_what_is_not_there_or_no_data_set_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


def test_the_split_gives_every_part_its_share_of_every_emotion() -> None:
    parts = split(noise_faces("set", each=40), seed=1)
    counts = [np.bincount(part.labels) for part in (parts.held_out, parts.validation, parts.train)]
    assert [count.tolist() for count in counts] == [[4] * 6, [2] * 6, [34] * 6]


def test_the_parts_of_a_split_share_no_face_and_lose_none() -> None:
    faces = noise_faces("set", each=17)
    parts = split(faces, seed=1)
    files = [*parts.train.files, *parts.validation.files, *parts.held_out.files]
    assert sorted(files) == sorted(faces.files)


def test_a_face_keeps_its_label_through_the_split() -> None:
    faces = noise_faces("set", each=9)
    labels = dict(zip(faces.files, faces.labels, strict=True))
    part = split(faces, seed=1).train
    assert [labels[file] for file in part.files] == part.labels.tolist()


def test_faces_that_are_learned_from_are_not_unseen_under_another_name() -> None:
    faces = noise_faces("set", each=20)
    strange = noise_faces("strange", each=2, seed=1)
    cut = [split(faces, seed=1)]
    check_unseen([strange], cut)
    for part in (cut[0].train, cut[0].held_out):
        copy = FaceSet.pool([strange, part.take(np.array([3, 0]))])
        with pytest.raises(DataError, match="2 of the 14 faces of strange are also in"):
            check_unseen([strange, copy], cut)


def test_the_same_seed_gives_the_same_split_and_another_one_does_not() -> None:
    faces = noise_faces("set", each=30)
    first, again, other = (split(faces, seed).held_out.files for seed in (1, 1, 2))
    assert first == again
    assert first != other
