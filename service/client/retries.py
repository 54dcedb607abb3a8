"""When to retry: a decision without clock or network."""

from dataclasses import dataclass

from service.errors import RetryLater, ServiceError


@dataclass(frozen=True, slots=True)
class Retries:
    """When and how often to retry.

    Attributes:
        attempts: how many at most.
        refusals: how many at most if the service answers with Retry-After; `attempts` if None.
        longest: longest pause, in seconds; a longer Retry-After raises the error at once.
        first: pause after a failed connection, in seconds; doubled each time.
    """

    attempts: int = 5
    refusals: int | None = None
    longest: float = 30.0
    first: float = 0.25

    def pause(self, error: ServiceError, attempt: int) -> float | None:
        """Seconds to wait after failed attempt number `attempt`, from 1; None to give up."""
        if isinstance(error, RetryLater):
            most = self.attempts if self.refusals is None else self.refusals
            if attempt >= most or error.retry_after > self.longest:
                return None
            return error.retry_after
        if isinstance(error, Unreachable) and attempt < self.attempts:
            return min(self.longest, self.first * 2.0 ** (attempt - 1))
        return None


class Unreachable(ServiceError):
    """No GiMeFive service answers at the URL, or the connection broke."""
