"""How a command begins and ends: its settings, its output files, its exit status."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import ValidationError

from service.errors import ServiceError
from service.settings import Settings, first_fault, unknown_variables, variables

NOWHERE = Path(os.devnull)


def settings_with(**changes: object) -> Settings:
    """The environment's settings with `changes`; invalid ones end the command with status 2."""
    if names := unknown_variables():
        near = get_close_matches(names[0], variables(), n=1)
        hint = f"did you mean {near[0]}?" if near else "see docs/operations.md"
        typer.echo(f"gimefive: {names[0]} is not a setting: {hint}", err=True)
        raise typer.Exit(2)
    try:
        return Settings().with_changes(**changes)
    except ValidationError as error:
        typer.echo(f"gimefive: {first_fault(error)}", err=True)
        raise typer.Exit(2) from None


def open_streams() -> None:
    """Have closed standard streams lead nowhere: else the next files get their numbers."""
    sys.stdin = sys.stdin or NOWHERE.open()
    sys.stdout = sys.stdout or NOWHERE.open("w")
    sys.stderr = sys.stderr or NOWHERE.open("w")


@contextmanager
def ending() -> Iterator[None]:
    """Errors end the command with one line on stderr; Ctrl-C and signals with none.

    Names of files are printed as they are, whether they are UTF-8 or not.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    usual = {
        sign: signal.signal(sign, signal.default_int_handler)
        for sign in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe
        nowhere = os.open(NOWHERE, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        raise typer.Exit from None
    except (ServiceError, OSError) as error:
        stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        for sign, handler in usual.items():
            signal.signal(sign, handler)


def stop(error: Exception) -> NoReturn:
    """End the command with one line that says why, and status 1."""
    typer.echo(f"gimefive: {reason(error)}", err=True)
    raise typer.Exit(1) from error


def reason(error: Exception) -> str:
    """Why something failed, without an error number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def check_outputs(source: Path, *outputs: tuple[Path | None, str]) -> None:
    """Refuse outputs that cannot be written.

    Args:
        source: the input, which must not be overwritten.
        outputs: files to write, None for none, with the suffix that they need, "" for any.
    """
    taken = {os.path.realpath(source)}
    for output, suffix in outputs:
        if output is None:
            continue
        if output.is_dir():
            raise typer.BadParameter(f"{output} is a folder: name a file")
        if output.exists() and not output.is_file():  # /dev/null would be replaced
            raise typer.BadParameter(f"{output} is not a file that can be replaced: name another")
        if os.path.realpath(output) in taken:
            raise typer.BadParameter(f"{output} is read or written already: name another file")
        if not output.parent.is_dir():
            raise typer.BadParameter(f"{output} cannot be written: there is no such folder")
        if suffix and output.suffix.lower() != suffix:
            raise typer.BadParameter(f"{output} has to end with {suffix}")
        taken.add(os.path.realpath(output))


def check_folders(*outputs: tuple[Path | None, str]) -> None:
    """Refuse files as outputs of several videos.

    Args:
        outputs: folders to write to, None for none, with the suffix of the files in them.
    """
    for output, suffix in outputs:
        if output and not output.is_dir() and (output.exists() or output.suffix.lower() == suffix):
            raise typer.BadParameter(
                f"{output} is a file, and there are several videos: name a folder"
            )
