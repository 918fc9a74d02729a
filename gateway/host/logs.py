"""One line for each thing that happened to the user's gateway, on stderr."""

from __future__ import annotations

import logging
import os
import sys


def set_up_logging(level: int = logging.INFO) -> None:
    """Readable lines on a terminal; under systemd without date, and with the level journald understands."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter() if "JOURNAL_STREAM" in os.environ else _plain())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _plain() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")


class _JournalFormatter(logging.Formatter):
    """A line begins with its syslog level in angle brackets: sd-daemon(3)."""

    LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        number = next(syslog for level, syslog in self.LEVELS if record.levelno >= level)
        return "\n".join(f"<{number}>{line}" for line in super().format(record).splitlines())
