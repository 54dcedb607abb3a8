"""A typed client of a running service: `Client`, and `AsyncClient` for asyncio.

Failures raise the errors of `service.errors`, as if the service ran in this process, with the
request id as a note, or `Unreachable` if no service answers.
"""

from service.client.answers import DrawnVideo, ExplainedPicture
from service.client.asynchronous import AsyncClient
from service.client.calls import Source
from service.client.retries import Retries, Unreachable
from service.client.synchronous import Client
from service.contract.lines import VideoFrame, VideoHead, VideoLine, VideoSummary
from service.contract.schemas import LiveAnswer, LiveFace

__all__ = [
    "AsyncClient",
    "Client",
    "DrawnVideo",
    "ExplainedPicture",
    "LiveAnswer",
    "LiveFace",
    "Retries",
    "Source",
    "Unreachable",
    "VideoFrame",
    "VideoHead",
    "VideoLine",
    "VideoSummary",
]
