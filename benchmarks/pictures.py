"""What is sent: made from NASA's portrait in examples/, which is in the public domain."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PORTRAIT = ROOT / "examples" / "eileen-collins.jpg"
FACE = (176, 70, 276, 170)
"""Where the face is in it: left, top, right, bottom."""


def crop() -> bytes:
    """The face as data sets hold faces: 64x64, JPEG, 2 KB."""
    with Image.open(PORTRAIT) as portrait:
        return _jpeg(portrait.crop(FACE).resize((64, 64)))


def photograph(width: int, height: int) -> bytes:
    """The portrait, as high as the picture, in the middle of it: a JPEG of a camera's size."""
    with Image.open(PORTRAIT) as portrait:
        picture = Image.new("RGB", (width, height), "grey")
        picture.paste(portrait.resize((height, height)), ((width - height) // 2, 0))
        return _jpeg(picture)


def wandering(count: int, size: tuple[int, int], side: int) -> Iterator[Image.Image]:
    """So many pictures in which the portrait goes from left to right over a grey wall."""
    width, height = size
    with Image.open(PORTRAIT) as portrait:
        fitted = portrait.convert("RGB").resize((side, side))
    for index in range(count):
        picture = Image.new("RGB", size, (110, 110, 110))
        picture.paste(fitted, (round((width - side) * index / (count - 1)), (height - side) // 2))
        yield picture


def _jpeg(picture: Image.Image) -> bytes:
    with BytesIO() as file:
        picture.save(file, "JPEG", quality=90)
        return file.getvalue()
