"""`bench.toml`: which hardware is where. Every mistake at once, with line and key; without a file all is virtual."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem, SettingsError
from gateway.regions import region_named
from gateway.settings.models import RADIOS
from gateway.settings.toml_file import KeyPath, TomlFile, nearest, parse_toml, read_toml, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NAMED_BY = "LORAWAN_GATEWAY_BENCH"
BESIDE = Path(__file__).with_name("bench.toml")

NODE_TYPES = ("rak3172", "wio-e5")
CONCENTRATOR_TYPES = ("virtual", "libloragw", "sx1302", "packet-forwarder")

VIRTUAL_LOSS_DB = 60.0
"""Fixed attenuators on the virtual bench, as on a real one: nobody feeds 14 dBm into a receiver."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One modem."""

    name: str
    type: str
    port: str | None = None  # None: virtual
    baud: int | None = None
    loss_db: float = VIRTUAL_LOSS_DB  # fixed attenuators and cables between it and the concentrator
    attenuator: str | None = None


@dataclass(frozen=True, slots=True)
class AttenuatorEntry:
    """One attenuator that can be set."""

    name: str
    command: tuple[str, ...] = ()  # with {db}
    port: str | None = None
    baud: int = 115_200
    line: str = ""  # with {db}, written to the port
    lowest_db: float = 0.0
    highest_db: float = 63.0
    step_db: float = 1.0


@dataclass(frozen=True, slots=True)
class RelayEntry:
    """A relay: an LCUS module on a serial port, or two commands."""

    port: str | None = None
    channel: int = 1
    baud: int = 9600
    inverted: bool = False  # wired to its normally closed contact: on is open
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BenchFile:
    """A bench, as its file describes it."""

    concentrator: str = "virtual"
    region: str = "EU868"
    radio: Mapping[str, Any] = field(default_factory=dict)  # further keys of [radio] in the gateway's settings
    rssi_offset_db: float | None = None  # what the settings have now, for the proposal of a better one
    gps: Mapping[str, Any] = field(default_factory=dict)  # [gps] of the gateway's settings
    via: tuple[str, ...] = ()  # what stands before each command: ssh and a host
    command: tuple[str, ...] = ()
    folder: str | None = None  # on the machine of the gateway
    nodes: tuple[NodeEntry, ...] = ()
    attenuators: tuple[AttenuatorEntry, ...] = ()
    power: RelayEntry | None = None
    usb: RelayEntry | None = None
    judge_listen: str = "127.0.0.1:0"
    judge_address: str | None = None  # as the gateway reaches it
    profile: str | None = None
    long_day_s: float | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether no hardware takes part."""
        return self.concentrator == "virtual"


VIRTUAL = BenchFile(
    nodes=(
        NodeEntry("rak-1", "rak3172", attenuator="rak-1"),
        NodeEntry("rak-2", "rak3172", attenuator="rak-2"),
        NodeEntry("e5-1", "wio-e5", attenuator="e5-1"),
        NodeEntry("e5-2", "wio-e5", attenuator="e5-2"),
    ),
)
"""Four modems, each behind an attenuator of its own."""


def chosen() -> Path | None:
    """The bench file to use: that of the environment, else the one in this folder, else none."""
    named = os.environ.get(NAMED_BY)
    if named:
        return Path(named)
    return BESIDE if BESIDE.exists() else None


def load(path: Path | None) -> BenchFile:
    """The bench of a file, or the virtual one; SettingsError or UsageError for a file that is wrong."""
    return VIRTUAL if path is None else _checked(read_toml(path))


def parse(content: bytes, name: str = "bench.toml") -> BenchFile:
    """The bench of these bytes; SettingsError with every mistake in them."""
    return _checked(parse_toml(content, name))


# --- shapes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """What a key may hold: a test for it, and what to say when it does not pass."""

    fits: Callable[[Any], bool]
    says: str


def _number(low: float, high: float, unit: str = "") -> Key:
    return Key(
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high,
        f"is a number from {low:g} to {high:g}{unit}",
    )


def _one_of(*words: str) -> Key:
    return Key(lambda value: value in words and isinstance(value, str), f"is one of {', '.join(words)}")


_TEXT = Key(lambda value: isinstance(value, str) and bool(value.strip()), "is a text")
_FLAG = Key(lambda value: isinstance(value, bool), "is true or false")
_WORDS = Key(
    lambda value: isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value),
    'is a list of words, such as ["uhubctl", "-l", "1-1", "-a", "off"]',
)
_ADDRESS = Key(
    lambda value: isinstance(value, str) and re.fullmatch(r"[^\s:]+:\d{1,5}", value, re.ASCII) is not None,
    'is HOST:PORT, such as "0.0.0.0:1730"',
)
_BAUD = _number(300, 4_000_000)
_DURATION = Key(
    lambda value: isinstance(value, str) and re.fullmatch(r"\d{1,5}(s|min|h|d)", value, re.ASCII) is not None,
    'is a duration such as "10min" or "24h"',
)
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

_RELAY = {
    "port": _TEXT, "channel": _number(1, 16), "baud": _BAUD, "inverted": _FLAG, "on": _WORDS, "off": _WORDS,
}  # fmt: skip
_CONCENTRATOR = {
    "type": _one_of(*CONCENTRATOR_TYPES), "region": _TEXT, "via": _WORDS, "command": _WORDS,
    "folder": _TEXT,
}  # fmt: skip
_TABLES: Mapping[str, Mapping[str, Key]] = {
    "concentrator": _CONCENTRATOR,
    "power": _RELAY,
    "usb": _RELAY,
    "gps": {"device": _TEXT, "baud": _BAUD, "protocol": _one_of("nmea", "ublox")},
    "judge": {"listen": _ADDRESS, "address": _ADDRESS},
    "measure": {"profile": _one_of("quick", "short", "long"), "long_day": _DURATION},
}
_NODE = {
    "name": _TEXT, "type": _one_of(*NODE_TYPES), "port": _TEXT, "baud": _BAUD, "loss_db": _number(0, 200, " dB"),
    "attenuator": _TEXT,
}  # fmt: skip
_ATTENUATOR = {
    "command": _WORDS, "port": _TEXT, "baud": _BAUD, "line": _TEXT, "lowest_db": _number(0, 200, " dB"),
    "highest_db": _number(0, 200, " dB"), "step_db": _number(0.01, 60, " dB"),
}  # fmt: skip


# --- reading --------------------------------------------------------------------------------------------------------


def _checked(file: TomlFile) -> BenchFile:
    problems = sorted(_problems(file), key=lambda problem: problem.line)
    if problems:
        raise SettingsError(problems, hint="hil_tests/bench.example.toml explains each key")
    return _built(file.table)


def _problems(file: TomlFile) -> Iterator[Problem]:
    table = file.table
    known = [*_TABLES, "node", "attenuator"]
    for name, value in table.items():
        if name not in known:
            yield file.problem((name,), _unknown(name, known))
        elif name in _TABLES:
            yield from _table(file, (name,), value, _radio_keys(table) if name == "concentrator" else _TABLES[name])
    nodes, attenuators = table.get("node", []), table.get("attenuator", {})
    if not isinstance(nodes, list):
        yield file.problem(("node",), "is a list: [[node]] for each modem")
        nodes = []
    if not isinstance(attenuators, dict):
        yield file.problem(("attenuator",), "is a table for each attenuator: [attenuator.NAME]")
        attenuators = {}
    for at, node in enumerate(nodes):
        yield from _table(file, ("node", at), node, _NODE)
    for name, attenuator in attenuators.items():
        yield from _table(file, ("attenuator", name), attenuator, _ATTENUATOR)
    yield from _sense(file, table, nodes, attenuators)


def _radio_keys(table: Mapping[str, Any]) -> Mapping[str, Key]:
    """Beside our own keys, those that [radio] of the gateway has for this type; what they hold, the gateway checks."""
    concentrator = table.get("concentrator")
    type_ = concentrator.get("type") if isinstance(concentrator, dict) else None
    fields = RADIOS[type_].model_fields if isinstance(type_, str) and type_ in RADIOS and type_ != "virtual" else {}
    anything = Key(lambda value: not isinstance(value, dict), "is a value")
    return {**dict.fromkeys(fields, anything), **_CONCENTRATOR}


def _table(file: TomlFile, path: KeyPath, value: Any, keys: Mapping[str, Key]) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield file.problem(path, "is a table")
        return
    for name, entry in value.items():
        if name not in keys:
            yield file.problem((*path, name), _unknown(name, keys))
        elif not keys[name].fits(entry):
            yield file.problem((*path, name), f"is {shown(entry)}; it {keys[name].says}")


def _unknown(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    meant = nearest(name, known)
    return "is unknown" + (f"; did you mean {meant}?" if meant else "")


def _sense(  # noqa: C901 - one sentence after another
    file: TomlFile, table: Mapping[str, Any], nodes: list[Any], attenuators: dict[str, Any]
) -> Iterator[Problem]:
    """What fits by itself and makes no bench together."""
    concentrator = table.get("concentrator", {})
    concentrator = concentrator if isinstance(concentrator, dict) else {}
    type_ = concentrator.get("type", "virtual")
    if type_ not in CONCENTRATOR_TYPES:
        return  # which is told already
    virtual = type_ == "virtual"
    region = concentrator.get("region", "EU868")
    if isinstance(region, str) and not _is_region(region):
        yield file.problem(("concentrator", "region"), f"is {shown(region)}, no region of the gateway")
    elif virtual and region != "EU868":
        yield file.problem(("concentrator", "region"), "the virtual bench's modems know EU868 alone")
    if not virtual and not nodes:
        yield file.problem(("concentrator", "type"), "a real concentrator needs at least one modem: [[node]]")
    names: set[str] = set()
    for at, node in enumerate(nodes):
        if not isinstance(node, dict):
            continue
        name = node.get("name")
        if isinstance(name, str) and (name in names or not re.fullmatch(r"[A-Za-z0-9_-]{1,20}", name)):
            twice = "is the name of another modem already" if name in names else "has letters, digits, - and _ only"
            yield file.problem(("node", at, "name"), twice)
        names.add(str(name))
        for key in ("name", "type"):
            if key not in node:
                yield file.problem(("node", at), f"needs a {key}")
        if virtual and "port" in node:
            yield file.problem(("node", at, "port"), "a real modem is not heard by a virtual concentrator")
        if not virtual and "port" not in node:
            yield file.problem(("node", at), "needs a port: a virtual modem is not heard by a real concentrator")
        wanted = node.get("attenuator")
        if isinstance(wanted, str) and not virtual and wanted not in attenuators:
            yield file.problem(("node", at, "attenuator"), f"there is no [attenuator.{wanted}]")
    yield from _switches(file, table, attenuators)


def _switches(file: TomlFile, table: Mapping[str, Any], attenuators: dict[str, Any]) -> Iterator[Problem]:
    for name in ("power", "usb"):
        relay = table.get(name)
        if isinstance(relay, dict) and ("port" in relay) is ("on" in relay and "off" in relay):
            yield file.problem((name,), "needs either a port, or on and off as commands")
    for name, attenuator in attenuators.items():
        if not isinstance(attenuator, dict):
            continue
        if ("command" in attenuator) is ("port" in attenuator and "line" in attenuator):
            yield file.problem(("attenuator", name), "needs either a command, or a port and a line")
        told = [key for key in ("command", "line") if key in attenuator]
        for key in told:
            words = attenuator[key] if key == "command" else [attenuator[key]]
            if isinstance(words, list) and not _takes_decibels(words):
                yield file.problem(("attenuator", name, key), "has to say {db} somewhere, and no other braces")


def _takes_decibels(words: list[Any]) -> bool:
    try:
        ends = [[word.format(db=value) for word in words if isinstance(word, str)] for value in (1.5, 20.5)]
    except (KeyError, IndexError, ValueError, AttributeError):
        return False
    return ends[0] != ends[1]


def _is_region(name: str) -> bool:
    try:
        region_named(name)
    except (KeyError, ValueError):
        return False
    return True


def _built(table: Mapping[str, Any]) -> BenchFile:
    concentrator = dict(table.get("concentrator", {}))
    type_ = concentrator.pop("type", "virtual")
    ours = {key: concentrator.pop(key) for key in _CONCENTRATOR if key in concentrator}
    judge, measure = table.get("judge", {}), table.get("measure", {})
    nodes = tuple(_node(entry, virtual=type_ == "virtual") for entry in table.get("node", []))
    return BenchFile(
        concentrator=type_,
        region=ours.get("region", "EU868"),
        radio=concentrator,
        rssi_offset_db=concentrator.get("rssi_offset_db"),
        gps=dict(table.get("gps", {})),
        via=tuple(ours.get("via", ())),
        command=tuple(ours.get("command", ())),
        folder=ours.get("folder"),
        nodes=nodes or VIRTUAL.nodes,
        attenuators=tuple(
            AttenuatorEntry(name=name, **_tuples(one)) for name, one in table.get("attenuator", {}).items()
        ),
        power=_relay(table.get("power")),
        usb=_relay(table.get("usb")),
        judge_listen=judge.get("listen", "127.0.0.1:0"),
        judge_address=judge.get("address"),
        profile=measure.get("profile"),
        long_day_s=_duration_s(measure["long_day"]) if "long_day" in measure else None,
    )


def _node(entry: Mapping[str, Any], *, virtual: bool) -> NodeEntry:
    usual = {"attenuator": entry["name"]} if virtual else {}
    return NodeEntry(**{**usual, **entry})


def _relay(entry: Mapping[str, Any] | None) -> RelayEntry | None:
    return None if entry is None else RelayEntry(**_tuples(entry))


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _duration_s(text: str) -> float:
    found = re.fullmatch(r"(\d+)(s|min|h|d)", text, re.ASCII)
    assert found is not None
    return float(int(found[1]) * _SECONDS[found[2]])
