"""The server's own log: structlog, JSON lines on stderr, pretty on a terminal. Nothing per request, nothing personal."""

import logging
import sys
import traceback

import structlog


def configure(level: str) -> None:
    """Set the log up for this process. `level` is one of the config's."""
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries would print peers' addresses and the texts of requests (aiohttp), or statements (asyncpg).
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.CRITICAL)


def told(error: BaseException) -> dict[str, object]:
    """Return what the log may hold of an unexpected exception: its type and where it was raised.

    Not what it says, and no variables: either may quote what a client sent.
    """
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return {"error": type(error).__name__, "frames": frames[-8:]}
