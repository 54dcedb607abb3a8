"""Images to send, made from NASA's portrait in examples/, which is in the public domain."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PORTRAIT = ROOT / "examples" / "eileen-collins.jpg"
FACE = (176, 70, 276, 170)
"""The face in the portrait: left, top, right, bottom."""


def crop() -> bytes:
    """The face as in the data sets: 64x64, JPEG, 2 KB."""
    with Image.open(PORTRAIT) as portrait:
        return _jpeg(portrait.crop(FACE).resize((64, 64)))


def photograph(width: int, height: int) -> bytes:
    """A JPEG of the given size, with the portrait at full height in the middle."""
    with Image.open(PORTRAIT) as portrait:
        picture = Image.new("RGB", (width, height), "grey")
        picture.paste(portrait.resize((height, height)), ((width - height) // 2, 0))
        return _jpeg(picture)


def wandering(count: int, size: tuple[int, int], side: int) -> Iterator[Image.Image]:
    """`count` images in which the portrait moves from left to right over a grey background."""
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
