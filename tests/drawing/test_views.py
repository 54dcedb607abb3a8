"""The views of one face, empty heat maps, texts and PNG files."""

from dataclasses import astuple, replace
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from service.drawing import (
    COLORMAPS,
    VIEWS,
    Style,
    Subject,
    draw,
    encode_png,
)
from service.drawing.brush import BOLD, MEDIUM, fill, text_width
from service.drawing.card import Card, Chip, claim, percent
from service.drawing.figure import GUTTER, MARGIN, SMALL_GUTTER, SMALL_TILE, TILE
from service.drawing.heat import palette
from service.drawing.palette import EMOTION_COLOURS, TRACK_COLOURS
from service.errors import BadParameter
from service.explanation import METHODS, Features
from service.records import EMOTIONS, Box, Face, Prediction
from tests.drawing.scenes import (
    HEAT,
    PLAIN,
    SCORES,
    bounding_box,
    crop_matrix,
    explanation,
    noise,
    subject,
)


@pytest.mark.parametrize("view", VIEWS)
def test_drawing_is_deterministic_and_leaves_the_input_unchanged(
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
    def test_face_view_is_an_alpha_blend_of_crop_and_heat_map(self, alpha: float) -> None:
        crop = draw("face", self.picture, self.face, PLAIN).astype(float)
        heat = draw("heatmap", self.picture, self.face, Style()).astype(float)
        mixture = draw("face", self.picture, self.face, Style(alpha))
        np.testing.assert_allclose(mixture, (1 - alpha) * crop + alpha * heat, atol=1)

    def test_map_view_is_the_heat_map_normalised_at_the_models_resolution(self) -> None:
        values = draw("map", self.picture, self.face, Style())
        assert values.shape == (64, 64)
        means = values.reshape(4, 16, 4, 16).mean(axis=(1, 3))
        assert np.corrcoef(means.ravel(), HEAT.ravel())[0, 1] > 0.95
        assert values.min() == 0
        assert values.max() == 255

    def test_heatmap_view_is_the_map_in_the_colours_of_the_colormap(self) -> None:
        values = draw("map", self.picture, self.face, Style())
        colours = draw("heatmap", self.picture, self.face, Style(colormap="gray"))
        small = cv2.resize(colours[..., 0], (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - values).max() <= 12
        for name in COLORMAPS:
            colours = draw("heatmap", self.picture, self.face, Style(colormap=name))
            used = np.unique(colours.reshape(-1, 3) @ [65536, 256, 1])
            assert np.isin(used, palette(name) @ [65536, 256, 1]).all()

    def test_panel_shows_face_heat_map_and_blend_side_by_side(self) -> None:
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

    def test_panel_prints_the_maximum_beside_the_strongest_colour(self) -> None:
        doubled = replace(self.face, explanation=explanation(2 * HEAT))
        one, other = (draw("panel", self.picture, face, Style()) for face in (self.face, doubled))
        rows = np.flatnonzero((one != other).any(axis=(1, 2)))
        assert len(rows)
        assert rows[-1] < MARGIN + 46 + 20

    def test_feature_maps_share_one_scale(self) -> None:
        maps = np.ones((2, 4, 4), np.float32) * np.array([1, 0.5], np.float32)[:, None, None]
        features = Features(maps, np.array([3, 7]), 1024)
        face = replace(self.face, explanation=replace(self.face.explanation, features=features))
        drawn = draw("grid", self.picture, face, Style(alpha=1, colormap="gray"))
        middle = [MARGIN + SMALL_TILE // 2 + tile * (SMALL_TILE + SMALL_GUTTER) for tile in (0, 1)]
        assert drawn[MARGIN + 42 + SMALL_TILE // 2, middle].tolist() == [[255] * 3, [128] * 3]

    def test_constant_heat_map_has_full_strength_everywhere(self) -> None:
        face = replace(self.face, explanation=explanation(np.full((4, 4), 3, np.float32)))
        assert (draw("map", self.picture, face, Style()) == 255).all()

    def test_enlarging_a_subject_scales_its_coordinates(self) -> None:
        face = replace(self.face, neighbours=(Box(10, 20, 30, 40),))
        assert astuple(face.zone) == pytest.approx((85, 60, 150, 150))
        larger = face.enlarged(3)
        assert astuple(larger.zone) == pytest.approx((255, 180, 450, 450))
        assert larger.prediction.face.box == Box(300, 180, 360, 450)
        assert larger.neighbours == (Box(30, 60, 90, 120),)

    def test_grid_view_requires_feature_maps(self) -> None:
        with pytest.raises(BadParameter, match="no feature maps"):
            draw("grid", self.picture, self.face, Style())

    def test_invalid_view_or_style_is_rejected_with_the_valid_values(self) -> None:
        with pytest.raises(BadParameter, match="view is one of overlay, face"):
            draw("photo", self.picture, self.face, Style())
        with pytest.raises(BadParameter, match="alpha is 0 to 1"):
            Style(alpha=1.1)
        with pytest.raises(BadParameter, match="colormap is one of jet"):
            Style(colormap="rainbow")


class TestEmptyMap:
    picture = noise(500, 400)
    face = subject(Box(60, 60, 150, 190), heat=np.zeros((4, 4), np.float32))

    def test_face_and_overlay_views_show_no_heat(self) -> None:
        assert (
            draw("face", self.picture, self.face, Style(alpha=1))
            == draw("face", self.picture, self.face, PLAIN)
        ).all()
        drawn = draw("overlay", self.picture, self.face, Style(alpha=1))
        assert (drawn == draw("overlay", self.picture, self.face, PLAIN)).all()

    def test_map_is_zero_and_heatmap_has_the_weakest_colour(self) -> None:
        assert not draw("map", self.picture, self.face, Style()).any()
        colours = draw("heatmap", self.picture, self.face, Style(colormap="viridis"))
        assert (colours == palette("viridis")[0]).all()

    def test_text_states_that_there_is_no_evidence_and_the_panel_has_no_scale(self) -> None:
        assert self.face.explanation is not None
        assert claim(self.face.explanation) == "no evidence for happiness"
        figure = draw("panel", self.picture, self.face, Style())
        assert (figure[MARGIN + 46 :, MARGIN + 3 * (TILE + GUTTER) :] == 255).all(), "no scale"


class TestText:
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
    def test_only_exact_scores_are_shown_as_0_or_100_percent(self, share: float, text: str) -> None:
        assert percent(share) == text

    def test_text_states_what_the_heat_map_means(self) -> None:
        assert claim(explanation(target=3)) == "evidence for anger"
        assert claim(explanation(method="activations")) == "where the network responds"

    def test_chip_shows_the_score_of_the_named_emotion(self) -> None:
        face = subject(Box(0, 0, 9, 9))
        assert Chip(face, 11).text == "happiness 62%"
        lagging = replace(face, label=1, track=2, doubtful=True)
        assert Chip(lagging, 11).text == "#2 surprise? 20%"

    def test_each_track_has_its_own_colour_until_they_repeat(self) -> None:
        face = subject(Box(0, 0, 9, 9))
        tones = [replace(face, track=number).tone for number in range(1, 10)]
        assert tones == [*TRACK_COLOURS, TRACK_COLOURS[0]]

    def test_bar_lengths_are_proportional_to_scores(self) -> None:
        card = Card(replace(subject(Box(0, 0, 9, 9)), track=1), "jet", 40.0)
        picture = np.zeros((card.size[1], card.size[0], 3), np.uint8)
        card.draw(picture, 0, 0)
        lengths = [
            bounding_box(np.abs(picture.astype(int) - colour).max(-1) < 4).width
            for colour in list(EMOTION_COLOURS.values())[:3]
        ]
        assert np.array(lengths) / lengths[0] == pytest.approx(SCORES[:3] / SCORES[0], abs=0.03)

    @pytest.mark.parametrize("emotion", range(6))
    def test_every_text_fits_on_the_card(self, emotion: int) -> None:
        scores = np.full(6, 0.001, np.float32)
        scores[emotion] = 0.996
        prediction = Prediction(Face(Box(0, 0, 9, 9)), scores)
        face = Subject(prediction, crop_matrix(Box(0, 0, 9, 9)), explanation(), track=88)
        for size in (11.0, 24.0, 80.0):
            card = Card(face, "jet", size)
            inner = card.size[0] - 2 * size
            heading = text_width(face.title, 1.3 * size, BOLD)
            assert 1.3 * size + heading + text_width(">99%", 1.3 * size, BOLD) < inner
            assert text_width(EMOTIONS[emotion], size, MEDIUM) < 5.7 * size
            for method in METHODS:
                for heat in (HEAT, 0 * HEAT):
                    words = claim(explanation(heat, method, emotion))
                    assert text_width(words, 0.88 * size, MEDIUM) < inner

    def test_bars_have_emotion_colours_with_and_without_tracking(self) -> None:
        prediction = Prediction(Face(Box(0, 0, 9, 9)), np.full(6, 1 / 6, np.float32))
        for track in (None, 3):
            face = Subject(prediction, crop_matrix(Box(0, 0, 9, 9)), explanation(), track)
            card = Card(face, "jet", 40.0)
            picture = np.zeros((card.size[1], card.size[0], 3), np.uint8)
            card.draw(picture, 0, 0)
            for colour in EMOTION_COLOURS.values():
                assert (np.abs(picture.astype(int) - colour).max(-1) < 4).sum() > 100


@pytest.mark.parametrize(("opacity", "grey"), [(1.0, 200), (0.5, 100)])
def test_fill_covers_exactly_the_box_with_partial_edge_pixels(opacity: float, grey: int) -> None:
    picture = np.zeros((6, 9, 3), np.uint8)
    fill(picture, Box(2, 1, 4.5, 3), (200, 200, 200), opacity)
    filled = [0, 0, grey, grey, grey, grey, grey // 2, 0, 0]
    assert picture[..., 0].tolist() == [[0] * 9, filled, filled, filled, [0] * 9, [0] * 9]


def test_png_preserves_the_pixels() -> None:
    for picture in (noise(37, 21), noise(37, 21)[..., 0]):
        decoded = np.asarray(Image.open(BytesIO(encode_png(picture))))
        assert (decoded == picture).all()
