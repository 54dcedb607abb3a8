"""Videos received and sent through files that no crash leaves behind, up to a size limit."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fastapi import Request

from service.api import forms
from service.errors import BadInput, NotAVideo, UnsupportedMedia

_PIECE = 2**20
"""Bytes that are written at a time, in a thread."""

_OTHERS = ("application/mp4", "application/octet-stream")
"""Other content types for videos (RFC 4337)."""

OPENAPI = forms.request_body(
    "A video as the raw body, or in the field `file` of a form.",
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "video/x-msvideo",
    *_OTHERS,
)
"""The OpenAPI entry of a route that takes a video."""


@asynccontextmanager
async def temporary(folder: Path | None) -> AsyncIterator[BinaryIO]:
    """A file without a name, which is gone once it is closed or the process ends.

    Raises:
        OSError: none can be made there.
    """
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closing it may fail
    try:
        yield file
    finally:
        await asyncio.shield(asyncio.to_thread(_close, file))


async def save_video(request: Request, file: BinaryIO, max_bytes: int) -> None:
    """Write the video of a request to a file.

    Raises:
        UnsupportedMedia: neither a video nor a form.
        TooLarge: more than `max_bytes`; refused before the rest is read.
        BadInput: a form without the field `file`.
        NotAVideo: there are no bytes.
        OSError: there is no room for it.
    """
    kind = forms.content_type(request)
    gathered = _gathered(forms.body(request, max_bytes))
    if kind == forms.FORM:
        await _field(request, gathered, file)
    elif kind.startswith("video/") or kind in _OTHERS:
        async for piece in gathered:
            await asyncio.to_thread(file.write, piece)
    else:
        raise UnsupportedMedia(
            f"content type {kind or 'missing'}: send video/mp4 or another video type, "
            "application/octet-stream, or multipart/form-data with the field file"
        )
    size = file.tell()
    file.seek(0)
    if not size:
        raise NotAVideo("there are no bytes: send a video")


async def pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    """All of a file."""
    file.seek(0)
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece


async def _field(request: Request, gathered: AsyncIterator[bytes], file: BinaryIO) -> None:
    found = False

    def choose(field: str, _name: str) -> BinaryIO | None:
        nonlocal found
        if field != "file":
            return None
        if found:
            raise BadInput("the form has two files in the field 'file': send one per request")
        found = True
        return file

    form = forms.Form(request, choose)
    async for piece in gathered:
        await asyncio.to_thread(form.write, piece)
    form.close()
    if not found:
        raise BadInput("the form has no file in the field 'file': send the video there")


async def _gathered(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gathered = bytearray()
    async for piece in body:
        gathered += piece
        if len(gathered) >= _PIECE:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _close(file: BinaryIO) -> None:
    """Close a large file, which takes a while: its space is freed."""
    with suppress(OSError):  # a full disk was told of already, and this file is thrown away
        file.close()
