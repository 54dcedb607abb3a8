"""The files that are opened as videos.

Only the containers named here are, and they reach no other file: playlists and references to other
places are refused, whatever the file's name says.
"""

from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer

from service.errors import NotAVideo
from service.video.files import FileView

_DEMUXERS = "mov,matroska,avi"
_FORMATS = "MP4, MOV, WebM, MKV or AVI"


def open_container(file: BinaryIO | FileView) -> InputContainer:
    """Open one of the known containers.

    Raises:
        NotAVideo: it is none.
    """
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


def _refuse(url: str, *_: object) -> NoReturn:
    raise PermissionError(f"{url} is not opened")
