"""Which of two types of answer a client wants, by its Accept headers (RFC 9110, section 12.5.1)."""

from fastapi import Request
from python_multipart.multipart import parse_options_header


def prefers(request: Request, other: str, usual: str) -> bool:
    """Whether the client names `other`, and wants `usual` no more than that, nor names it first.

    Args:
        request: whose headers are read; without any, it takes what is usual.
        other: a media type that has to be named in full.
        usual: the media type of the answer if not.
    """
    ranges = dict(
        _range(each) for line in request.headers.getlist("accept") for each in line.split(",")
    )
    wanted = ranges.get(other, 0.0)
    wildcards = (f"{usual.partition('/')[0]}/*", "*/*")
    rival = next((each for each in (usual, *wildcards) if each in ranges), None)
    if wanted == 0 or rival is None:
        return wanted > 0
    named = [*ranges]
    first = rival == usual and named.index(rival) < named.index(other)
    return wanted > ranges[rival] or (wanted == ranges[rival] and not first)


def _range(text: str) -> tuple[str, float]:
    """A media range and how much it is wanted; what is no number counts as not at all."""
    kind, options = parse_options_header(text)
    try:
        weight = float(options.get(b"q", 1))
    except ValueError:
        weight = 0.0
    return kind.decode("latin-1"), weight
