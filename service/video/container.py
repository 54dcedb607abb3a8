"""Opening video files safely.

Only the demuxers named here are allowed, whatever the file's name, and none may open another file:
playlists and external references are refused.
"""

from collections.abc import Sequence
from typing import BinaryIO, NoReturn, TypeVar

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from service.errors import NotAVideo
from service.video.files import FileView

StreamT = TypeVar("StreamT", bound=Stream)

_DEMUXERS = "mov,matroska,avi"
_FORMATS = "MP4, MOV, WebM, MKV or AVI"


def open_container(file: BinaryIO | FileView) -> InputContainer:
    """Open a file in one of the known formats.

    Raises:
        NotAVideo: it is empty, in none of them, or its index is missing.
    """
    if not file.read(1):
        raise NotAVideo(f"there are no bytes; send {_FORMATS}")
    file.seek(0)
    try:
        return av.open(
            file, "r", options={"format_whitelist": _DEMUXERS}, buffer_size=2**18, io_open=_refuse
        )
    except (av.FFmpegError, UnicodeDecodeError) as error:
        file.seek(0)
        if (file.read(8) or b"").endswith(b"ftyp"):
            raise NotAVideo(
                "the video cannot be opened: its index is missing, as in a file that was cut "
                "short; send the whole file"
            ) from error
        raise NotAVideo(f"this is no video in a known format; send {_FORMATS}") from error


def preferred(streams: Sequence[StreamT]) -> StreamT:
    """The stream that players choose: the first default one, or else the first of all."""
    return next((each for each in streams if each.disposition & Disposition.default), streams[0])


def _refuse(url: str, *_: object) -> NoReturn:
    raise PermissionError(f"{url} is not opened")
