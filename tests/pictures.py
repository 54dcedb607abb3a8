"""Synthetic test images with known content."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from service.records import Picture

PORTRAIT = Path(__file__).parents[1] / "examples" / "eileen-collins.jpg"
"""512x512 with one face, about 90 pixels wide and 112 high, centred near (225, 120)."""

QUADRANT_COLOURS = np.array(
    [[[220, 30, 40], [20, 180, 60]], [[30, 50, 200], [150, 150, 150]]], np.uint8
)
"""Colours of `quadrants`: red and green above, blue and grey below."""


def quadrants(width: int = 48, height: int = 32) -> Picture:
    """An image with one colour per quadrant, which reveals any rotation or mirroring."""
    return QUADRANT_COLOURS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def quadrant_colours(picture: Picture) -> NDArray[np.float64]:
    """The mean colours ``[2, 2, 3]`` of the middle of each quadrant."""
    height, width = picture.shape[:2]
    rows = picture.reshape(2, height // 2, 2, width // 2, 3)
    inner = rows[:, height // 8 : -(height // 8), :, width // 8 : -(width // 8)]
    return np.asarray(inner.mean(axis=(1, 3)))


def blurred_and_sharp() -> Picture:
    """The portrait twice: large and blurred on the left, smaller and sharp on the right."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    canvas = Image.new("RGB", (820, 512))
    canvas.paste(portrait.filter(ImageFilter.GaussianBlur(8)), (0, 0))
    canvas.paste(portrait.resize((300, 300)), (515, 0))
    return np.asarray(canvas)


def large_and_small() -> Picture:
    """The portrait twice: large on the left, smaller and dark on the right."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    canvas = Image.new("RGB", (600, 512))
    canvas.paste(portrait, (0, 0))
    canvas.paste(portrait.resize((300, 300)).point(lambda value: value // 3), (300, 0))
    return np.asarray(canvas)


def noise(width: int, height: int, seed: int = 0) -> Picture:
    """An image of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(width: int, height: int) -> Picture:
    """An image of smooth waves in all channels, which survives JPEG."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17) + np.cos(y / 23), np.sin(y / 13 + 1), np.cos((x + y) / 29)]
    return np.stack([127 + 60 * wave for wave in waves], axis=2).astype(np.uint8)


def encode(picture: Image.Image | Picture, file_format: str, **options: object) -> bytes:
    """Encode an image; `options` are passed to PIL's ``save``."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with BytesIO() as file:
        image.save(file, file_format, **options)
        return file.getvalue()


def header_only_file(file_format: str, width: int, height: int) -> bytes:
    """A file whose header states an image size, without pixel data."""
    match file_format:
        case "PNG":
            body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
            idat = struct.pack(">I", 2) + b"IDAT" + b"xx" + struct.pack(">I", zlib.crc32(b"IDATxx"))
            crc = struct.pack(">I", zlib.crc32(body))
            return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + crc + idat
        case "JPEG":
            frame = struct.pack(">BHHB", 8, height, width, 3) + bytes.fromhex("011100021100031100")
            scan = bytes.fromhex("ffda000c03010002000300003f00")
            return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan
        case "GIF":
            image = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
            return (
                b"GIF89a"
                + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
                + bytes(6)
                + image
                + b"\2\0;"
            )
        case "BMP":
            info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
            return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info
        case "WebP":
            canvas = (
                bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            )
            chunk = b"VP8X" + struct.pack("<I", 10) + canvas
            return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
        case "TIFF":
            return tiff_header(
                {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 278: height}
            )
        case _:
            raise ValueError(file_format)


def tiff_header(tags: dict[int, int]) -> bytes:
    """A little-endian TIFF with only these tags."""
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    count = struct.pack("<H", len(entries))
    return b"II*\0" + struct.pack("<I", 8) + count + b"".join(entries) + bytes(4)


def run_length_encoded_bmp(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A one-colour BMP with one run per pixel, the longest run-length encoding there is."""
    palette = bytes([*colour[::-1], 0]) * 256
    runs = (b"\x01\x07" * width + b"\0\0") * height + b"\0\x01"
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    file = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    return file + info + palette + runs
