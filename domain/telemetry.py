"""Logs: one line per decision, `event` names it, ids travel from the door to the worker.

A line carries ids, types, durations. Never a payload, a header, a secret, an e-mail or a `user_id`.
"""

import logging
import sys
from typing import Any

import structlog

from domain.settings import Settings

#: Loggers of libraries whose lines go through ours, so that a process speaks one language.
ROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "dramatiq", "apscheduler", "asyncio", "alembic")


def configure_logging(settings: Settings, process: str) -> None:
    """Route every logger of this process to stderr, as JSON or, for a terminal, as readable lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_process(process),
                _renderer(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ROUTED:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # One line per call says nothing that ours do not.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    # Neither does one per turn of a job, and a turn that outlasts its interval is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def get_logger() -> structlog.stdlib.BoundLogger:
    """The logger every module uses: `log.info("entitlements_recomputed", user_key=7, version=3)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("tollhouse")
    return logger


def _name_process(process: str) -> Any:
    def add(_logger: Any, _method: str, line: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **line}

    return add


def _renderer(log_format: str) -> Any:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer()
