"""Decoding images: formats, colour modes, orientation, limits, corrupt files."""

import struct
import subprocess
import sys
import tracemalloc
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from service.errors import BadInput, NotAnImage, TooLarge
from service.imaging import decode, grey_face
from service.records import Picture
from tests.pictures import (
    QUADRANT_COLOURS,
    encode,
    header_only_file,
    noise,
    quadrant_colours,
    quadrants,
    run_length_encoded_bmp,
    smooth,
    tiff_header,
)

LIMIT = 1_000_000
FORMATS = ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]


def exif_with_orientation(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("file_format", FORMATS)
def test_each_format_is_decoded_with_its_colours(file_format: str) -> None:
    picture = decode(encode(quadrants(), file_format), LIMIT)
    assert picture.shape == (32, 48, 3)
    assert picture.dtype == np.uint8
    assert_allclose(quadrant_colours(picture), QUADRANT_COLOURS, atol=6)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WebP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_are_decoded_exactly(file_format: str, options: dict[str, object]) -> None:
    picture = noise(37, 23)
    assert_array_equal(decode(encode(picture, file_format, **options), LIMIT), picture)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 30, "subsampling": 2},
        {"quality": 75, "subsampling": 1},
        {"quality": 95, "subsampling": 0, "progressive": True},
        {"quality": 80, "optimize": True, "restart_marker_blocks": 3},
        {"quality": 90, "keep_rgb": True},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_pixels_match_pil(mode: str, options: dict[str, object]) -> None:
    image = Image.fromarray(smooth(131, 77)).convert(mode)
    data = encode(image, "JPEG", **options)
    with Image.open(BytesIO(data)) as file:
        expected = np.asarray(file.convert("RGB"))
    assert_array_equal(decode(data, LIMIT), expected)


def test_first_frame_of_an_animation_is_decoded() -> None:
    first, second = Image.fromarray(quadrants()), Image.new("RGB", (48, 32), "white")
    for file_format in ("GIF", "WebP", "TIFF"):
        data = encode(first, file_format, save_all=True, append_images=[second])
        assert_allclose(quadrant_colours(decode(data, LIMIT)), QUADRANT_COLOURS, atol=6)


def test_greyscale_image_is_decoded_to_three_equal_channels() -> None:
    grey = noise(20, 10)[:, :, 0]
    expected = grey[:, :, np.newaxis].repeat(3, axis=2)
    assert_array_equal(decode(encode(Image.fromarray(grey), "PNG"), LIMIT), expected)


@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("BMP", {})])
def test_bilevel_image_is_decoded_to_0_and_255(
    file_format: str, options: dict[str, object]
) -> None:
    bits = noise(24, 16)[:, :, 0] > 127
    picture = decode(encode(Image.fromarray(bits), file_format, **options), LIMIT)
    assert_array_equal(picture[:, :, 1], np.where(bits, 255, 0))


def test_palette_image_is_decoded_to_its_colours() -> None:
    image = Image.fromarray(quadrants()).quantize(4)
    assert_allclose(quadrant_colours(decode(encode(image, "PNG"), LIMIT)), QUADRANT_COLOURS, atol=2)


def composited_on_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    opacity = alpha / 255
    return np.asarray(colour * opacity + 255 * (1 - opacity))


@pytest.mark.parametrize("file_format", ["PNG", "WebP", "TIFF"])
def test_transparent_pixels_are_composited_on_white(file_format: str) -> None:
    rgba = np.concatenate([quadrants(), np.full((32, 48, 1), 100, np.uint8)], axis=2)
    options = {"lossless": True} if file_format == "WebP" else {}
    picture = decode(encode(Image.fromarray(rgba), file_format, **options), LIMIT)
    assert_allclose(picture, composited_on_white(rgba[:, :, :3], rgba[:, :, 3:]), atol=1.01)


def test_opaque_rgba_pixels_are_unchanged() -> None:
    picture = noise(30, 20)
    rgba = np.concatenate([picture, np.full((20, 30, 1), 255, np.uint8)], axis=2)
    assert_array_equal(decode(encode(Image.fromarray(rgba), "PNG"), LIMIT), picture)


def test_greyscale_with_alpha_is_composited_on_white() -> None:
    grey, alpha = noise(16, 16)[:, :, :2].transpose(2, 0, 1)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    picture = decode(encode(image, "PNG"), LIMIT)
    assert_allclose(picture[:, :, 0], composited_on_white(grey, alpha), atol=1.01)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_white(file_format: str) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.paste(1, (0, 0, 8, 4))
    picture = decode(encode(image, file_format, transparency=0), LIMIT)
    assert_array_equal(picture[2, 4], [0, 0, 200])
    assert_array_equal(picture[6, 4], [255, 255, 255])


DEEP = np.array([[0, 257, 5_140, 32_896, 51_400, 65_535]], np.uint16).repeat(4, axis=0)
SHALLOW = [0, 1, 20, 128, 200, 255]


@pytest.mark.parametrize(
    ("file_format", "values"),
    [
        ("PNG", DEEP),
        ("TIFF", DEEP),
        ("TIFF", DEEP.astype(">u2")),
        ("TIFF", DEEP.astype(np.int32)),
        ("TIFF", (DEEP // 257).astype(np.int32)),
        ("TIFF", DEEP.astype(np.float32)),
        ("TIFF", (DEEP / 257).astype(np.float32)),
        ("TIFF", (DEEP / 65_535).astype(np.float32)),
        ("TIFF", (DEEP * 65_537.0).astype(np.float32)),
    ],
)
def test_high_bit_depth_greyscale_is_scaled_to_8_bits(
    file_format: str, values: NDArray[np.generic]
) -> None:
    picture = decode(encode(Image.fromarray(values), file_format), LIMIT)
    assert_array_equal(
        picture, np.array(SHALLOW)[np.newaxis, :, np.newaxis].repeat(4, 0).repeat(3, 2)
    )


def test_dark_16_bit_image_is_not_brightened() -> None:
    dark = Image.fromarray(np.full((4, 4), 257, np.uint16))
    assert_array_equal(decode(encode(dark, "PNG"), LIMIT), np.ones((4, 4, 3)))


def test_nan_infinite_and_negative_values_become_black() -> None:
    values = np.array([[0.5, np.nan, np.inf, -1.0]], np.float32)
    picture = decode(encode(Image.fromarray(values), "TIFF"), LIMIT)
    assert_array_equal(picture[0, :, 0], [128, 0, 0, 0])


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_to_rgb(file_format: str) -> None:
    cmyk = np.zeros((32, 48, 4), np.uint8)
    cmyk[:16, :24] = [0, 255, 255, 0]  # magenta and yellow make red
    cmyk[:16, 24:] = [255, 0, 255, 0]  # cyan and yellow make green
    cmyk[16:, :24] = [255, 255, 0, 0]  # cyan and magenta make blue
    cmyk[16:, 24:] = [0, 0, 0, 128]  # black alone makes grey
    picture = decode(encode(Image.fromarray(cmyk, "CMYK"), file_format), LIMIT)
    expected = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [127, 127, 127]]]
    assert_allclose(quadrant_colours(picture), expected, atol=4)


def stored_with_orientation(upright: Picture, orientation: int) -> Picture:
    """The pixels that a camera stores with this orientation, per the table of the EXIF standard."""
    rows_first = upright.transpose(1, 0, 2)
    turns = {
        1: upright,  # row 0 is the top, column 0 the left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: rows_first,  # left, top
        6: rows_first[::-1],  # right, top
        7: rows_first[::-1, ::-1],  # right, bottom
        8: rows_first[:, ::-1],  # left, bottom
    }
    return np.ascontiguousarray(turns[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "TIFF, packed", "WebP", "JPEG"])
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    options: dict[str, object] = {"exif": exif_with_orientation(orientation)}
    if file_format == "TIFF, packed":
        file_format, options = "TIFF", options | {"compression": "tiff_lzw"}
    picture = decode(
        encode(stored_with_orientation(quadrants(), orientation), file_format, **options), LIMIT
    )
    assert picture.shape == (32, 48, 3)
    assert_allclose(quadrant_colours(picture), QUADRANT_COLOURS, atol=6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # PIL warns and continues
@pytest.mark.parametrize(
    "broken",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif_with_orientation(99).tobytes(),
        b"Exif\0\0" + struct.pack("<4sIHHHI4sI", b"II*\0", 8, 1, 0x0112, 2, 3, b"up\0\0", 0),
    ],
)
def test_image_with_corrupt_exif_data_is_decoded(broken: bytes) -> None:
    data = encode(quadrants(), "JPEG", exif=broken)
    assert_allclose(quadrant_colours(decode(data, LIMIT)), QUADRANT_COLOURS, atol=6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF\x24\0\0\0WAVEfmt ",
        encode(quadrants(), "PPM"),
        encode(quadrants(), "EPS"),
        encode(quadrants(), "ICO"),
        encode(quadrants(), "JPEG2000"),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_invalid_or_unsupported_image_data_is_rejected(data: bytes) -> None:
    with pytest.raises(NotAnImage, match=r"send (a|the whole)"):
        decode(data, LIMIT)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_file_is_rejected(file_format: str, part: float) -> None:
    data = encode(noise(120, 90), file_format)
    with pytest.raises(NotAnImage, match="send the whole file"):
        decode(data[: int(part * len(data))], LIMIT)


@pytest.mark.parametrize("missing", [2, 10, 300])
def test_jpeg_without_its_last_bytes_is_rejected(missing: int) -> None:
    with pytest.raises(NotAnImage):
        decode(encode(smooth(640, 480), "JPEG")[:-missing], LIMIT)


@pytest.mark.parametrize("file_format", FORMATS)
def test_pixel_limit_is_inclusive(file_format: str) -> None:
    data = encode(quadrants(48, 32), file_format)
    assert decode(data, 48 * 32).shape == (32, 48, 3)
    with pytest.raises(TooLarge, match=r"48 x 32.* 1,535 .*scaled down"):
        decode(data, 48 * 32 - 1)


@pytest.mark.parametrize(
    ("file_format", "side"),
    [
        ("PNG", 100_000),
        ("TIFF", 100_000),
        ("BMP", 100_000),
        ("JPEG", 65_000),
        ("GIF", 65_000),
        ("WebP", 16_000),
    ],
)
def test_size_over_the_limit_is_rejected_from_the_header(file_format: str, side: int) -> None:
    data = header_only_file(file_format, side, side)
    assert len(data) < 200
    with pytest.raises(TooLarge):
        decode(data, 50_000_000)


def test_small_tiff_with_huge_tiles_is_rejected() -> None:
    tiles = {322: 60_000, 323: 60_000, 324: 8, 325: 100}
    data = tiff_header({256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1} | tiles)
    with pytest.raises(TooLarge):
        decode(data, 50_000_000)


@pytest.mark.parametrize("kind", [1, 2], ids=["bytes", "text"])
def test_a_tiff_whose_tile_width_is_no_number_is_rejected_and_takes_no_memory(kind: int) -> None:
    tiles = {322: ord("9"), 323: 100_000_000, 324: 8, 325: 100}
    data = tiff_header({256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1} | tiles)
    data = data.replace(struct.pack("<HH", 322, 4), struct.pack("<HH", 322, kind))
    tracemalloc.start()
    try:
        with pytest.raises(BadInput):
            decode(data, 50_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


PEAK = """
import sys
from pathlib import Path
from service.imaging import decode

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

data, before = sys.stdin.buffer.read(), peak()
height, width, _ = decode(data, 10**7).shape
print((peak() - before) / (height * width))
"""
"""How many bytes of memory the decoding of a picture takes for each of its pixels."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: not Linux")
@pytest.mark.parametrize(
    ("most", "mode", "file_format", "options"),
    [
        (12, "P", "PNG", {"transparency": 0}),
        (12, "RGBA", "PNG", {}),
        (12, "I;16", "PNG", {}),
        (12, "F", "TIFF", {"compression": "tiff_lzw"}),
        (20, "RGBA", "WebP", {}),
    ],
)
def test_decoding_takes_few_bytes_a_pixel(
    most: float, mode: str, file_format: str, options: dict[str, object]
) -> None:
    image = Image.new(mode, (3000, 3000))
    told = subprocess.run(
        [sys.executable, "-c", PEAK],
        input=encode(image, file_format, **options),
        capture_output=True,
        check=True,
    )
    assert float(told.stdout) < most


def jpeg_with_scans(count: int, **options: object) -> bytes:
    """A progressive JPEG with so many copies of its last scan."""
    data = encode(quadrants(), "JPEG", progressive=True, **options)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@pytest.mark.parametrize("options", [{}, {"comment": b"\xff\xd9"}], ids=["", "an end in a comment"])
def test_jpeg_with_more_scans_than_encoders_write_is_rejected(options: dict[str, bytes]) -> None:
    """Thousands, which fit into a small file, would keep a decoder busy for hours."""
    with pytest.raises(TooLarge, match="over 100 scans"):
        decode(jpeg_with_scans(1000, **options), LIMIT)


def test_what_follows_a_jpeg_or_is_embedded_in_it_is_not_counted_as_its_scans() -> None:
    others = b"\xff\xda\0\2" * 1000
    data = jpeg_with_scans(1, comment=others) + others * 50
    assert_allclose(quadrant_colours(decode(data, LIMIT)), QUADRANT_COLOURS, atol=6)


def test_pixels_of_another_format_are_not_mistaken_for_scans_of_a_jpeg() -> None:
    picture = np.tile(np.array([0, 0xDA, 0xFF], np.uint8), (300, 400, 1))  # as BGR: ff da 00
    assert_array_equal(decode(encode(picture, "BMP"), LIMIT), picture)


def test_a_row_of_over_a_million_pixels_is_decoded() -> None:
    row = np.arange(2**20 + 1)[None, :, None].repeat(3, axis=2).astype(np.uint8)
    assert_array_equal(decode(encode(row, "PNG"), 2 * LIMIT), row)


def test_run_length_encoded_bmp_is_decoded() -> None:
    picture = decode(run_length_encoded_bmp(400, 300, (10, 200, 90)), LIMIT)
    assert_array_equal(picture, np.full((300, 400, 3), (10, 200, 90)))


SAMPLES = [
    encode(quadrants(), "JPEG", exif=exif_with_orientation(6)),
    encode(quadrants(), "PNG", exif=exif_with_orientation(6)),
    encode(quadrants(), "WebP"),
    encode(quadrants(), "BMP"),
    encode(quadrants(), "TIFF", compression="tiff_lzw"),
    encode(quadrants(), "GIF"),
]


@settings(max_examples=100, deadline=None)
@given(
    data=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_corrupt_data_is_either_decoded_or_rejected(
    data: bytes, changes: list[tuple[float, int]]
) -> None:
    altered = bytearray(data)
    for place, value in changes:
        altered[int(place**2 * len(data))] = value  # mostly near the start, in the header
    try:
        picture = decode(bytes(altered), LIMIT)
    except BadInput:
        return
    assert picture.ndim == 3
    assert 0 < picture.size <= 3 * LIMIT


@pytest.mark.parametrize("size", [(64, 64), (48, 48), (200, 150), (65, 301), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_whole_image_as_a_grey_face_matches_pil(size: tuple[int, int], mode: str) -> None:
    data = encode(Image.fromarray(noise(*size)).convert(mode), "PNG")
    with Image.open(BytesIO(data)) as file:
        expected = file.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR).convert("L")
    face = grey_face(decode(data, LIMIT))
    assert face.dtype == np.uint8
    assert_array_equal(face, np.asarray(expected))


def test_float_values_slightly_above_1_are_clipped_without_rescaling() -> None:
    """Float images with values from 0 to 1 may overshoot where they were sharpened."""
    values = np.array([[0.0, 0.5, 1.2]], np.float32)
    picture = decode(encode(Image.fromarray(values), "TIFF"), LIMIT)
    assert picture[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC and AVIF are not read"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "HEIC and AVIF are not read"),
        (cv2.imencode(".tif", np.ones((8, 8, 3), np.float32))[1].tobytes(), "8 or 16 bits"),
    ],
)
def test_rejection_names_the_unsupported_kind_of_image(data: bytes, message: str) -> None:
    with pytest.raises(NotAnImage, match=message):
        decode(data, 10**6)
