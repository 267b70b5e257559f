"""How this process writes its log: JSON lines for machines, coloured ones for people."""

import logging
import os
from typing import Literal

import structlog


def quiet_libraries() -> None:
    """Keep torch from announcing, as it is imported, that there is no Triton: a CPU needs none.

    Called first thing by command lines. An operator's own setting wins.
    """
    os.environ.setdefault("TORCH_LOGS", "-all")


def configure_logging(*, level: str, log_format: Literal["json", "console"]) -> None:
    """Set up structlog for this process; called by the command line, never on import."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        # Locals are left out of tracebacks: a frame's variables hold pictures and keys.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors += [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )
