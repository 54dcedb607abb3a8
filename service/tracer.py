"""What is told of a request's way, step by step, to whoever traces it; mostly nobody does."""

from typing import Protocol

from service.queues import Entries


class Tracer(Protocol):
    """Who is told. Moments are seconds of the monotonic clock."""

    def current(self) -> object:
        """The request being served, to be kept in `Entry.traced`; None if it is not traced."""

    def span(self, name: str, began: float, ended: float) -> None:
        """Something was done for the request whose work this is."""

    def batch_span(
        self, lane: str, entries: Entries, began: float, ended: float, error: Exception | None
    ) -> None:
        """A batch went through a model, or failed there."""


class NoTracer:
    """Nobody is told anything."""

    def current(self) -> object:
        """No request is followed."""
        return None

    def span(self, name: str, began: float, ended: float) -> None:
        """Forget it."""

    def batch_span(
        self, lane: str, entries: Entries, began: float, ended: float, error: Exception | None
    ) -> None:
        """Forget it."""


UNTRACED: Tracer = NoTracer()
