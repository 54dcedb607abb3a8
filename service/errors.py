"""All errors that the service raises on purpose.

::

    ServiceError
    |- BadInput                  the input cannot be used
    |  |- NotAnImage             no known format, or broken
    |  |- NotAVideo              likewise
    |  |- UnsupportedMedia       a content type that the route does not take
    |  |- TooLarge               more bytes, pixels or faces than allowed
    |  |- NoFace                 no face to explain
    |  |- BadParameter           a value out of range, or not one of those allowed
    |  `- SlowClient             the body came too slowly
    |- Unauthorised              an API key is required, and missing or wrong
    |- ForeignOrigin             a page of another site, which is not allowed
    |- NoWebSocket               a request to a WebSocket that does not open it
    |- NotFound                  no such model, version or path
    |- RetryLater                may work later, after `retry_after` seconds
    |  |- RateLimited            too many requests with this key
    |  |- Overloaded             too much is waiting or in progress
    |  |  `- DiskFull            there is no room for a video
    |  `- NotReady               starting or draining
    |- DeadlineExceeded          there is no answer in time
    |- ModelFailure              the model failed on this item
    |  |- OutOfMemory            the batch is too large for the device
    |  `- WorkerLost             its process died or hung
    |- StoreError                a file of the model store is missing or altered
    |- KeysUnusable              the file of API keys cannot be read
    `- TracesUnusable            traces are enabled, but their exporter is not installed

These errors are independent of HTTP: ``service.contract.problems`` maps them to status codes.
"""

SHUTTING_DOWN = "the service is shutting down: try again"
"""What `NotReady` says to all who still wait when the service ends."""


class ServiceError(Exception):
    """The base class; its message may be shown to the caller."""


class BadInput(ServiceError):
    """The input cannot be used; the message says what to send instead."""


class NotAnImage(BadInput):
    """The bytes are not an image in a known format, or the image is broken."""


class NotAVideo(BadInput):
    """The bytes are not a video in a known format, or the video is broken."""


class UnsupportedMedia(BadInput):
    """The route does not take this content type."""


class TooLarge(BadInput):
    """More bytes, pixels or faces than the limits allow."""


class NoFace(BadInput):
    """The picture has no face, but one is required."""


class BadParameter(BadInput):
    """A parameter is out of range or not among the allowed values."""


class SlowClient(BadInput):
    """The body came too slowly to wait for the rest."""


class Unauthorised(ServiceError):
    """An API key is required, and missing or wrong."""


class ForeignOrigin(ServiceError):
    """The request comes from a page of another site, which is not allowed."""


class NoWebSocket(ServiceError):
    """A request to a WebSocket route that does not open a WebSocket."""


class RetryLater(ServiceError):
    """The same request may work later.

    Attributes:
        retry_after: seconds until it is worth trying again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(RetryLater):
    """Too many requests with this key."""


class NotFound(ServiceError):
    """There is no such model, version or path."""


class Overloaded(RetryLater):
    """Too much is waiting or in progress."""


class DiskFull(Overloaded):
    """There is no room for a video in the folder for temporary files."""


class NotReady(RetryLater):
    """The service is starting or draining."""


class DeadlineExceeded(ServiceError):
    """The deadline passed before there was an answer."""


class ModelFailure(ServiceError):
    """The model failed on this item."""


class OutOfMemory(ModelFailure):
    """The batch does not fit into the device's memory."""


class WorkerLost(ModelFailure):
    """The worker process died, hung, or broke the protocol."""


class StoreError(ServiceError):
    """A file of the model store is missing or altered."""


class KeysUnusable(ServiceError):
    """The file of API keys cannot be read, or has an invalid line."""


class TracesUnusable(ServiceError):
    """Traces are enabled, but the packages that write or export them are not installed."""
