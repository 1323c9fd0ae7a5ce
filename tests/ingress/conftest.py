"""Doors log as they do in production: a line of JSON, a traceback as text."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def json_log() -> Iterator[None]:
    """Without it structlog draws tracebacks with every local variable, which takes a second each.

    Per test, because a test of another folder may configure logs in the same process in between.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )
    yield
    structlog.reset_defaults()
