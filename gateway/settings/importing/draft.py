"""Our settings as they come together, and what became of each key of the files they come from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem
from gateway.model import GatewayEui
from gateway.settings.load import misfit
from gateway.settings.models import KINDS
from gateway.settings.toml_file import dotted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.settings.importing.foreign import Key, Sheet
    from gateway.settings.toml_file import KeyPath


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person who changes over decides."""

    radio: str | None = None  # a type of [radio]; None: what keeps the concentrator running with what this version has
    board: str | None = None
    region: str | None = None
    radios: tuple[str, ...] = ("virtual", "packet-forwarder")  # the types this version can run
    secret_folder: str | None = None  # where inline secrets (and copies of files) go; None: nothing can be written
    copy_secrets: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A foreign key whose meaning goes on."""

    file: str
    line: int
    key: str
    into: str | None  # our key; None: this gateway works like that anyway


@dataclass(frozen=True, slots=True)
class InlineSecret:
    """A secret that stood in a file, and the file of its own that it goes to. Its `repr` does not show it."""

    path: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretCopy:
    """A key or certificate that is copied beside the settings."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of the files."""

    values: dict[KeyPath, Any]  # of our settings
    taken: tuple[Taken, ...]
    left_out: tuple[Problem, ...]
    notes: tuple[str, ...]  # what the person should know or do
    inline_secrets: tuple[InlineSecret, ...]
    copies: tuple[SecretCopy, ...]


class Draft:
    """Collects values of ours, and settles each foreign key once: taken, as it is here anyway, or left out and why."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.values: dict[KeyPath, Any] = {}
        self.taken: list[Taken] = []
        self.left_out: list[Problem] = []
        self.notes: list[str] = []
        self.inline_secrets: list[InlineSecret] = []
        self.copies: list[SecretCopy] = []
        self._origin: dict[KeyPath, Key] = {}
        self._settled: set[int] = set()
        self._names: set[str] = set()  # of network servers
        self._again: Counter[str] = Counter()

    # --- settling foreign keys ---------------------------------------------------------------------------------------

    def settled(self, key: Key) -> bool:
        """Whether it is known what became of a key."""
        return id(key) in self._settled

    def take(self, key: Key | None, into: KeyPath | None = None) -> None:
        """The meaning of a key goes on, in a key of ours or (None) because this gateway works like that anyway."""
        if key is not None and self._settle(key):
            self.taken.append(Taken(key.file, key.line, str(key), dotted(into) if into else None))

    def take_all(self, keys: Iterable[Key], into: KeyPath | None = None) -> None:
        """The same for several keys."""
        for key in keys:
            self.take(key, into)

    def leave(self, key: Key | None, why: str) -> None:
        """A key cannot be taken over."""
        if key is not None and self._settle(key):
            self.left_out.append(Problem(key.file, key.line, str(key), why))

    def also_left(self, key: Key, why: str) -> None:
        """Part of a key that was taken could not be."""
        self.left_out.append(Problem(key.file, key.line, str(key), why))

    def leave_branch(self, sheet: Sheet, *path: str | int, why: str) -> None:
        """All that is not settled at or below a path cannot be taken over, for one reason: a line for each file."""
        seen: set[str] = set()
        for key in sheet.under(*path):
            if self._settle(key) and key.file not in seen:
                seen.add(key.file)
                self.left_out.append(Problem(key.file, key.line, dotted(path), why))

    def _settle(self, key: Key) -> bool:
        fresh = id(key) not in self._settled
        self._settled.add(id(key))
        return fresh

    # --- our values --------------------------------------------------------------------------------------------------

    def put(self, into: KeyPath, value: Any, key: Key) -> bool:
        """Take a key over into one of ours; the first of several files that disagree wins, and the others are told."""
        origin = self._origin.get(into)
        if origin is not None and self.values[into] != value:
            self.leave(key, f"says otherwise than {origin.place}, which was taken over")
            return False
        if (why := self._misfit(into, value)) is not None:
            self.leave(key, why)
            return False
        self.values[into] = value
        self._origin.setdefault(into, key)
        self.take(key, into)
        return True

    def _misfit(self, into: KeyPath, value: Any) -> str | None:
        kind, name = str(into[0]), str(into[-1])
        typed = {"type": self.values[*into[:-1], "type"]} if kind in KINDS else {}
        return misfit(kind, {**typed, name: value}, name)

    def read(self, key: Key | None, into: KeyPath, reader: Callable[[Any], Any]) -> bool:
        """Take a key over as what `reader` makes of it; ValueError of the reader says why not."""
        if key is None:
            return False
        try:
            value = reader(key.value)
        except ValueError as error:
            self.leave(key, str(error))
            return False
        return self.put(into, value, key)

    def get(self, *path: str) -> Any:
        """A value of ours so far."""
        return self.values.get(path)

    # --- what several programs have ----------------------------------------------------------------------------------

    def gateway_eui(self, key: Key | None, parse: Callable[[str], str] | None = None) -> None:
        """The EUI that servers know this gateway by."""
        if key is None:
            return
        if key.value in ("", None):
            self.take(key)
        else:
            self.read(key, ("gateway", "eui"), parse or plain_eui)

    def position(self, latitude: Key | None, longitude: Key | None, altitude: Key | None) -> None:
        """Where the antenna is; 0, 0 stands for not knowing in all these programs."""
        keys = [key for key in (latitude, longitude, altitude) if key is not None]
        at = [_number(key) for key in (latitude, longitude)]
        if all(not _number(key) for key in keys if key is not altitude) and at != [None, None]:
            self.take_all(keys)
        elif at[0] is None or at[1] is None or abs(at[0]) > 90 or abs(at[1]) > 180:
            for key in keys:
                self.leave(key, "is no part of a position: latitude and longitude are two numbers of degrees")
        elif latitude is not None and longitude is not None:
            self.put(("gateway", "latitude"), float(at[0]), latitude)
            self.put(("gateway", "longitude"), float(at[1]), longitude)
            self.read(altitude, ("gateway", "altitude_m"), _altitude)

    def new_lns(self, host: str) -> str:
        """A name of its own for a network server."""
        base = re.sub(r"[^A-Za-z0-9]+", "-", host).strip("-")[:50].strip("-") or "server"
        name = base
        while name in self._names:
            self._again[base] += 1
            name = f"{base}-{self._again[base] + 1}"
        self._names.add(name)
        return name

    def secret_file(self, key: Key, into: KeyPath, source: str) -> None:
        """A certificate, key or token that lies in a file: it stays there, or is copied beside the settings."""
        if not source.startswith("/") or not source.isprintable():
            self.leave(key, f"names {shown(source)}, which is no whole path")
        elif self.wishes.copy_secrets and self.wishes.secret_folder:
            copy = SecretCopy(source, self._beside(into))
            if self.put(into, copy.path, key):
                self.copies.append(copy)
        else:
            self.put(into, source, key)

    def inline_secret(self, key: Key, into: KeyPath) -> None:
        """A secret that stands in the file: it goes to a file of its own, never into the settings."""
        if self.wishes.secret_folder is None:
            self.values[into] = f"/etc/lorawan-gateway/secrets/{into[1]}-{into[-1]}".removesuffix("_file")
            self.leave(
                key,
                f"is a secret, and those are not printed: put it into {self.values[into]}, or use --output, which does",
            )
        elif self.put(into, path := self._beside(into), key):
            self.inline_secrets.append(InlineSecret(path, str(key.value)))

    def _beside(self, into: KeyPath) -> str:
        return f"{self.wishes.secret_folder}/{into[1]}-{into[-1]}".removesuffix("_file")

    def finish(self) -> Imported:
        """All of it, file by file in the order of their lines."""
        return Imported(
            dict(self.values),
            tuple(sorted(self.taken, key=lambda one: (one.file, one.line))),
            tuple(sorted(self.left_out, key=lambda one: (one.file, one.line))),
            tuple(self.notes),
            tuple(self.inline_secrets),
            tuple(self.copies),
        )


def plain_eui(value: object) -> str:
    """Sixteen hex digits, with or without separators between the bytes."""
    text = re.sub(r"[-:.]", "", value) if isinstance(value, str) else ""
    try:
        return str(GatewayEui.parse(text.removeprefix("0x").removeprefix("0X")))
    except ValueError:
        raise ValueError(f"is {shown(value)}, not the 16 hex digits of an EUI") from None


def seconds(value: object) -> str:
    """A number of seconds as a duration of ours."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError(f"is {shown(value)}, not a number of seconds from 1 to 86400")
    return f"{value:g}s" if value == round(value) else f"{value * 1000:.0f}ms"


def decibels(low: float, high: float) -> Callable[[object], float]:
    """A gain within bounds."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"is {shown(value)}; it lies between {low:g} and {high:g} dBi")
        return float(value)

    return read


def port(value: object) -> int:
    """The port of a server."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:9])
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65_535:
        raise ValueError(f"is {shown(value)}; a port is a number from 1 to 65535")
    return value


def _number(key: Key | None) -> float | None:
    value = None if key is None else key.value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _altitude(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -500 <= value <= 9000:
        raise ValueError(f"is {shown(value)}; it lies between -500 and 9000 m")
    return float(value)
