"""Attacked doors log as in production, and what they log is kept: a traceback there is a finding."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog

from tests.chaos.conftest import alone

__all__ = ["alone"]

Line = MutableMapping[str, Any]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Line]]:
    """Every line, as it would be rendered."""
    lines: list[Line] = []

    def keep(_logger: object, _method: str, line: Line) -> Line:
        lines.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            keep,
        ],
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.reset_defaults()


def broken(lines: list[Line]) -> list[Line]:
    """Lines that say that something of ours broke."""
    return [line for line in lines if "exception" in line or line.get("event") == "request_failed"]
