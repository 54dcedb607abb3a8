"""The pauses before a process is started again that did not start, or soon ended."""

MAX_PAUSE = 30.0
"""Longest pause, in seconds."""

FAILED_STARTS = 3
"""Starts that may fail in a row before the service counts as unsound."""

SETTLED = 10.0
"""Seconds that a process must have been up, or its start counts as failed."""


def failed_starts(before: int, seconds: float) -> int:
    """Starts in a row that failed, once a process has ended that was up for so many seconds.

    Args:
        before: how many there were when it was started.
        seconds: how long it was up.
    """
    return 0 if seconds >= SETTLED else before + 1


def pause(failed_starts: int) -> float:
    """Seconds to wait after so many starts in a row that failed: 0, 1, 3, 7, ..."""
    return min(MAX_PAUSE, 2.0 ** min(failed_starts, 10) - 1)  # more overflows in the end
