"""One palette for pictures, video tracks and the page, legible on light and on dark."""

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

WHITE: Colour = (255, 255, 255)
SLATE: Colour = (20, 22, 27)
MIST: Colour = (181, 187, 198)
STONE: Colour = (96, 103, 115)
