"""How a command of the command line begins and ends: its settings, its files, its exit status."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import ValidationError

from service.errors import ServiceError
from service.settings import Settings, misspelled


def settings_with(**changes: object) -> Settings:
    """The environment's settings with `changes`; what cannot be ends the command with status 2."""
    if names := misspelled():
        typer.echo(f"gimefive: {names[0]} is no setting: see docs/operations.md", err=True)
        raise typer.Exit(2)
    try:
        return Settings().but(**changes)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(["setting", *(str(part) for part in fault["loc"])]).replace(".", " ", 1)
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


def check_outputs(source: Path, *outputs: Path) -> None:
    """Nothing that is there already may be lost but an earlier output."""
    for index, output in enumerate(outputs):
        others = (source, *outputs[:index])
        if output.is_dir() or output.resolve() in {other.resolve() for other in others}:
            raise typer.BadParameter(f"{output} cannot be written: name a file of its own")
