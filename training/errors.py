"""Every error that training, evaluation and export raise on purpose.

::

    TrainingError
    |- DataError      a data set cannot be read
    |- RunError       a run's folder is incomplete, or holds a run of another recipe
    `- ExportError    an artefact is not fit for the store, or the version is taken
"""


class TrainingError(Exception):
    """The root; its message says what to do, and the command line prints it without a traceback."""


class DataError(TrainingError):
    """A data set cannot be read; the message names the file and the line."""


class RunError(TrainingError):
    """The folder of a run is incomplete, or holds a run of another recipe."""


class ExportError(TrainingError):
    """An artefact is not fit for the store, or the version is taken."""
