"""Who may know whom: the tables below are the rules, and every import of the package is read against them.

Imports that only type checkers see count too: a name is knowledge, whoever reads it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

EVERYBODY = frozenset({"model", "errors", "forecast"})
PURE = frozenset({"lorawan", "regions", "wire"})

# A room, or one module of it, and what it knows apart from itself. A room is a folder or a module of gateway/; "a.b" is
# that module of the room alone, and its row stands instead of the room's.
MAY_KNOW: dict[str, frozenset[str]] = {
    "model": frozenset(),
    "errors": frozenset(),
    "forecast": frozenset(),
    # What decides: bytes and values only.
    "regions": EVERYBODY | PURE,
    "lorawan": EVERYBODY | PURE,
    "wire": EVERYBODY | PURE,
    "wire.ttn_events": EVERYBODY | PURE | {"radio.airtime"},
    # The shells: each waits for one thing of the outside, none for another shell.
    "store": EVERYBODY | PURE,
    "store.airtime_file": EVERYBODY | PURE | {"radio.duty_cycle"},
    "decoding": EVERYBODY | PURE,
    "delivery": EVERYBODY | PURE | {"lines"},
    "lns": EVERYBODY | PURE | {"downlink", "journal", "lines"},
    "radio": EVERYBODY | PURE,
    # What shells that go out open: sockets, TLS, a broker; how long to wait before trying again.
    "lines": EVERYBODY | PURE,
    "host": EVERYBODY,
    "gps": EVERYBODY,
    # An air on a desk: shares the arithmetic of the radio and its face, so that it can stand in for one.
    "simulator": EVERYBODY | PURE | {"radio.airtime", "radio.concentrator", "radio.counter"},
    "simulator.gnss": EVERYBODY,
    "simulator.real_time": EVERYBODY | PURE | {"radio.chip", "radio.counter"},
    "simulator.shared_air": EVERYBODY | PURE | {"radio.chip", "radio.pipe"},
    "radio.virtual": EVERYBODY | PURE | {"simulator"},
    # What people write and read. Commands work on store and catalogue while no daemon runs, and start it.
    "settings": EVERYBODY | PURE | {"radio.boards"},
    "console": EVERYBODY | PURE | {"settings", "store", "decoding", "host", "daemon"},
    "console.asking": EVERYBODY | PURE | {"settings", "store", "host", "parts", "daemon"},
    "console.scan_commands": EVERYBODY | PURE | {"settings"}
    | {"radio.board", "radio.board_table", "radio.boards", "radio.calibration", "radio.scanning"},
    "console.sink_commands": EVERYBODY | PURE | {"settings", "store", "control"},
    "console.simulate_commands": EVERYBODY | PURE | {"simulator"},
    "console.demo": EVERYBODY | PURE | {"settings", "store", "daemon", "parts", "status"},
    # The stories. Only the daemon knows everybody.
    "uplink": EVERYBODY | PURE | {"store", "decoding", "radio.concentrator"},
    "downlink": EVERYBODY | PURE | {"journal", "radio.concentrator"},
    # What becomes of frames and downlinks, and who is told: a seam, and what stands behind it in a daemon.
    "journal": EVERYBODY,
    "trace": EVERYBODY | PURE | {"journal", "radio.shares", "console.feed"},
    # The gateway as a network of its own: decides with lorawan and regions, keeps and sends through who is given to it.
    "serving": EVERYBODY | PURE | {"downlink", "journal", "radio.concentrator"},
    "reread": EVERYBODY | PURE | {"store", "uplink"},
    # Whose channels the radio hears.
    "tuning": EVERYBODY | PURE | {"radio.channels", "radio.chip"},
    # What a running gateway can be asked to do, and a stopped one's files.
    "control": EVERYBODY | PURE | {"store", "delivery", "uplink", "reread", "serving", "forgetting"},
    # Erasing a device, everywhere: of each part that keeps something it asks that it forget.
    "forgetting": EVERYBODY | PURE | {"store", "delivery.sink"},
    "history": EVERYBODY | PURE | {"store", "lns.backlog", "uplink"},
    "custody": EVERYBODY | PURE | {"store", "delivery"},
    # What stands behind each type that the settings name.
    "parts": EVERYBODY | PURE | {"settings", "decoding", "delivery", "lines", "lns", "journal", "radio", "simulator"}
    | {"gps", "store.retention", "store.devices", "forgetting"},
    # The facts of the running daemon in one answer, asked of each part.
    "status": EVERYBODY | PURE | {"store", "decoding", "delivery", "lns", "serving", "uplink"}
    | {"radio.concentrator", "console.feed", "trace", "tuning"},
    "daemon": EVERYBODY | PURE | {"settings", "store", "decoding", "delivery", "lns", "radio", "host", "console"}
    | {"simulator", "uplink", "downlink", "serving", "parts", "status", "control", "custody", "history", "journal"}
    | {"forgetting", "gps", "tuning"},
    "__main__": frozenset({"console.cli"}),
}  # fmt: skip

# Rooms and modules that open nothing and wait for nothing: time, chance and bytes come in as arguments.
NO_OUTSIDE = EVERYBODY | PURE | {"host.dating", "host.trust", "journal", "lines.pace", "delivery.ngsi_holdings"} | {
    "lns.filters", "radio.airtime", "radio.channels", "radio.chip", "radio.counter", "radio.duty_cycle",
    "radio.liveness", "radio.pipe", "radio.schedule", "radio.shares", "radio.transmitters",
    "radio.board", "radio.board_table", "radio.boards", "radio.calibration", "radio.fifo", "radio.gps_time",
    "gps.framing", "gps.gpsd", "gps.nmea", "gps.place", "gps.receiver", "gps.scales", "gps.tongues", "gps.ubx",
    "simulator.chance", "simulator.gnss.receiver",
    "radio.libloragw_abi", "radio.libloragw_setup", "radio.libloragw_words", "settings.importing", "tuning.tuner",
} | {f"simulator.sx1302.{module}" for module in (
    "bridge", "chip", "faults", "fifo", "microcontrollers", "orders", "radios", "registers", "timing", "transmitter",
    "tuning",
)}  # fmt: skip
OUTSIDE = frozenset(
    {
        "asyncio",
        "concurrent",
        "http",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "sched",
        "secrets",
    }
    | {
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
    | {"urllib"}
)

# Every dependency that pyproject.toml names, what it is imported as (with what it stands on, where its interface shows
# that), and the rooms that may use it.
DEPENDENCIES: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "aiohttp": (("aiohttp", "yarl"), frozenset({"console", "lns", "delivery"})),
    "aiomqtt": (("aiomqtt",), frozenset({"lines", "delivery", "lns"})),
    "paho-mqtt": (("paho",), frozenset({"lines"})),
    "cryptography": (("cryptography",), frozenset({"lorawan", "store", "lines"})),
    "jinja2": (("jinja2",), frozenset({"console"})),
    # Not a mechanism but a faster json: wherever JSON is read or written.
    "orjson": (("orjson",), frozenset({"wire", "store", "decoding", "console", "lns", "tuning"})),
    "prometheus-client": (("prometheus_client",), frozenset({"host"})),
    "pydantic": (("pydantic", "pydantic_core"), frozenset({"settings"})),
    "pyyaml": (("yaml",), frozenset({"decoding"})),
    "quickjs-ng": (("_quickjs",), frozenset({"decoding"})),
}


# The same of what only some gateways need: extras of pyproject.toml, imported when the settings ask for them.
EXTRAS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "pyserial": (("serial",), frozenset({"radio", "gps"})),
    "spidev": (("spidev",), frozenset({"radio"})),
}


def breaches(package: Path) -> list[str]:
    """Every import below `package` that the tables do not allow, a line each."""
    modules = {module_name(package, file): file for file in package.rglob("*.py")}
    return [
        f"{name}: {breach}"
        for name, file in sorted(modules.items())
        for target in imports(file, name, modules)
        if (breach := breach_of(name, target))
    ]


def module_name(package: Path, file: Path) -> str:
    """`lorawan.frame`; `lorawan` for its __init__; `` for the package's own."""
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, name: str, modules: dict[str, Path]) -> list[str]:
    """What a module imports, wherever in it: `gateway.model`, `asyncio`, `gateway.console.web`."""
    inside = ["gateway", *name.split(".")] if name else ["gateway"]
    folder = inside if file.name == "__init__.py" else inside[:-1]
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                found += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = ".".join([*folder[: len(folder) - node.level + 1], *filter(None, [node.module])])
                base = base if node.level else node.module
                found += [submodule(base, alias.name, modules) for alias in node.names]
            case ast.Call(
                func=ast.Name("__import__") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(text)), *_]
            ):
                found.append(text)
    return found


def submodule(base: str, name: str, modules: dict[str, Path]) -> str:
    """`from base import name` names a module where there is one of that name, else something in `base`."""
    inner = f"{base}.{name}".removeprefix("gateway.")
    return f"gateway.{inner}" if inner in modules and room_of(base) == "gateway" else base


def breach_of(name: str, target: str) -> str | None:
    """Why module `name` may not import `target`; None when it may."""
    top, _, ours = target.partition(".")
    if top == "gateway":
        return neighbour_breach(name, ours)
    if top == "codecs" and ours:
        return f"imports {target}, but the catalogue is data"
    if top in sys.stdlib_module_names:
        rule = row(name, NO_OUTSIDE)
        return f"decides, and so may not import {top}" if rule and top in OUTSIDE else None
    known = [*DEPENDENCIES.values(), *EXTRAS.values()]
    rooms = next((rooms for names, rooms in known if top in names), None)
    if rooms is None:
        return f"imports {top}, which is no dependency of ours"
    return None if row(name, rooms) else f"imports {top}, which belongs to {', '.join(sorted(rooms))}"


def neighbour_breach(name: str, target: str) -> str | None:
    """Why one of our modules may not import another of ours."""
    if not target or not name:
        return None  # the version; the package itself
    if room_of(name) == room_of(target):
        # What decides in a room that also waits must not wait through its neighbours there.
        return f"decides, and so may not know {target}" if name in NO_OUTSIDE and not row(target, NO_OUTSIDE) else None
    rule = row(name, MAY_KNOW)
    if rule is None:
        return f"belongs to no room of the table, and knows {target}"
    return None if row(target, MAY_KNOW[rule]) else f"may not know {target}"


def room_of(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def row(name: str, table: dict[str, frozenset[str]] | frozenset[str]) -> str | None:
    """The entry that stands for a module: its own, else its room's."""
    parts = name.split(".")
    return next((entry for end in range(len(parts), 0, -1) if (entry := ".".join(parts[:end])) in table), None)


def test_every_import_of_the_package_is_allowed():
    assert breaches(CHECKOUT / "gateway") == []


def test_every_room_stands_in_the_table():
    rooms = {room_of(module_name(CHECKOUT / "gateway", file)) for file in (CHECKOUT / "gateway").rglob("*.py")}
    assert rooms - {""} <= MAY_KNOW.keys()


def test_every_dependency_stands_in_the_table_and_is_used_where_it_says():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.split(r"[<>=!~ \[;]", wish)[0] for wish in project["dependencies"]} == DEPENDENCIES.keys()
    extras = {
        re.split(r"[<>=!~ \[;]", wish)[0] for wishes in project["optional-dependencies"].values() for wish in wishes
    }
    assert EXTRAS.keys() <= extras
    files = {module_name(CHECKOUT / "gateway", file): file for file in (CHECKOUT / "gateway").rglob("*.py")}
    used = {(room_of(name), room_of(target)) for name, file in files.items() for target in imports(file, name, files)}
    promised = {(room, names[0]) for names, rooms in DEPENDENCIES.values() for room in rooms}
    assert promised <= used


@pytest.mark.parametrize(
    ("module", "line", "breach"),
    [
        ("model", "import gateway.errors", "model: may not know errors"),
        ("lorawan/frame", "from gateway.store import database", "lorawan.frame: may not know store"),
        ("lorawan/frame", "import time", "lorawan.frame: decides, and so may not import time"),
        ("lorawan/frame", "def now():\n    import time", "lorawan.frame: decides, and so may not import time"),
        ("regions/eu868", "from asyncio.events import sleep", "regions.eu868: decides, and so may not import asyncio"),
        ("wire/own_json", "if TYPE_CHECKING:\n    from socket import socket", "decides, and so may not import socket"),
        ("radio/airtime", "import random", "radio.airtime: decides, and so may not import random"),
        ("radio/airtime", "from gateway.radio import gps", "radio.airtime: decides, and so may not know radio.gps"),
        ("delivery/mqtt", "from gateway.store.cursors import Cursor", "delivery.mqtt: may not know store.cursors"),
        ("delivery/mqtt", "from ..store.cursors import Cursor", "delivery.mqtt: may not know store.cursors"),
        (
            "delivery/mqtt",
            "import importlib\nimportlib.import_module('gateway.lns')",
            "delivery.mqtt: may not know lns",
        ),
        ("radio/gps", "from gateway.simulator import air", "radio.gps: may not know simulator"),
        ("simulator/air", "from gateway.radio.gps import Gps", "simulator.air: may not know radio.gps"),
        ("uplink", "from gateway import daemon", "uplink: may not know daemon"),
        ("store/devices", "import codecs.heyliot", "store.devices: imports codecs.heyliot, but the catalogue is data"),
        ("store/devices", "import requests", "store.devices: imports requests, which is no dependency of ours"),
        (
            "store/devices",
            "from pydantic import BaseModel",
            "store.devices: imports pydantic, which belongs to settings",
        ),
        ("attic/boxes", "from gateway import model", "attic.boxes: belongs to no room of the table, and knows model"),
    ],
)
def test_each_breach_is_seen(tmp_path, module, line, breach):
    for name in ("daemon", "model", "radio/gps", module):
        file = tmp_path.joinpath(name).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        file.touch()
    tmp_path.joinpath(module).with_suffix(".py").write_text(line)
    found = breaches(tmp_path)
    assert len(found) == 1
    assert found[0].endswith(breach)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lorawan/crypto", "from cryptography.hazmat.primitives.cmac import CMAC"),
        (
            "lorawan/frame",
            "from gateway.model import DevAddr\nfrom gateway.regions.region import Region\nimport struct",
        ),
        ("lorawan/frame", "from . import crypto"),
        ("store/log", "import codecs, sqlite3, time\nfrom .cursors import Cursor"),
        ("radio/virtual", "from gateway.simulator.air import Air"),
        ("simulator/chip", "from gateway.radio.airtime import airtime_us\nimport random"),
        ("console/web", "from gateway import __version__\nfrom aiohttp import web"),
        ("daemon", "import gateway.lns.semtech_udp, gateway.delivery.mqtt, gateway.store"),
    ],
)
def test_what_is_allowed_is_no_breach(tmp_path, module, line):
    file = tmp_path.joinpath(module).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    file.write_text(line)
    assert breaches(tmp_path) == []
