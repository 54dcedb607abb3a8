"""The errors that training, evaluation and export raise on purpose.

::

    TrainingError
    |- DataError      a data set cannot be used
    |- RunError       a run or recipe does not fit: incomplete, invalid, or of other data
    `- ExportError    a file does not belong in the store, or the version exists
"""


class TrainingError(Exception):
    """The base; its message says what to do, and the command line prints it without a traceback."""


class DataError(TrainingError):
    """A data set cannot be used; the message names the file and the line, if there is one."""


class RunError(TrainingError):
    """A run or recipe does not fit: it is incomplete, invalid, or of other data."""


class ExportError(TrainingError):
    """A file does not belong in the store, or the version exists."""
