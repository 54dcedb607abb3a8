"""Decoding of upright pictures, with all limits checked before any pixel is decoded.

The header states the size of a picture. PIL reads the headers and most
formats. JPEG pixels come from OpenCV, which gives the same values to the last bit in half the time
for photographs and in a third for small faces.

Transparent pixels are blended with white, as on a web page. Colour profiles are not applied.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from math import prod

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import NotAnImage, TooLarge
from service.records import FACE_SIZE, FaceImage, Picture

_FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
_BROKEN = "the picture is broken or incomplete; send the whole file"
_UNREAD = "pixels of this kind are not read; save the picture with 8 or 16 bits a channel"
_HEIF = (b"heic", b"heix", b"mif1", b"msf1", b"avif")

# Called directly instead of through PIL's registry, so that no other format can be opened.
_READERS: tuple[tuple[tuple[bytes, ...], type[ImageFile]], ...] = (
    ((b"\xff\xd8\xff",), JpegImageFile),
    ((b"\x89PNG\r\n\x1a\n",), PngImageFile),
    ((b"RIFF",), WebPImageFile),
    ((b"BM",), BmpImageFile),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
    ((b"GIF87a", b"GIF89a"), GifImageFile),
)

_MOST_SCANS = 100  # Of a JPEG; encoders write about ten, and libtiff has the same limit.
_SEGMENT = re.compile(rb"\xff[^\0\x01\xd0-\xd8\xff]")  # What begins a segment of a JPEG.
_SCAN, _END = b"\xff\xda", b"\xff\xd9"

_BAND = 2**20  # Pixels that are converted at a time.

_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[Picture], MatLike]] = {
    2: lambda picture: cv2.flip(picture, 1),
    3: lambda picture: cv2.rotate(picture, cv2.ROTATE_180),
    4: lambda picture: cv2.flip(picture, 0),
    5: cv2.transpose,
    6: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE),
    7: lambda picture: cv2.rotate(cv2.transpose(picture), cv2.ROTATE_180),
    8: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a picture and rotate it upright according to its EXIF data.

    Args:
        data: a JPEG, PNG, WebP, BMP, TIFF or GIF file; only the first frame is used.
        max_pixels: limit on the number of pixels.

    Returns:
        uint8 ``[height, width, 3]``, RGB.

    Raises:
        NotAnImage: not a file of these formats, broken, or truncated.
        TooLarge: the header states more than `max_pixels`, or a JPEG has too many scans.
    """
    try:
        image = _open(data)
        _check_size(image, max_pixels)
        if isinstance(image, JpegImageFile):
            _check_scans(data)
        picture = _pixels(image, data)
    except (NotAnImage, TooLarge, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge("the picture has too many pixels; send it scaled down") from error
    except Exception as error:  # PIL's errors on malicious input have no common base class
        told = _UNREAD if "unknown pixel mode" in str(error) else _BROKEN
        raise NotAnImage(told) from error
    turn = _UPRIGHT.get(_orientation(image))
    return picture if turn is None else np.asarray(turn(picture), dtype=np.uint8)


def grey_face(picture: Picture) -> FaceImage:
    """The whole picture, preprocessed as in the paper: bilinear to 64x64, then grey, by PIL."""
    image = Image.fromarray(picture)
    fitted = image.resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(fitted.convert("L"))


def _open(data: bytes) -> ImageFile:
    """Read the header without decoding pixels."""
    if not data:
        raise NotAnImage(f"there are no bytes; send a {_FORMATS} file")
    for signatures, reader in _READERS:
        if data.startswith(signatures):
            return reader(BytesIO(data))
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        raise NotAnImage(f"HEIC and AVIF are not read; save the picture as a {_FORMATS} file")
    raise NotAnImage(f"this is no picture in a known format; send a {_FORMATS} file")


def _check_size(image: ImageFile, max_pixels: int) -> None:
    width, height = image.size
    pixels = width * height
    if isinstance(image, TiffImageFile):  # even a small picture may have tiles of any size
        tile = (int(image.tag_v2.get(tag, 0)) for tag in (TILEWIDTH, TILELENGTH))  # may be text
        pixels = max(pixels, prod(tile))
    if pixels > max_pixels:
        raise TooLarge(
            f"a picture of {width} x {height} needs {pixels:,} pixels, of which {max_pixels:,} "
            "are allowed; send it scaled down"
        )


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG with many scans: each is a pass over all pixels, however few bytes it has."""
    place = scans = 0
    while (segment := _SEGMENT.search(data, place)) and segment[0] != _END:
        scans += segment[0] == _SCAN
        if scans > _MOST_SCANS:
            raise TooLarge(f"the picture has over {_MOST_SCANS} scans; save it again")
        place = segment.end() + int.from_bytes(data[segment.end() : segment.end() + 2])


def _pixels(image: ImageFile, data: bytes) -> Picture:
    """Decode to RGB from any colour mode."""
    if _is_for_opencv(image):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if decoded is None:
            raise NotAnImage(_BROKEN)
        return np.asarray(decoded, dtype=np.uint8).reshape(image.height, image.width, 3)
    image.load()
    to_rgb = _grey_to_rgb(image) if image.mode.startswith(("I", "F")) else _to_rgb
    picture = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for rows, band in _bands(image):
        picture[rows] = to_rgb(band)
    return picture


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The picture in bands: conversions make several copies, which must not be of all of it."""
    height = max(1, _BAND // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _to_rgb(band: Image.Image) -> Picture:
    if band.has_transparency_data:
        white = Image.new("RGBA", band.size, "white")
        band = Image.alpha_composite(white, band.convert("RGBA"))
    return np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _is_for_opencv(image: ImageFile) -> bool:
    """Whether PIL is far slower: JPEG, and run-length encoded BMP, which it decodes in Python."""
    if isinstance(image, JpegImageFile):
        return image.mode in ("L", "RGB")
    return isinstance(image, BmpImageFile) and image.tile[0].codec_name == "bmp_rle"


def _grey_to_rgb(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """How bands with grey values of a wider type become RGB: its full range becomes 0 to 255.

    16-bit values use the range of their type. That of 32-bit integers and floats is unknown: it is
    assumed to be the smallest of 8, 16 and 32 bits, for floats also 0 to 1, that contains them.
    """
    ranges = [2.0**8 - 1, 2.0**16 - 1, 2.0**32 - 1]
    if image.mode.startswith("I;16"):
        ranges = ranges[1:2]
    elif image.mode == "F":
        ranges = [1.0, *ranges]
    overshoot = 1.5  # resampling may push some values beyond the range
    highest = max(_grey(band).max() for _, band in _bands(image))
    full = next((r for r in ranges if highest <= overshoot * r), ranges[-1])

    def to_rgb(band: Image.Image) -> NDArray[np.uint8]:
        grey = np.rint(_grey(band).clip(0, full) * (255 / full)).astype(np.uint8)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)

    return to_rgb


def _grey(band: Image.Image) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(band).astype(np.float32), posinf=0)


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation, 1 (upright) to 8."""
    with suppress(Exception):  # broken EXIF data do not invalidate a picture
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1
