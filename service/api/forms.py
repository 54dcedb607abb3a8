"""Multipart forms, parsed as they arrive: files go to their sinks, nothing else is kept."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.parameters import query_names
from service.errors import BadInput, BadParameter, TooLarge, UnsupportedMedia


class Sink(Protocol):
    """Where a file's bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


Choose = Callable[[str, str], Sink | None]
"""Told a part's field and file name ("" without one), says where it goes; None for nowhere."""


FORM = "multipart/form-data"


def request_body(description: str, *kinds: str) -> dict[str, Any]:
    """The OpenAPI entry of a route that takes a file, raw or in the field `file` of a form."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary}}
    content = {kind: {"schema": binary} for kind in kinds}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {**content, FORM: {"schema": form}},
        }
    }


def content_type(request: Request) -> str:
    """The request's content type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def body_size(request: Request, max_bytes: int) -> int:
    """The announced size of the body, else `max_bytes`.

    Raises:
        TooLarge: more than that.
        UnsupportedMedia: it is compressed.
    """
    coding = request.headers.get("content-encoding") or "identity"
    if coding.lower() != "identity":
        raise UnsupportedMedia(f"content encoding {coding}: send the body uncompressed")
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        return max_bytes
    if int(announced) > max_bytes:
        raise too_large("body", max_bytes)
    return int(announced)


async def body(
    request: Request, max_bytes: int, take: Callable[[int], None] | None = None
) -> AsyncIterator[bytes]:
    """The body, piece by piece.

    Args:
        request: whose it is.
        max_bytes: most that it may have.
        take: told the bytes of each piece before it is given.

    Raises:
        TooLarge: more than `max_bytes`; refused before the rest is read.
        UnsupportedMedia: it is compressed.
    """
    body_size(request, max_bytes)
    came = 0
    async for piece in request.stream():
        came += len(piece)
        if came > max_bytes:
            raise too_large("body", max_bytes)
        if take:
            take(len(piece))
        yield piece


def too_large(what: str, max_bytes: int) -> TooLarge:
    """The error that tells the limit."""
    return TooLarge(f"the {what} is over {max_bytes:,} bytes: send a smaller one")


MOST_OTHERS = 100
"""Most unexpected parts in a form; each costs time, however small it is."""


class Form:
    """A form that is being read.

    Args:
        request: whose it is.
        choose: where each part goes.

    Raises:
        BadInput: there is no boundary.
    """

    def __init__(self, request: Request, choose: Choose) -> None:
        _, options = parse_options_header(request.headers["content-type"])
        if not options.get(b"boundary"):
            raise BadInput("the form's content type has no boundary: let your HTTP client set it")
        self._choose = choose
        self._parameters = query_names(request)
        self._sink: Sink | None = None
        self._complete = False
        self._others = 0
        self._field = self._value = self._disposition = b""
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _unreadable(error) from error

    def write(self, data: bytes) -> None:
        """Read on.

        Raises:
            BadInput: this is no form.
            BadParameter: a part is a parameter, which belongs in the query.
            TooLarge: it has over `MOST_OTHERS` unexpected parts.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _unreadable(error) from error

    def close(self) -> None:
        """Nothing follows.

        Raises:
            BadInput: the form is not complete.
        """
        if not self._complete:
            raise BadInput("the form is cut short: its last boundary is missing")

    def _begin(self) -> None:
        self._disposition, self._sink = b"", None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode(errors="replace")
        name = options.get(b"filename", b"").decode(errors="replace")
        if field in self._parameters and not name:
            raise BadParameter(f"{field} is a query parameter, not a form field: use ?{field}=...")
        self._sink = self._choose(field, name)
        self._others += self._sink is None
        if self._others > MOST_OTHERS:
            raise TooLarge(f"the form has over {MOST_OTHERS} parts that this route does not use")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(data[start:end])

    def _end(self) -> None:
        self._complete = True


def _unreadable(error: Exception) -> BadInput:
    return BadInput(f"the form cannot be read ({error}): let your HTTP client write it")
