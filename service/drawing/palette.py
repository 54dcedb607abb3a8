"""The palette of pictures, video tracks and the web page, legible on light and dark."""

from service.records import EMOTIONS

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

EMOTION_COLOURS: dict[str, Colour] = dict(
    zip(
        EMOTIONS,
        (
            (197, 131, 0),  # amber
            (0, 159, 172),  # teal
            (55, 126, 227),  # blue
            (236, 57, 54),  # red
            (60, 161, 70),  # green
            (157, 87, 222),  # violet
        ),
        strict=True,
    )
)
"""Each at least 3:1 against white, against `SLATE`, and against a `SLATE` card on white."""

TRACK_COLOURS: tuple[Colour, ...] = (
    (12, 140, 226),  # sky
    (212, 108, 17),  # orange
    (13, 156, 60),  # green
    (240, 66, 153),  # pink
    (169, 104, 243),  # violet
    (12, 151, 142),  # teal
    (240, 78, 66),  # red
    (137, 142, 11),  # olive
)
"""For people in videos, in order of appearance; with the same contrast as emotions."""

WHITE: Colour = (255, 255, 255)
SLATE: Colour = (20, 22, 27)
MIST: Colour = (181, 187, 198)
STONE: Colour = (96, 103, 115)
