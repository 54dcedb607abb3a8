"""The interface for tracing requests, and a tracer that does nothing."""

from typing import Protocol

from service.queues import Entries


class Tracer(Protocol):
    """Is told the steps of requests. Moments are in seconds of the monotonic clock."""

    def current(self) -> object:
        """The request of the running task, as kept in `Entry.traced`; None if not traced."""

    def span(self, name: str, began: float, ended: float) -> None:
        """A step was done for the current request."""

    def batch_span(
        self, lane: str, entries: Entries, began: float, ended: float, error: Exception | None
    ) -> None:
        """A batch went through a model, or failed there."""


class NoTracer:
    """Traces nothing."""

    def current(self) -> object:
        """No request is traced."""
        return None

    def span(self, name: str, began: float, ended: float) -> None:
        """Ignore it."""

    def batch_span(
        self, lane: str, entries: Entries, began: float, ended: float, error: Exception | None
    ) -> None:
        """Ignore it."""


UNTRACED: Tracer = NoTracer()
