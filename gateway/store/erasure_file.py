"""What an erasure needs to remember, and what may be remembered of it afterwards.

`erasure.json` is there while one is under way: it names the device, because a power cut must not leave half of a
household behind, and is overwritten when nothing else does. How far it is lies in a file of its own that names nobody,
so that the one with the name is written once. `forgotten.json` has keyed digests of what was forgotten: a gateway that
remembered nothing could not tell a forgotten device from one that it never knew, and would keep its frames for keys
that may come. `erasures.jsonl` is the record of processing: when, how much, under which reference; never whose.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import DevEui
from gateway.store.quarantine import destroy, sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

INTENT, STEPS, FORGOTTEN, AUDIT = "erasure.json", "erasure-steps.json", "forgotten.json", "erasures.jsonl"


@dataclass(frozen=True, slots=True)
class Intent:
    """Whom to forget: the device, every address it is known to have had, and the number of this erasure."""

    dev_eui: DevEui
    dev_addrs: frozenset[int]
    reference: str

    @classmethod
    def of(cls, dev_eui: DevEui, dev_addrs: Iterable[int]) -> Intent:
        """A new one."""
        return cls(dev_eui, frozenset(dev_addrs), f"erasure-{secrets.token_hex(6)}")


@dataclass(slots=True)
class Steps:
    """How far an erasure is: records and frames erased by the first position of each part, and the sum to book."""

    reference: str
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    booked_to: int | None = None


def load_intent(folder: Path) -> Intent | None:
    """The erasure that is under way; None when there is none. OSError when the disk fails.

    What was being destroyed when the power went is done, and goes. So does what is damaged, with a line in the log: a
    wrong bit in it would erase somebody else, and the order has to be given once more.
    """
    path = folder / INTENT
    try:
        content = path.read_bytes()
        facts = orjson.loads(content)
        intent = Intent(
            DevEui.parse(facts["dev_eui"]), frozenset(map(int, facts["dev_addrs"])), str(facts["reference"])
        )
        if facts.get("sum") != _sum(intent):
            raise ValueError("its sum is wrong")  # noqa: TRY301
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if b"\0" not in content:
            log.error("an erasure was cut off, and nobody can read whose (%s): give the order once more", error)  # noqa: TRY400
        destroy(path)
        return None
    return intent


def save_intent(folder: Path, intent: Intent) -> None:
    """From now on a start goes on with this erasure."""
    _write(folder / INTENT, {**_facts(intent), "sum": _sum(intent)})


def _facts(intent: Intent) -> dict[str, Any]:
    return {"dev_eui": str(intent.dev_eui), "dev_addrs": sorted(intent.dev_addrs), "reference": intent.reference}


def _sum(intent: Intent) -> str:
    return hashlib.blake2s(orjson.dumps(_facts(intent)), digest_size=8).hexdigest()


def load_steps(folder: Path, reference: str) -> Steps:
    """How far this erasure is; nothing done when that cannot be read: doing it twice does no harm."""
    try:
        facts = orjson.loads((folder / STEPS).read_bytes())
        if facts["reference"] != reference:
            return Steps(reference)
        parts = {int(first): (int(records), int(frames)) for first, (records, frames) in facts["parts"].items()}
        return Steps(reference, parts, None if facts["booked_to"] is None else int(facts["booked_to"]))
    except FileNotFoundError:
        return Steps(reference)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read: %s", folder / STEPS, error)
        return Steps(reference)


def save_steps(folder: Path, steps: Steps) -> None:
    """Remember how far it is."""
    parts = {str(first): counts for first, counts in steps.parts.items()}
    _write(folder / STEPS, {"reference": steps.reference, "parts": parts, "booked_to": steps.booked_to})


def finish(folder: Path, facts: dict[str, Any]) -> None:
    """It is done: what may be known of it goes into the record of erasures, and its intent is destroyed."""
    path = folder / AUDIT
    if facts["reference"] not in _references(path):
        with open(path, "ab", opener=_private) as file:
            file.write(orjson.dumps(facts) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    destroy(folder / INTENT)
    (folder / STEPS).unlink(missing_ok=True)
    sync_folder(folder)


def _references(path: Path) -> set[str]:
    found = set[str]()
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            found.add(str(orjson.loads(line)["reference"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


class Forgotten:
    """Who was forgotten, as digests under a key of this gateway's own: `knows` answers, nothing here names anybody."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FORGOTTEN
        self._key = secrets.token_bytes(32)
        self._devices: dict[str, list[str]] = {}  # digest of a DevEUI: those of its addresses
        self._all: frozenset[str] = frozenset()
        try:
            facts = orjson.loads(self._path.read_bytes())
            self._key, devices = bytes.fromhex(facts["key"]), facts["devices"]
            self._devices = {str(device): list(map(str, addresses)) for device, addresses in devices.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read, forgotten devices count as strangers: %s", self._path, error)
        self._gather()

    def __bool__(self) -> bool:
        return bool(self._all)

    def knows(self, dev_eui: DevEui | None, dev_addr: int | None) -> bool:
        """Whether a frame is of a device that was forgotten. Cheap while nobody was."""
        if not self._all:
            return False
        if dev_eui is not None and self._digest(bytes(dev_eui)) in self._all:
            return True
        return dev_addr is not None and self._digest(dev_addr.to_bytes(4, "big")) in self._all

    def add(self, dev_eui: DevEui, dev_addrs: Collection[int]) -> None:
        """This one was forgotten; durable on return."""
        addresses = sorted(self._digest(address.to_bytes(4, "big")) for address in dev_addrs)
        device = self._digest(bytes(dev_eui))
        self._devices[device] = sorted({*self._devices.get(device, ()), *addresses})
        self._save()

    def welcome(self, dev_euis: Iterable[DevEui]) -> None:
        """These were entered (again): they are forgotten no longer."""
        if not self._devices:
            return
        back = [digest for dev_eui in dev_euis if (digest := self._digest(bytes(dev_eui))) in self._devices]
        for digest in back:
            del self._devices[digest]
        if back:
            self._save()

    def _digest(self, name: bytes) -> str:
        return hashlib.blake2s(name, key=self._key, digest_size=8).hexdigest()

    def _gather(self) -> None:
        self._all = frozenset(self._devices) | {one for addresses in self._devices.values() for one in addresses}

    def _save(self) -> None:
        _write(self._path, {"key": self._key.hex(), "devices": self._devices})
        self._gather()


def _write(path: Path, facts: dict[str, Any]) -> None:
    """Beside, then renamed; durable on return. OSError when the disk refuses."""
    beside = path.with_suffix(".new")
    with open(beside, "wb", opener=_private) as file:
        file.write(orjson.dumps(facts))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
