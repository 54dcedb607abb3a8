"""Detecting and cropping faces."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from math import cos, hypot, pi, sin
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from service.errors import StoreError
from service.faces import FRAMING, CropFrame, FaceDetector, Framing, crop, cut
from service.imaging import decode
from service.records import Box, Face, Picture
from tests.pictures import PORTRAIT, blurred_and_sharp, encode, noise, smooth

YUNET = Path(__file__).parents[1] / "model_store" / "yunet" / "1"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(YUNET / "model.onnx")


@pytest.fixture(scope="module")
def portrait() -> Picture:
    return decode(PORTRAIT.read_bytes(), 512 * 512)


def centre(face: Face) -> tuple[float, float]:
    return face.box.x + face.box.width / 2, face.box.y + face.box.height / 2


def paste(canvas: Picture, portrait: Picture, side: int, left: int, top: int) -> None:
    """Paste the portrait onto a canvas at `side` x `side` pixels."""
    small = Image.fromarray(portrait).resize((side, side), Image.Resampling.LANCZOS)
    canvas[top : top + side, left : left + side] = np.asarray(small)


def check_is_portrait_face(face: Face, side: float, left: float, top: float) -> None:
    """The face spans x 178 to 268 and y 63 to 176 of the portrait's 512 pixels."""
    scale = side / 512
    x, y = centre(face)
    assert hypot(x - left - 223 * scale, y - top - 120 * scale) < 8 * scale + 1
    assert face.box.height == pytest.approx(113 * scale, rel=0.12)
    assert face.box.width == pytest.approx(90 * scale, rel=0.12)


def test_model_card_matches_the_detector_file() -> None:
    card = json.loads((YUNET / "card.json").read_text())
    data = (YUNET / card["file"]).read_bytes()
    assert card["sha256"] == sha256(data).hexdigest()
    assert card["bytes"] == len(data)


def test_one_face_is_detected_in_a_portrait(detector: FaceDetector, portrait: Picture) -> None:
    (face,) = detector.detect(portrait)
    check_is_portrait_face(face, 512, 0, 0)
    assert face.detection_score is not None
    assert 0.85 < face.detection_score <= 1


def test_landmarks_match_positions_marked_by_eye(detector: FaceDetector, portrait: Picture) -> None:
    (face,) = detector.detect(portrait)
    by_eye = [(201, 103), (247, 103), (220, 124), (200, 143), (240, 144)]
    assert face.landmarks is not None
    assert_allclose(face.landmarks, by_eye, atol=6)


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270])
def test_photograph_with_exif_rotation_gives_the_same_faces(
    detector: FaceDetector, portrait: Picture, turn: Image.Transpose
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6 if turn == Image.Transpose.ROTATE_90 else 8
    sideways = encode(Image.fromarray(portrait).transpose(turn), "PNG", exif=tags)
    assert detector.detect(decode(sideways, 512 * 512)) == detector.detect(portrait)


@pytest.mark.parametrize("angle", [-40, -20, 20, 40])
def test_tilted_face_is_detected(detector: FaceDetector, portrait: Picture, angle: int) -> None:
    tilted = Image.fromarray(portrait).rotate(angle, Image.Resampling.BILINEAR)
    (face,) = detector.detect(np.asarray(tilted))
    turn = angle * pi / 180  # anticlockwise about the centre of the image
    x, y = 223 - 256, 120 - 256
    expected = 256 + x * cos(turn) + y * sin(turn), 256 - x * sin(turn) + y * cos(turn)
    assert_allclose(centre(face), expected, atol=12)


def test_several_faces_are_located_and_sorted_largest_first(
    detector: FaceDetector, portrait: Picture
) -> None:
    canvas = np.full((1080, 1920, 3), 120, np.uint8)
    places = [(180, 1500, 700), (600, 100, 300), (300, 900, 100)]
    for place in places:
        paste(canvas, portrait, *place)
    faces = detector.detect(canvas)
    assert len(faces) == 3
    for face, place in zip(faces, [places[1], places[2], places[0]], strict=True):
        check_is_portrait_face(face, *place)


@pytest.mark.parametrize(("side", "apart"), [(150, 90), (150, 110), (200, 70)])
def test_partly_covered_face_is_detected(
    detector: FaceDetector, portrait: Picture, side: int, apart: int
) -> None:
    """In a close-up of either face, the detector may see both or only the other one."""
    head = Image.fromarray(portrait).crop((150, 40, 300, 200)).resize((side, side * 16 // 15))
    canvas = np.full((500, 700, 3), 120, np.uint8)
    for left in (80, 80 + apart):
        canvas[50 : 50 + head.height, left : left + side] = np.asarray(head)
    faces = detector.detect(canvas)
    assert len(faces) == 2
    behind, before = sorted(faces, key=lambda face: face.box.x)
    middle = 80 + side * 73 / 150  # x of the centre of the first face
    assert 80 < behind.box.x < middle
    assert centre(before)[0] == pytest.approx(middle + apart, abs=side / 15)


def test_of_more_than_max_faces_those_with_the_highest_scores_are_kept(
    detector: FaceDetector,
) -> None:
    blurred, sharp = detector.detect(blurred_and_sharp())
    assert (blurred.detection_score or 0) < (sharp.detection_score or 0)
    only = FaceDetector(YUNET / "model.onnx", max_faces=1).detect(blurred_and_sharp())
    assert only == (sharp,)


def test_24_pixel_face_is_detected_in_a_12_megapixel_photograph(
    detector: FaceDetector, portrait: Picture
) -> None:
    canvas = np.full((3000, 4000, 3), 120, np.uint8)
    side = round(512 * 24 / 113)
    paste(canvas, portrait, side, 3100, 2000)
    (face,) = detector.detect(canvas)
    check_is_portrait_face(face, side, 3100, 2000)


@pytest.mark.parametrize("side", [64, 100, 200, 640, 1600, 3200, 5000])
def test_face_that_fills_the_image_is_detected_once(
    detector: FaceDetector, portrait: Picture, side: int
) -> None:
    close = Image.fromarray(portrait).crop((173, 58, 273, 178)).resize((side, side * 6 // 5))
    (face,) = detector.detect(np.asarray(close))
    x, y = centre(face)
    assert hypot(x - 0.5 * side, y - 0.62 * side) < 0.1 * side
    assert face.box.height == pytest.approx(1.13 * side, rel=0.15)


def test_bounding_box_of_a_face_at_the_edge_extends_beyond_the_image(
    detector: FaceDetector, portrait: Picture
) -> None:
    (face,) = detector.detect(np.ascontiguousarray(portrait[:, 200:]))
    assert face.box.x < -5
    assert centre(face)[0] == pytest.approx(23, abs=10)


@pytest.mark.parametrize(
    "picture",
    [
        np.full((480, 640, 3), 128, np.uint8),
        smooth(640, 480),
        noise(320, 240),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3, 40_000, 3), np.uint8),
        np.zeros((40_000, 3, 3), np.uint8),
    ],
    ids=["blank", "smooth", "noise", "a pixel", "a line", "a column"],
)
def test_image_without_a_face_gives_no_detections(detector: FaceDetector, picture: Picture) -> None:
    assert detector.detect(picture) == ()


def test_face_below_the_score_threshold_is_omitted(
    detector: FaceDetector, portrait: Picture
) -> None:
    score = detector.detect(portrait)[0].detection_score or 0
    for threshold, count in ((score, 1), (score + 0.01, 0)):
        strict = FaceDetector(YUNET / "model.onnx", threshold=threshold)
        assert len(strict.detect(portrait)) == count


def test_detector_can_be_shared_between_threads(detector: FaceDetector, portrait: Picture) -> None:
    pictures = [np.ascontiguousarray(portrait[i * 4 :, i * 3 :]) for i in range(8)] * 2
    alone = [detector.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(detector.detect, pictures)) == alone


def test_invalid_model_is_rejected() -> None:
    with pytest.raises(StoreError, match="face detector"):
        FaceDetector(b"no model")


def face_with_eyes(eyes: Sequence[tuple[float, float]], box: Box) -> Face:
    return Face(box, (*eyes, (0, 0), (0, 0), (0, 0)), 0.9)


def draw_spot(picture: Picture, x: float, y: float) -> None:
    """Draw a soft white spot with its centre of mass at (x, y)."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    light = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4**2))
    np.maximum(picture, light[:, :, np.newaxis].astype(np.uint8), out=picture)


def centre_of_mass(grey: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
    light = grey.astype(float)
    return (columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()


@pytest.mark.parametrize("angle", [0, 25, -70, 180])
def test_crop_is_levelled_and_positioned_by_the_framing(angle: float) -> None:
    turn = angle * pi / 180
    axis, down = np.array([cos(turn), sin(turn)]), np.array([-sin(turn), cos(turn)])
    middle, height = np.array([150.0, 140.0]), 100.0
    box = Box(middle[0] - 40, middle[1] - 50, 80, height)
    right, left = middle - 20 * axis - 15 * down, middle + 20 * axis - 15 * down
    points = [(x, y) for x, y in (right, left, middle, right + 35 * down, left + 35 * down)]
    face = Face(box, tuple(points), 0.9)
    side = FRAMING.side * height
    for eye, across in ((right, -20), (left, 20)):
        picture = np.zeros((300, 300, 3), np.uint8)
        draw_spot(picture, eye[0], eye[1])
        x, y = centre_of_mass(crop(picture, face))
        assert x == pytest.approx(32 + 64 * across / side, abs=0.3)
        assert y == pytest.approx(32 + 64 * (-15 / side - FRAMING.below), abs=0.3)


def test_face_without_landmarks_is_cropped_upright() -> None:
    frame = FRAMING.frame(Face(Box(100, 50, 80, 100)))
    assert frame.angle == 0
    assert (frame.x, frame.y) == (140, 100 + FRAMING.below * FRAMING.side * 100)


def test_framing_without_levelling_shifts_but_does_not_rotate_the_crop() -> None:
    face = face_with_eyes([(100, 100), (140, 130)], Box(80, 60, 80, 100))
    frame = Framing(0.9, 0.1, level=False).frame(face)
    assert frame.angle == 0
    assert (frame.x, frame.y, frame.side) == pytest.approx((120, 110 + 0.1 * 90, 90))


@pytest.mark.parametrize("frame", [CropFrame(80, 70, 90, 0.4), CropFrame(110.5, 60.25, 20, -1.0)])
def test_crop_matrix_maps_crop_pixels_to_image_pixels(frame: CropFrame) -> None:
    picture = np.zeros((150, 200, 3), np.uint8)
    draw_spot(picture, frame.x + 3, frame.y - 2)
    x, y = centre_of_mass(cut(picture, frame))
    back = frame.matrix() @ [x - 0.5, y - 0.5, 1]
    assert_allclose(back + 0.5, [frame.x + 3, frame.y - 2], atol=0.5)


def covered(low: float, side: float, pixels: int) -> NDArray[np.float64]:
    """The share ``[64, pixels]`` of each pixel in each of 64 parts of a stretch `side` long."""
    edges = (low + np.linspace(0, side, 65))[:, np.newaxis]
    pixel = np.arange(pixels)
    common = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    return common.clip(0) * 64 / side


@pytest.mark.parametrize("side", [130.0, 251.5, 480.0])
def test_pixel_of_a_crop_is_the_mean_of_the_area_it_covers(side: float) -> None:
    picture = noise(700, 600)
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    down, across = covered(290.5 - side / 2, side, 600), covered(300.25 - side / 2, side, 700)
    expected = down @ grey @ across.T
    difference = cut(picture, CropFrame(300.25, 290.5, side)) - expected
    assert np.sqrt((difference**2).mean()) < 3


def test_smooth_crop_matches_pil_within_one_level() -> None:
    picture = smooth(640, 480)
    expected = Image.fromarray(picture).crop((200, 100, 392, 292))
    expected = expected.resize((64, 64), Image.Resampling.BOX).convert("L")
    difference = cut(picture, CropFrame(296, 196, 192)) - np.asarray(expected, dtype=float)
    assert np.abs(difference).max() <= 1


def test_crop_beyond_the_edge_repeats_the_edge_pixels() -> None:
    picture = noise(100, 80)
    picture[:, :10] = (30, 30, 30)
    face = cut(picture, CropFrame(0, 40, 60))
    assert_array_equal(face[:, :32], np.full((64, 32), 30))


@pytest.mark.parametrize("x", [-500, 500])
@pytest.mark.parametrize("y", [-500, 500])
def test_crop_beyond_a_corner_repeats_the_corner_pixel(x: int, y: int) -> None:
    picture = noise(50, 50)
    corner = (
        Image.fromarray(picture).convert("L").getpixel((min(max(x, 0), 49), min(max(y, 0), 49)))
    )
    assert_array_equal(crop(picture, Face(Box(x, y, 40, 40))), np.full((64, 64), corner))


@pytest.mark.parametrize(("x", "column"), [(-500, 0), (500, 49)])
def test_crop_beside_the_image_repeats_the_edge_column(x: int, column: int) -> None:
    picture = noise(50, 50)
    stretched = np.repeat(picture[:, [column]], 50, axis=1)
    expected = crop(stretched, Face(Box(5, 5, 40, 40)))
    assert expected.std() > 10
    assert_array_equal(crop(picture, Face(Box(x, 5, 40, 40))), expected)


@pytest.mark.parametrize("side", [200, 330, 1000])
def test_crops_of_the_same_face_at_different_scales_are_similar(
    detector: FaceDetector, portrait: Picture, side: int
) -> None:
    canvas = np.full((1080, 1920, 3), 120, np.uint8)
    paste(canvas, portrait, side, 700, 40)
    there, here = (
        crop(canvas, detector.detect(canvas)[0]),
        crop(portrait, detector.detect(portrait)[0]),
    )
    assert np.corrcoef(there.ravel(), here.ravel())[0, 1] > 0.9
