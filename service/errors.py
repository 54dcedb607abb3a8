"""Every error the service raises on purpose.

::

    ServiceError
    |- BadInput                  what was sent cannot be used
    |  |- NotAnImage             no known format, or broken
    |  |- NotAVideo              likewise
    |  |- UnsupportedMedia       a content type that is not taken here
    |  |- TooLarge               more bytes, pixels or faces than allowed
    |  |- NoFace                 there is none to explain
    |  |- BadParameter           a value that is not among the allowed ones
    |  `- SlowClient             the body came too slowly
    |- Unauthorised              a key is needed, and missing or wrong
    |- ForeignOrigin             a page of another site asks, which may not
    |- NoWebSocket               what is a WebSocket was asked for as a page
    |- NotFound                  no such model, version or path
    |- RetryLater                   what may work a little later, after `retry_after` seconds
    |  |- RateLimited            too many requests with this key
    |  |- Overloaded             the queue is full
    |  `- NotReady               starting or draining
    |- DeadlineExceeded          the answer would have come too late
    |- ModelFailure              the model could not answer for this item
    |  |- OutOfMemory            the batch is too large for the device
    |  `- WorkerLost             its process died or hung
    |- StoreError                model_store is missing something, or it was altered
    |- KeysUnusable              the file of API keys cannot be read
    `- TracesUnusable            they are wanted, and what writes them is missing

Nothing here knows HTTP: ``service.contract.problems`` holds the one table from error to status.
"""


class ServiceError(Exception):
    """The root; its message is fit to be shown to whoever called."""


class BadInput(ServiceError):
    """What was sent cannot be used; the message says what to send instead."""


class NotAnImage(BadInput):
    """The bytes are no image in a known format, or a broken one."""


class NotAVideo(BadInput):
    """The bytes are no video in a known format, or a broken one."""


class UnsupportedMedia(BadInput):
    """The content type is none that is taken here."""


class TooLarge(BadInput):
    """More bytes, pixels or faces than the limits allow."""


class NoFace(BadInput):
    """The picture shows no face, and one is needed."""


class BadParameter(BadInput):
    """A parameter is out of range or not among the allowed values."""


class SlowClient(BadInput):
    """The body came too slowly to wait for the rest."""


class Unauthorised(ServiceError):
    """A key is needed, and it is missing or wrong."""


class ForeignOrigin(ServiceError):
    """A page of a site asks that may not."""


class NoWebSocket(ServiceError):
    """What is a WebSocket was asked for as if it were a page."""


class RetryLater(ServiceError):
    """What may work a little later.

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
    """The queue is full."""


class NotReady(RetryLater):
    """The service is starting or draining."""


class DeadlineExceeded(ServiceError):
    """The deadline passed before the answer was there."""


class ModelFailure(ServiceError):
    """The model could not answer for this item."""


class OutOfMemory(ModelFailure):
    """The batch does not fit into the device's memory."""


class WorkerLost(ModelFailure):
    """The worker process died, hung, or broke the protocol."""


class StoreError(ServiceError):
    """The model store lacks something, or a file in it was altered."""


class KeysUnusable(ServiceError):
    """The file of API keys cannot be read, or a line of it is none."""


class TracesUnusable(ServiceError):
    """Traces are wanted, and what writes or sends them is not installed."""
