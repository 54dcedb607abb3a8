"""Reading what was sent: a raw body or a form, never more than allowed."""

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from service.errors import BadInput, TooLarge, UnsupportedMedia

OPENAPI = {
    "requestBody": {
        "required": True,
        "description": "An image as the raw body, or in the field `file` of a form.",
        "content": {
            **{
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in (
                    "image/jpeg",
                    "image/png",
                    "image/webp",
                    "image/bmp",
                    "image/tiff",
                    "image/gif",
                    "application/octet-stream",
                )
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
"""The OpenAPI entry of a route that takes an image."""


async def image(request: Request, max_bytes: int) -> bytes:
    """The image of a request, encoded.

    Raises:
        UnsupportedMedia: neither an image nor a form.
        TooLarge: more than `max_bytes`; refused before the rest is read.
        BadInput: a form without the field `file`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    _check_announced(request, max_bytes)
    if kind == "multipart/form-data":
        return await _field(request, max_bytes)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await _raw(request, max_bytes)
    raise UnsupportedMedia(
        f"content type {kind or 'missing'}: send image/jpeg or another image type, "
        "application/octet-stream, or multipart/form-data with the field file"
    )


def _check_announced(request: Request, max_bytes: int) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)


async def _raw(request: Request, max_bytes: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


async def _field(request: Request, max_bytes: int) -> bytes:
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > max_bytes:
            raise _too_large(max_bytes)
        return message

    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=8) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise BadInput("the form has no file in the field 'file': send the image there")
            return await upload.read()
    except (HTTPException, MultiPartException) as error:
        raise BadInput(f"the form cannot be read: {error}") from error


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is over {max_bytes:,} bytes: send a smaller image")
