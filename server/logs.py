"""The server's own log: structlog, JSON lines on stderr, pretty on a terminal. Nothing per request, nothing personal."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Set the log up for this process. `level` is one of the config's."""
    pretty = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if pretty:
        shared.append(structlog.dev.ConsoleRenderer())
    else:
        # No locals: a frame's variables hold tokens and addresses.
        tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
        shared += [tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries would print peers' addresses and the texts of requests (aiohttp), or statements (asyncpg).
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.CRITICAL)
