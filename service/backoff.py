"""The pauses before a process that did not start is started again."""

MAX_PAUSE = 30.0
"""Longest pause, in seconds."""

FAILED_STARTS = 3
"""Starts that may fail in a row before the service counts as unsound."""


def pause(failed_starts: int) -> float:
    """Seconds to wait after so many starts in a row that failed: 0, 1, 3, 7, ..."""
    return min(MAX_PAUSE, 2.0 ** min(failed_starts, 10) - 1)  # more overflows in the end
