"""The pictures: what they show lies where it should, and nothing else is touched."""

from io import BytesIO

import cv2
import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from service.drawing import (
    COLORMAPS,
    EMOTION_COLOURS,
    VIEWS,
    Affine,
    Style,
    Subject,
    annotate,
    draw,
    encode_png,
)
from service.drawing.brush import BOLD, MEDIUM, text_width
from service.drawing.card import OPACITY, Card, claim, percent, title
from service.drawing.figure import GUTTER, MARGIN, TILE
from service.drawing.heat import lay_heat, palette, upsample
from service.drawing.layout import overlap, place
from service.drawing.palette import MIST, SLATE, WHITE, Colour
from service.errors import BadParameter
from service.explain import explain
from service.explanation import METHODS, Explanation, Features, HeatMap, Question
from service.records import EMOTIONS, Box, Face, Picture, Prediction

HEAT = np.array([[0, 1, 0, 0], [2, 9, 8, 1], [1, 5, 3, 0], [0, 6, 0, 0]], dtype=np.float32)
SCORES = np.array([0.62, 0.2, 0.1, 0.05, 0.02, 0.01], dtype=np.float32)


def noise(width: int, height: int) -> Picture:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def crop_of(box: Box, angle: float = 0.0) -> Affine:
    """The matrix of a square crop as high as the box and centred on it, turned by some degrees."""
    scale = box.height / 64
    turn = scale * np.array(
        [
            [np.cos(np.radians(angle)), -np.sin(np.radians(angle))],
            [np.sin(np.radians(angle)), np.cos(np.radians(angle))],
        ]
    )
    centre = np.array([box.x + box.width / 2, box.y + box.height / 2]) - 0.5
    return np.column_stack([turn, centre - turn @ np.array([31.5, 31.5])])


def explanation(heat: HeatMap = HEAT, method: str = "gradcam", target: int = 0) -> Explanation:
    features = None
    if method == "activations":
        maps = np.random.default_rng(6).random((16, 4, 4), dtype=np.float32)
        features = Features(maps, np.arange(16), 1024)
    question = Question(method, "conv5", target)
    return Explanation(question, target, np.zeros(6, np.float32), heat, features)


def subject(box: Box, angle: float = 0.0, heat: HeatMap = HEAT) -> Subject:
    points = tuple((box.x + a * box.width, box.y + b * box.height) for a, b in POINTS)
    prediction = Prediction(Face(box, points, 0.9), SCORES)
    return Subject(prediction, crop_of(box, angle), explanation(heat))


POINTS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))
PLAIN = Style(alpha=0)


class TestColours:
    @pytest.mark.parametrize("name", ["turbo", "viridis", "inferno", "gray"])
    def test_the_scales_are_matplotlibs(self, name: str) -> None:
        theirs = mpl.colormaps[name](np.arange(256), bytes=True)[:, :3].astype(int)
        assert np.abs(palette(name).astype(int) - theirs).max() <= 1

    def test_jet_runs_from_dark_blue_through_green_to_dark_red(self) -> None:
        colours = palette("jet")
        assert colours[[0, 255]].tolist() == [[0, 0, 128], [128, 0, 0]]
        assert colours[:, 1].argmax() in range(96, 160)
        theirs = mpl.colormaps["jet"](np.arange(256), bytes=True)[:, :3].astype(int)
        assert np.abs(colours.astype(int) - theirs).mean() < 6

    @pytest.mark.parametrize("emotion", EMOTIONS)
    def test_each_emotions_colour_stands_out_on_light_dark_and_on_the_card(
        self, emotion: str
    ) -> None:
        colour = EMOTION_COLOURS[emotion]
        card = mix(SLATE, WHITE, OPACITY)  # over a white photograph
        assert contrast(colour, WHITE) > 3
        assert contrast(colour, SLATE) > 3
        assert contrast(colour, card) > 3

    def test_type_on_the_card_can_be_read_whatever_is_behind(self) -> None:
        for behind in (WHITE, (0, 0, 0)):
            card = mix(SLATE, behind, OPACITY)
            assert contrast(WHITE, card) > 12
            assert contrast(MIST, card) > 6


def mix(over: Colour, under: Colour, opacity: float) -> Colour:
    red, green, blue = (
        round(opacity * a + (1 - opacity) * b) for a, b in zip(over, under, strict=True)
    )
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: Colour) -> float:
        parts = np.array(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def centroid(weights: NDArray[np.floating | np.unsignedinteger]) -> NDArray[np.float64]:
    """x and y of the centre of mass, in pixel centres."""
    rows, columns = np.indices(weights.shape)
    total = weights.sum(dtype=np.float64)
    return np.array([(columns * weights).sum() / total, (rows * weights).sum() / total])


class TestPlace:
    @pytest.mark.parametrize("cell", [(1, 1), (1, 2), (2, 1), (2, 2)])
    def test_an_enlarged_cell_stays_centred_on_what_it_covers(self, cell: tuple[int, int]) -> None:
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
    def test_heat_lies_on_its_cell_through_scale_and_rotation(
        self, scale: float, angle: float, cell: tuple[int, int]
    ) -> None:
        heat = np.zeros((4, 4), dtype=np.float32)
        heat[cell] = 1
        crop = crop_of(Box(30.3, 41.8, 64 * scale, 64 * scale), angle)
        picture = np.zeros((800, 800, 3), dtype=np.uint8)
        lay_heat(picture, heat, crop, alpha=1, colormap="gray")
        expected = crop @ [16 * cell[1] + 7.5, 16 * cell[0] + 7.5, 1]
        error = np.hypot(*(centroid(picture[..., 0]) - expected)) / scale
        assert error < 0.3, "in pixels of the 64x64 crop"

    def test_the_evidence_of_a_network_is_drawn_where_it_is_in_the_photograph(self) -> None:
        crop = crop_of(Box(150, 90, 260, 260), angle=25)
        target = crop @ [39.5, 23.5, 1]  # the centre of cell (1, 2) of conv5
        photograph = np.zeros((480, 640), dtype=np.uint8)
        photograph = cv2.circle(photograph, tuple(np.rint(target).astype(int)), 24, 255, -1)  # type: ignore[assignment]  # OpenCV's stubs know no dtypes
        face = cv2.warpAffine(photograph, crop, (64, 64), flags=cv2.WARP_INVERSE_MAP)
        (answer,) = explain(Bright(), torch.from_numpy(face)[None], [Question(target=0)])
        canvas = np.zeros((480, 640, 3), dtype=np.uint8)
        lay_heat(canvas, answer.heat, crop, alpha=1, colormap="gray")
        scale = 260 / 64
        assert np.hypot(*(centroid(canvas[..., 0]) - target)) / scale < 1

    def test_the_face_is_cut_where_the_matrix_says(self) -> None:
        picture = cv2.GaussianBlur(noise(300, 260), (0, 0), 3)
        crop = crop_of(Box(60, 50, 128, 128), angle=-15)
        ours = draw("face", np.asarray(picture, np.uint8), turned(crop), PLAIN)
        theirs = cv2.warpAffine(picture, crop, (64, 64), flags=cv2.WARP_INVERSE_MAP)
        small = cv2.resize(ours, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - theirs).mean() < 1.0

    def test_a_picture_that_is_the_crop_is_shown_pixel_for_pixel(self) -> None:
        picture = noise(512, 512)
        whole = Subject(subject(Box(0, 0, 512, 512)).prediction, crop_of(Box(0, 0, 512, 512)))
        whole = Subject(whole.prediction, whole.crop, explanation())
        assert (draw("face", picture, whole, PLAIN) == picture).all()


class Bright:
    """A network for which happiness is brightness."""

    def features(self, faces: Tensor, _layer: int, /) -> Tensor:
        return functional.avg_pool2d(faces.float()[:, None] / 255, 16)

    def head(self, maps: Tensor, _layer: int, /) -> Tensor:
        return maps.mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 0, 0, 0, 0, 0])


def turned(crop: Affine) -> Subject:
    return Subject(subject(Box(0, 0, 9, 9)).prediction, crop, explanation())


SCENES = [
    (64, 64, Box(0, 0, 64, 64)),
    (64, 64, Box(20, 12, 24, 32)),
    (200, 150, Box(60, 30, 66, 88)),
    (512, 512, Box(183, 59, 88, 114)),
    (512, 512, Box(0, 0, 512, 512)),
    (300, 900, Box(40, 100, 200, 260)),
    (1200, 260, Box(500, 10, 180, 240)),
    (1920, 1080, Box(-30, 200, 300, 400)),
    (4000, 3000, Box(1400, 700, 1300, 1700)),
]


Mask = NDArray[np.bool_]


def within(box: Box, shape: tuple[int, ...]) -> Mask:
    """The pixels of a picture that a box touches."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    rows = (y + 1 > box.y) & (y < box.y + box.height)
    mask: Mask = rows & (x + 1 > box.x) & (x < box.x + box.width)
    return mask


def near_edge(box: Box, shape: tuple[int, ...]) -> Mask:
    """The pixels that a box's line and its rounded corners may use, inside the picture."""
    left, top = max(box.x, 0), max(box.y, 0)
    right, bottom = min(box.x + box.width, shape[1]), min(box.y + box.height, shape[0])
    box, reach = Box(left, top, right - left, bottom - top), 5 + 0.03 * box.height
    outer = Box(box.x - reach, box.y - reach, box.width + 2 * reach, box.height + 2 * reach)
    inner = Box(box.x + reach, box.y + reach, box.width - 2 * reach, box.height - 2 * reach)
    return within(outer, shape) & ~within(inner, shape)


def extent(mask: Mask) -> Box:
    """The smallest box around what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def seen(picture: Picture) -> tuple[int, Picture]:
    """The picture as overlay shows it: tiny ones enlarged to 240 pixels or more."""
    height, width = picture.shape[:2]
    factor = -(-240 // min(height, width))
    if factor == 1:
        return 1, picture
    size = (width * factor, height * factor)
    return factor, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize(("width", "height", "box"), SCENES)
def test_beside_the_face_stands_a_card_and_nothing_else_changes(
    width: int, height: int, box: Box
) -> None:
    picture = noise(width, height)
    factor, shown = seen(picture)
    face = subject(box).enlarged(factor)
    drawn = draw("overlay", picture, subject(box), PLAIN)
    photograph = drawn[: shown.shape[0], : shown.shape[1]]
    changed = (photograph != shown).any(axis=2)
    changed &= ~near_edge(face.prediction.face.box, shown.shape)
    if drawn.shape == shown.shape:
        card = extent(changed)
        assert not overlap(card, face.zone)
        assert changed.sum() > 0.98 * card.width * card.height, "one box, corners rounded"
        assert card.x > 0
        assert card.y > 0
        assert card.x + card.width < shown.shape[1]
        assert card.y + card.height < shown.shape[0]
    else:
        assert not changed.any()
        margin = drawn[:, shown.shape[1] :]
        card = extent((margin != SLATE).any(axis=2))
        assert card.x + card.width < margin.shape[1]
    assert card.width >= 180, "type of 11 pixels or more"
    assert card.width < max(0.6 * min(shown.shape[:2]), 190)


@pytest.mark.parametrize(("width", "height", "box"), SCENES[:-1])
def test_heat_changes_the_face_alone(width: int, height: int, box: Box) -> None:
    picture = noise(width, height)
    drawn = draw("overlay", picture, subject(box, angle=10), Style())
    plain = draw("overlay", picture, subject(box, angle=10), PLAIN)
    changed = (drawn != plain).any(axis=2)
    zone = subject(box, angle=10).enlarged(seen(picture)[0]).zone
    assert changed.any()
    assert not (changed & ~within(zone, changed.shape)).any()


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_question_gives_the_same_picture_and_leaves_the_photograph_alone(
    view: str,
) -> None:
    picture = noise(320, 300)
    before = picture.copy()
    face = subject(Box(40, 50, 90, 120))
    face = Subject(face.prediction, face.crop, explanation(method="activations"))
    first, second = (draw(view, picture, face, Style()) for _ in range(2))
    assert (first == second).all()
    assert (picture == before).all()
    assert first.dtype == np.uint8


class TestViews:
    face = subject(Box(100, 60, 120, 150))
    picture = noise(400, 300)

    @pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
    def test_the_face_under_heat_is_the_papers_mixture(self, alpha: float) -> None:
        crop = draw("face", self.picture, self.face, PLAIN).astype(float)
        heat = draw("heatmap", self.picture, self.face, Style()).astype(float)
        mixture = draw("face", self.picture, self.face, Style(alpha))
        np.testing.assert_allclose(mixture, (1 - alpha) * crop + alpha * heat, atol=1)

    def test_the_map_is_the_papers_stretch_of_the_cells_at_the_models_resolution(self) -> None:
        values = draw("map", self.picture, self.face, Style())
        assert values.shape == (64, 64)
        means = values.reshape(4, 16, 4, 16).mean(axis=(1, 3))
        assert np.corrcoef(means.ravel(), HEAT.ravel())[0, 1] > 0.95
        assert values.min() == 0
        assert values.max() == 255

    def test_the_colours_are_the_map_through_the_scale(self) -> None:
        values = draw("map", self.picture, self.face, Style())
        colours = draw("heatmap", self.picture, self.face, Style(colormap="gray"))
        small = cv2.resize(colours[..., 0], (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - values).max() <= 12
        for name in COLORMAPS:
            colours = draw("heatmap", self.picture, self.face, Style(colormap=name))
            used = np.unique(colours.reshape(-1, 3) @ [65536, 256, 1])
            assert np.isin(used, palette(name) @ [65536, 256, 1]).all()

    def test_the_panel_shows_face_heat_and_both_side_by_side(self) -> None:
        figure = draw("panel", self.picture, self.face, Style())
        top = MARGIN + 46
        tiles = [
            figure[top : top + TILE, left : left + TILE].astype(float)
            for left in (MARGIN + column * (TILE + GUTTER) for column in range(3))
        ]
        crop = draw("face", self.picture, self.face, PLAIN)
        small = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA)
        assert np.abs(tiles[0] - small).mean() < 12
        np.testing.assert_allclose(tiles[2], 0.6 * tiles[0] + 0.4 * tiles[1], atol=1)
        scale = figure[top : top + TILE, MARGIN + 3 * (TILE + GUTTER) + 10].tolist()
        assert scale[0] == palette("jet")[255].tolist()
        assert scale[-1] == palette("jet")[0].tolist()

    def test_the_grid_needs_feature_maps(self) -> None:
        with pytest.raises(BadParameter, match="method=activations"):
            draw("grid", self.picture, self.face, Style())

    def test_an_unknown_view_or_style_is_refused_with_what_is_possible(self) -> None:
        with pytest.raises(BadParameter, match="view is one of overlay, face"):
            draw("photo", self.picture, self.face, Style())
        with pytest.raises(BadParameter, match="alpha is 0 to 1"):
            Style(alpha=1.1)
        with pytest.raises(BadParameter, match="colormap is one of jet"):
            Style(colormap="rainbow")


class TestEmptyMap:
    picture = noise(500, 400)
    face = subject(Box(60, 60, 150, 190), heat=np.zeros((4, 4), np.float32))

    def test_the_face_is_shown_without_any_heat(self) -> None:
        assert (
            draw("face", self.picture, self.face, Style(alpha=1))
            == draw("face", self.picture, self.face, PLAIN)
        ).all()
        drawn = draw("overlay", self.picture, self.face, Style(alpha=1))
        assert (drawn == draw("overlay", self.picture, self.face, PLAIN)).all()

    def test_the_map_is_zero_and_its_colour_the_weakest(self) -> None:
        assert not draw("map", self.picture, self.face, Style()).any()
        colours = draw("heatmap", self.picture, self.face, Style(colormap="viridis"))
        assert (colours == palette("viridis")[0]).all()

    def test_the_words_say_so(self) -> None:
        assert self.face.explanation is not None
        assert claim(self.face.explanation) == "nothing speaks for happiness"
        assert draw("panel", self.picture, self.face, Style()).shape[2] == 3


class TestAnnotate:
    boxes = (Box(60, 80, 140, 180), Box(420, 60, 160, 210), Box(700, 150, 60, 80))

    def test_a_frame_keeps_its_size_and_no_label_covers_a_face(self) -> None:
        frame = noise(854, 480)
        faces = [subject(box) for box in self.boxes]
        drawn = annotate(frame, faces, PLAIN)
        assert drawn.shape == frame.shape
        changed = (drawn != frame).any(axis=2)
        for box in self.boxes:
            changed &= ~near_edge(box, frame.shape)
        assert changed.any()
        for face in faces:
            assert not (changed & within(face.zone, frame.shape)).any()

    def test_where_there_is_no_room_a_chip_stands_in_the_corner_of_the_face(self) -> None:
        frame = noise(300, 240)
        drawn = annotate(frame, [subject(Box(0, 0, 300, 240))], PLAIN)
        changed = (drawn != frame).any(axis=2) & ~near_edge(Box(0, 0, 300, 240), frame.shape)
        assert drawn.shape == frame.shape
        assert extent(changed).height < 30
        assert extent(changed).y < 30

    def test_landmarks_are_marked_only_if_asked_for(self) -> None:
        frame = np.full((480, 854, 3), 128, dtype=np.uint8)
        face = subject(self.boxes[1])
        without = annotate(frame, [face], PLAIN)
        marked = annotate(frame, [face], Style(alpha=0, landmarks=True))
        for x, y in face.prediction.face.landmarks or ():
            assert marked[int(y), int(x)].tolist() == list(WHITE)
            assert without[int(y), int(x)].tolist() == [128, 128, 128]

    def test_a_frame_without_faces_is_left_as_it_is(self) -> None:
        frame = noise(64, 48)
        assert (annotate(frame, [], Style()) == frame).all()


sizes = st.integers(1, 500)


@given(
    size=st.tuples(sizes, sizes),
    face=st.builds(Box, x=sizes, y=sizes, width=sizes, height=sizes),
    room=st.tuples(sizes, sizes),
    others=st.lists(st.builds(Box, x=sizes, y=sizes, width=sizes, height=sizes), max_size=4),
)
def test_a_place_that_is_found_lies_in_the_picture_and_covers_nothing(
    size: tuple[int, int], face: Box, room: tuple[int, int], others: list[Box]
) -> None:
    spot = place(size, face, room, [face, *others], gap=7)
    if spot is not None:
        assert (spot.width, spot.height) == size
        assert spot.x >= 6.5
        assert spot.y >= 6.5
        assert spot.x + spot.width <= room[0] - 6.5
        assert spot.y + spot.height <= room[1] - 6.5
        assert not any(overlap(spot, other) for other in (face, *others))


class TestWords:
    @pytest.mark.parametrize(
        ("share", "text"),
        [
            (0.0, "0%"),
            (0.004, "<1%"),
            (0.006, "1%"),
            (0.974, "97%"),
            (0.996, ">99%"),
            (1.0, "100%"),
        ],
    )
    def test_only_what_is_certain_says_0_or_100(self, share: float, text: str) -> None:
        assert percent(share) == text

    @pytest.mark.parametrize("emotion", range(6))
    def test_every_text_fits_into_the_card(self, emotion: int) -> None:
        scores = np.full(6, 0.001, np.float32)
        scores[emotion] = 0.996
        prediction = Prediction(Face(Box(0, 0, 9, 9)), scores)
        for size in (11.0, 24.0, 80.0):
            card = Card(prediction, explanation(), 88, "jet", size)
            inner = card.size[0] - 2 * size
            heading = text_width(title(prediction, 88), 1.3 * size, BOLD)
            assert 1.3 * size + heading + text_width(">99%", 1.3 * size, BOLD) < inner
            assert text_width(EMOTIONS[emotion], size, MEDIUM) < 5.7 * size
            for method in METHODS:
                for heat in (HEAT, 0 * HEAT):
                    words = claim(explanation(heat, method, emotion))
                    assert text_width(words, 0.88 * size, MEDIUM) < inner


def test_png_holds_the_pixels_as_they_are() -> None:
    for picture in (noise(37, 21), noise(37, 21)[..., 0]):
        decoded = np.asarray(Image.open(BytesIO(encode_png(picture))))
        assert (decoded == picture).all()
