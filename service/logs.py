"""Structured logs on stderr, as text or JSON, for the service and its libraries."""

import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import structlog

from service.settings import Settings


def configure(settings: Settings) -> None:
    """Log as `settings` say; called once per process."""
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(_json)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Log(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # clients are told instead
    warnings.filterwarnings("ignore", module="PIL")  # Python would keep what odd pictures cause


class _Log(structlog.WriteLogger):
    """Loses a line that cannot be written, since its disk is full or its reader has gone."""

    def msg(self, message: str) -> None:
        with suppress(OSError):  # the log itself is where it would be told
            super().msg(message)

    debug = info = warning = error = critical = msg


def _is_news(record: logging.LogRecord) -> bool:
    """False for what is logged with the request's id: incomplete answers, and invalid HTTP."""
    known = ("ASGI callable returned without completing", "Invalid HTTP request received")
    return not record.getMessage().startswith(known)


def _json(event: object, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default).decode()
