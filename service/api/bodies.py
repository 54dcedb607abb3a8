"""Reading what was sent: a raw body or a form, never more than allowed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request

from service.api import forms
from service.api.parameters import within
from service.engine import Engine
from service.errors import BadInput, TooLarge, UnsupportedMedia

OPENAPI = forms.request_body(
    "An image as the raw body, or in the field `file` of a form.",
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/gif",
    "application/octet-stream",
)
"""The OpenAPI entry of a route that takes an image."""

FRAMES_OPENAPI = {
    "requestBody": {
        "required": True,
        "description": "Images in the field `files`, repeated, in the order of the video.",
        "content": {
            forms.FORM: {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
        },
    }
}
"""The OpenAPI entry of a route that takes a batch of images."""


class Part:
    """A file of a form, in memory, with a limit.

    Attributes:
        name: the file's; empty if it was sent without one.
    """

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name = name
        self._max_bytes = max_bytes
        self._content = bytearray()
        self._over = False

    def write(self, data: bytes, /) -> None:
        """Take the next bytes; of those that are too many nothing is kept."""
        self._over = self._over or len(self._content) + len(data) > self._max_bytes
        if self._over:
            self._content.clear()
        else:
            self._content += data

    def read(self) -> bytes:
        """All bytes.

        Raises:
            TooLarge: they are too many.
        """
        if self._over:
            raise forms.too_large(f"file {self.name!r}", self._max_bytes)
        return bytes(self._content)


@asynccontextmanager
async def received(
    request: Request, engine: Engine, deadline_ms: float | None
) -> AsyncIterator[tuple[bytes, float | None]]:
    """A request's image, encoded, in memory that is held for it, and the deadline of `within`.

    Raises:
        BadInput: as `read_image` says.
        Overloaded: too many pictures are held.
        DeadlineExceeded: the client's deadline has passed.
    """
    async with within(deadline_ms) as deadline:
        with engine.memory.growing() as take:
            yield await read_image(request, engine.settings.max_body_bytes, take), deadline


async def read_image(request: Request, max_bytes: int, take: Callable[[int], None]) -> bytes:
    """The image of a request, encoded.

    Args:
        request: whose it is.
        max_bytes: most that its body may have.
        take: told of the bytes as they come, as `forms.body` says.

    Raises:
        UnsupportedMedia: neither an image nor a form.
        TooLarge: more than `max_bytes`; refused before the rest is read.
        BadInput: a form without the field `file`.
    """
    kind = forms.content_type(request)
    if kind == forms.FORM:
        return await _field(request, max_bytes, take)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return b"".join([piece async for piece in forms.body(request, max_bytes, take)])
    raise UnsupportedMedia(
        f"content type {kind or 'missing'}: send image/jpeg or another image type, "
        "application/octet-stream, or multipart/form-data with the field file"
    )


async def read_frames(
    request: Request, *, max_frames: int, max_bytes: int, max_frame_bytes: int
) -> list[Part]:
    """The images of a batch, encoded, in order.

    Raises:
        UnsupportedMedia: no form.
        TooLarge: too many frames or bytes; refused before the rest is read.
        BadInput: a form without the field `files`.
    """
    kind = forms.content_type(request)
    if kind != forms.FORM:
        raise UnsupportedMedia(
            f"content type {kind or 'missing'}: send multipart/form-data with the field files"
        )
    parts: list[Part] = []

    def choose(field: str, name: str) -> Part | None:
        if field != "files":
            return None
        if len(parts) == max_frames:
            raise TooLarge(f"too many frames: send at most {max_frames} in one request")
        parts.append(Part(name, max_frame_bytes))
        return parts[-1]

    await _read(forms.body(request, max_bytes), request, choose)
    if not parts:
        raise BadInput("the form has no file in the field 'files': send the frames there")
    return parts


async def _field(request: Request, max_bytes: int, take: Callable[[int], None]) -> bytes:
    parts: list[Part] = []

    def choose(field: str, name: str) -> Part | None:
        if field != "file":
            return None
        if parts:
            raise BadInput("the form has two files: send one, or all of them to /classify/frames")
        parts.append(Part(name, max_bytes))
        return parts[-1]

    await _read(forms.body(request, max_bytes, take), request, choose)
    if not parts:
        raise BadInput("the form has no file in the field 'file': send the image there")
    return parts[0].read()


async def _read(body: AsyncIterator[bytes], request: Request, choose: forms.Choose) -> None:
    form = forms.Form(request, choose)
    async for piece in body:
        form.write(piece)
    form.close()
