"""How a command of the command line begins and ends: its settings, its files, its exit status."""

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
from service.settings import Settings, unknown_variables, variable, variables


def settings_with(**changes: object) -> Settings:
    """The environment's settings with `changes`; what cannot be ends the command with status 2."""
    if names := unknown_variables():
        near = get_close_matches(names[0], variables(), n=1)
        hint = f"perhaps {near[0]}; " if near else ""
        typer.echo(f"gimefive: {names[0]} is no setting: {hint}see docs/operations.md", err=True)
        raise typer.Exit(2)
    try:
        return Settings().with_changes(**changes)
    except ValidationError as error:
        fault = error.errors()[0]
        name = variable(str(fault["loc"][0])) if fault["loc"] else "settings"
        typer.echo(f"gimefive: {name}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def ending() -> Iterator[None]:
    """What goes wrong ends the command with a line; Ctrl-C and other signals with none."""
    usual = {
        sign: signal.signal(sign, signal.default_int_handler)
        for sign in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    except BrokenPipeError:  # who read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except (ServiceError, OSError) as error:
        stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        for sign, handler in usual.items():
            signal.signal(sign, handler)


def stop(error: Exception) -> NoReturn:
    """End the command with a line that says why, and status 1."""
    typer.echo(f"gimefive: {error}", err=True)
    raise typer.Exit(1) from error


def check_outputs(source: Path, *outputs: tuple[Path | None, str]) -> None:
    """Refuse to write over anything but an earlier output.

    Args:
        source: what is read.
        outputs: what is written, if it is, and how its name ends, if that tells its kind.
    """
    taken = {source.resolve()}
    for output, suffix in outputs:
        if output is None:
            continue
        if output.is_dir() or output.resolve() in taken:
            raise typer.BadParameter(f"{output} cannot be written: name a file of its own")
        if not output.parent.is_dir():
            raise typer.BadParameter(f"{output} cannot be written: there is no such folder")
        if suffix and output.suffix.lower() != suffix:
            raise typer.BadParameter(
                f"{output}: what is written is {suffix[1:].upper()}, "
                f"so let its name end with {suffix}"
            )
        taken.add(output.resolve())


def check_folders(*outputs: tuple[Path | None, str]) -> None:
    """What several videos give goes to folders.

    Args:
        outputs: what is named as one, if it is, and how a file's name in it would end.
    """
    for output, suffix in outputs:
        if output and not output.is_dir() and (output.exists() or output.suffix.lower() == suffix):
            raise typer.BadParameter(f"{output} is one file, for several videos: name a folder")
