"""Heat maps have the right colours and positions."""

import tracemalloc

import cv2
import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from service.drawing import (
    EMOTION_COLOURS,
    Affine,
    Subject,
    draw,
)
from service.drawing.card import OPACITY
from service.drawing.heat import lay_heat, palette, upsample
from service.drawing.palette import MIST, SLATE, TRACK_COLOURS, WHITE, Colour
from service.explanation import Question
from service.gradcam import explain
from service.records import Box
from tests.drawing.scenes import PLAIN, crop_matrix, explanation, noise, subject


class TestColours:
    @pytest.mark.parametrize("name", ["turbo", "viridis", "inferno", "gray"])
    def test_colormaps_match_matplotlib(self, name: str) -> None:
        theirs = mpl.colormaps[name](np.arange(256), bytes=True)[:, :3].astype(int)
        assert np.abs(palette(name).astype(int) - theirs).max() <= 1

    def test_jet_runs_from_dark_blue_through_green_to_dark_red(self) -> None:
        colours = palette("jet")
        assert colours[[0, 255]].tolist() == [[0, 0, 128], [128, 0, 0]]
        assert colours[:, 1].argmax() in range(96, 160)
        theirs = mpl.colormaps["jet"](np.arange(256), bytes=True)[:, :3].astype(int)
        assert np.abs(colours.astype(int) - theirs).mean() < 6

    @pytest.mark.parametrize("colour", [*EMOTION_COLOURS.values(), *TRACK_COLOURS])
    def test_each_colour_contrasts_with_white_slate_and_the_card(self, colour: Colour) -> None:
        card = blend(SLATE, WHITE, OPACITY)  # over a white photograph
        assert contrast(colour, WHITE) > 3
        assert contrast(colour, SLATE) > 3
        assert contrast(colour, card) > 3

    def test_card_text_is_readable_over_white_and_black(self) -> None:
        for behind in (WHITE, (0, 0, 0)):
            card = blend(SLATE, behind, OPACITY)
            assert contrast(WHITE, card) > 12
            assert contrast(MIST, card) > 6


def blend(over: Colour, under: Colour, opacity: float) -> Colour:
    red, green, blue = (
        round(opacity * a + (1 - opacity) * b) for a, b in zip(over, under, strict=True)
    )
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """The WCAG 2 contrast ratio."""

    def luminance(colour: Colour) -> float:
        parts = np.array(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def centroid(weights: NDArray[np.floating | np.unsignedinteger]) -> NDArray[np.float64]:
    """x and y of the centre of mass, where integers are pixel centres."""
    rows, columns = np.indices(weights.shape)
    total = weights.sum(dtype=np.float64)
    return np.array([(columns * weights).sum() / total, (rows * weights).sum() / total])


class TestPosition:
    @pytest.mark.parametrize("cell", [(1, 1), (1, 2), (2, 1), (2, 2)])
    def test_upsampled_cell_stays_centred_on_its_area(self, cell: tuple[int, int]) -> None:
        heat = np.zeros((4, 4), dtype=np.float32)
        heat[cell] = 7
        large = upsample(heat, 64)
        np.testing.assert_allclose(
            centroid(large), [16 * cell[1] + 7.5, 16 * cell[0] + 7.5], atol=0.05
        )
        assert large.max() == pytest.approx(7)
        assert large.min() >= 0

    @pytest.mark.parametrize(
        ("scale", "angle"), [(1.0, 0), (3.3, 0), (3.3, 20), (0.7, -35), (9, 8)]
    )
    @pytest.mark.parametrize("cell", [(1, 1), (2, 1), (1, 2)])
    def test_heat_is_centred_on_its_cell_under_scaling_and_rotation(
        self, scale: float, angle: float, cell: tuple[int, int]
    ) -> None:
        heat = np.zeros((4, 4), dtype=np.float32)
        heat[cell] = 1
        crop = crop_matrix(Box(30.3, 41.8, 64 * scale, 64 * scale), angle)
        picture = np.zeros((800, 800, 3), dtype=np.uint8)
        lay_heat(picture, heat, crop, alpha=1, colormap="gray")
        expected = crop @ [16 * cell[1] + 7.5, 16 * cell[0] + 7.5, 1]
        error = np.hypot(*(centroid(picture[..., 0]) - expected)) / scale
        assert error < 0.3, "in pixels of the 64x64 crop"

    def test_heat_on_a_large_face_is_smooth_and_takes_little_memory(self) -> None:
        heat = np.random.default_rng(5).random((4, 4), dtype=np.float32)
        crop = crop_matrix(Box(100, 100, 1800, 1800), angle=10)
        picture = np.zeros((2000, 2000, 3), dtype=np.uint8)
        tracemalloc.start()
        try:
            lay_heat(picture, heat, crop, alpha=1, colormap="gray")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < picture.nbytes / 2
        inside = picture[700:1300, 700:1300, 0].astype(int)
        assert max(abs(np.diff(inside, axis=axis)).max() for axis in (0, 1)) <= 2

    def test_heat_map_of_a_network_is_drawn_where_the_evidence_is(self) -> None:
        crop = crop_matrix(Box(150, 90, 260, 260), angle=25)
        target = crop @ [39.5, 23.5, 1]  # the centre of cell (1, 2) of conv5
        photograph = np.zeros((480, 640), dtype=np.uint8)
        photograph = cv2.circle(photograph, tuple(np.rint(target).astype(int)), 24, 255, -1)  # type: ignore[assignment]  # OpenCV's stubs know no dtypes
        face = cv2.warpAffine(photograph, crop, (64, 64), flags=cv2.WARP_INVERSE_MAP)
        (answer,) = explain(BrightnessNetwork(), torch.from_numpy(face)[None], [Question(target=0)])
        canvas = np.zeros((480, 640, 3), dtype=np.uint8)
        lay_heat(canvas, answer.heat, crop, alpha=1, colormap="gray")
        scale = 260 / 64
        assert np.hypot(*(centroid(canvas[..., 0]) - target)) / scale < 1

    def test_face_view_matches_the_crop_matrix(self) -> None:
        picture = cv2.GaussianBlur(noise(300, 260), (0, 0), 3)
        crop = crop_matrix(Box(60, 50, 128, 128), angle=-15)
        ours = draw("face", np.asarray(picture, np.uint8), subject_with_crop(crop), PLAIN)
        theirs = cv2.warpAffine(picture, crop, (64, 64), flags=cv2.WARP_INVERSE_MAP)
        small = cv2.resize(ours, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - theirs).mean() < 1.0

    def test_image_that_equals_the_crop_is_drawn_unchanged(self) -> None:
        picture = noise(512, 512)
        box = Box(0, 0, 512, 512)
        whole = Subject(subject(box).prediction, crop_matrix(box), explanation())
        assert (draw("face", picture, whole, PLAIN) == picture).all()


class BrightnessNetwork:
    """A network whose happiness score is the mean brightness."""

    def features(self, faces: Tensor, _layer: int, /) -> Tensor:
        return functional.avg_pool2d(faces.float()[:, None] / 255, 16)

    def head(self, maps: Tensor, _layer: int, /) -> Tensor:
        return maps.mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 0, 0, 0, 0, 0])


def subject_with_crop(crop: Affine) -> Subject:
    return Subject(subject(Box(0, 0, 9, 9)).prediction, crop, explanation())
