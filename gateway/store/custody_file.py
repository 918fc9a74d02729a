"""The file behind the daily balance: the books as the day began, the last balances, and who was told which.

One JSON object, written beside and renamed a few times a day. What is damaged in it costs a day's balance and nothing
else, so it is dropped with a line in the log.
"""

from __future__ import annotations

import logging
import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import orjson

from gateway.store.quarantine import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "custody.json"


class CustodyFile:
    """Loaded once, saved after each change; `save` may run on any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._saving = Lock()
        self.morning: dict[str, Any] | None = None
        self.days: list[dict[str, Any]] = []
        self.told: dict[str, str] = {}  # by destination: the end of the last balance it was told

    def load(self) -> None:
        """Read what is there; nothing, when there is no file or nobody can make anything of it."""
        try:
            facts = orjson.loads(self._path.read_bytes())
            morning, days, told = facts["morning"], facts["days"], facts["told"]
            if not (isinstance(days, list) and all(isinstance(day["until"], str) for day in days)):
                raise ValueError("its days are no days")  # noqa: TRY301
            self.morning, self.days, self.told = morning, days, dict(told)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): the balance of this day begins now", self._path, error)

    def forget(self, dev_eui: str) -> None:
        """Leave a device out of every balance; what it adds to sums stays in them."""
        found = self.morning.get("losses") if isinstance(self.morning, dict) else None
        losses = dict(found) if isinstance(found, dict) else {}
        for key in [key for key in losses if f" {dev_eui} " in key]:
            nobody = key.replace(f" {dev_eui} ", "  ")
            losses[nobody] = losses.get(nobody, 0) + losses.pop(key)
        if isinstance(self.morning, dict):
            self.morning = {**self.morning, "losses": losses}
        self.days = [
            {**day, **{part: _without(day[part], dev_eui) for part in ("gaps", "losses") if part in day}}
            for day in self.days
        ]

    def save(self) -> None:
        """Write all of it, durably; OSError when the disk refuses."""
        with self._saving:
            content = orjson.dumps({"morning": self.morning, "days": self.days, "told": self.told})
            beside = self._path.with_suffix(".new")
            with open(beside, "wb", opener=_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            sync_folder(self._path.parent)


def _without(part: Any, dev_eui: str) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("by_device"), list):
        return part
    kept = [one for one in part["by_device"] if not isinstance(one, dict) or one.get("dev_eui") != dev_eui]
    return {**part, "by_device": kept}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
