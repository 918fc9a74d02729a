"""`simulate …`: parts of the world around a gateway, for whoever has no hardware at hand."""

from __future__ import annotations

import argparse
import os
import re
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, add_group, seconds, whole
from gateway.console.run_commands import stopping_is_fine
from gateway.console.terminal import clean, emit_line, say
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.console.arguments import Commands
    from gateway.errors import GatewayError
    from gateway.simulator.scenario import Scenario
    from gateway.simulator.sx1302.board import Event
    from gateway.simulator.sx1302.pty import Lines
    from gateway.simulator.sx1302.site import Site

LONGEST_DRIVER_PATH = 49
"""Semtech's library copies the path of a USB device into fifty bytes without counting."""

_CHIP_HELP = """\
PATH becomes a serial device on which a driver finds an SX1302 behind a Corecell USB bridge.
Semtech's own library and packet forwarder start on it, hear a small simulated city, and send;
every frame heard and sent is a line on stdout. Lines on stdin:

  fault NAME       break it; `fault clear` mends everything
  temperature CELSIUS
                   of the board, as its sensor shows it
  uplink HEX FREQUENCY_HZ SPREADING_FACTOR [BANDWIDTH_HZ [LEVEL_DBM]]
                   put a frame on the air; the level is that at the antenna

"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "simulate", "hardware that is not there")
    parser = add_command(
        group, "chip", chip, "an SX1302 concentrator on a pseudo-terminal", more=_CHIP_HELP + _faults(), json=True
    )
    parser.add_argument("--pty", metavar="PATH", type=Path, required=True, help="where the device appears")
    parser.add_argument("--fault", metavar="NAME", action="append", default=[], help="broken from the start")
    parser.add_argument("--scenario", metavar="FILE", type=Path, help="who lives around it (default: the demo's city)")
    parser.add_argument("--devices", metavar="FILE.csv", type=Path, help="write who that is, for `device import`")
    parser.add_argument("--seed", metavar="N", type=whole, help="the same seed gives the same fading and the same EUI")
    parser.add_argument("--sx1303", action="store_true", help="an SX1303, with fine timestamps")
    parser.add_argument("--gps", action="store_true", help="a pulse each second, as a GPS gives it")
    parser.add_argument("--ppm", metavar="N", type=_ppm, default=0, help="how much too fast its crystal is")
    parser.add_argument("--for", dest="for_s", metavar="SECONDS", type=seconds, help="stop by itself after this time")
    _register_gps(group)


_GPS_HELP = """\
PATH becomes a serial device on which a receiver speaks once a second: NMEA, and UBX once it is
asked for it. Its seconds begin with those of the wall clock, as do the pulses of
`simulate chip --gps`. Lines on stdin:

  fault NAME       break it; `fault clear` mends everything

"""


def _register_gps(group: Commands) -> None:
    parser = add_command(group, "gps", gps, "a GPS receiver on a pseudo-terminal", more=_GPS_HELP + _gps_faults())
    parser.add_argument("--pty", metavar="PATH", type=Path, required=True, help="where the device appears")
    parser.add_argument("--fault", metavar="NAME", action="append", default=[], help="broken from the start")
    parser.add_argument("--latitude", metavar="DEGREES", type=float, default=43.6119, help="where it is (43.6119)")
    parser.add_argument("--longitude", metavar="DEGREES", type=float, default=3.8772, help="where it is (3.8772)")
    parser.add_argument("--altitude", metavar="METRES", type=float, default=57.0, help="where it is (57)")
    parser.add_argument(
        "--latency", metavar="MS", type=whole, default=120, help="how long after a second it speaks of it (120)"
    )
    parser.add_argument("--seed", metavar="N", type=whole, default=1, help="the same seed gives the same scatter")
    parser.add_argument("--for", dest="for_s", metavar="SECONDS", type=seconds, help="stop by itself after this time")


def _ppm(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from -9999 to 9999")
    return int(text)


def _gps_faults() -> str:
    from gateway.simulator.gnss.receiver import EXPLAINED

    return "\n".join(["faults:", *(f"  {fault:16} {text}" for fault, text in EXPLAINED.items())])


def _faults() -> str:
    from gateway.simulator.sx1302.faults import EXPLAINED

    return "\n".join(["faults:", *(f"  {fault:16} {text}" for fault, text in EXPLAINED.items())])


def chip(arguments: argparse.Namespace) -> int:
    """Serve the simulated concentrator until it is told to stop."""
    with stopping_is_fine():
        _serve(arguments)
    return 0


def gps(arguments: argparse.Namespace) -> int:
    """Serve the simulated receiver until it is told to stop."""
    with stopping_is_fine():
        _serve_gps(arguments)
    return 0


def _serve_gps(arguments: argparse.Namespace) -> None:
    from gateway.simulator.chance import Chance
    from gateway.simulator.gnss.receiver import SimulatedReceiver, fault_named
    from gateway.simulator.gnss.server import ReceiverServer
    from gateway.simulator.sx1302.pty import Port

    if not (-90 <= arguments.latitude <= 90 and -180 <= arguments.longitude <= 180):
        raise UsageError("there is no such place", hint="--latitude is -90 to 90, --longitude -180 to 180")
    receiver = SimulatedReceiver(
        Chance(arguments.seed),
        latitude=arguments.latitude,
        longitude=arguments.longitude,
        altitude_m=arguments.altitude,
    )
    receiver.faults.update(map(fault_named, arguments.fault))
    ahead_us = (time.time_ns() - time.monotonic_ns()) // 1_000  # a step of the wall clock is none of the satellites
    port = Port(arguments.pty.absolute())
    server = ReceiverServer(
        receiver,
        port,
        utc_us=lambda: time.monotonic_ns() // 1_000 + ahead_us,
        orders=_stdin(),
        complain=_complain,
        latency_us=arguments.latency * 1_000,
    )
    try:
        if not receiver.faults or "unplug" not in receiver.faults:
            port.plug()
        print(f"a GPS receiver on {port.path}", flush=True)
        until_us = None
        if arguments.for_s is not None:
            until_us = time.monotonic_ns() // 1_000 + ahead_us + round(arguments.for_s * 1_000_000)
        server.run(until_us)
    finally:
        port.unplug()


def _serve(arguments: argparse.Namespace) -> None:
    from gateway.simulator.scenario_file import load_scenario
    from gateway.simulator.sx1302.orders import fault_named
    from gateway.simulator.sx1302.pty import Port, Server
    from gateway.simulator.sx1302.site import Site

    started_us = time.monotonic_ns() // 1_000
    faults = [fault_named(name) for name in arguments.fault]
    scenario = load_scenario(arguments.scenario)
    site = Site(
        scenario,
        _Teller(json=arguments.json),
        start_utc_us=time.time_ns() // 1_000,
        seed=arguments.seed,
        fine_timestamps=arguments.sx1303,
        gps=arguments.gps,
        crystal_ppm=arguments.ppm,
    )
    if arguments.devices is not None:
        _write_devices(scenario, arguments.devices)
    port = Port(arguments.pty.absolute())
    try:
        port.plug()
        _announce(site, port.path, port.device, json=arguments.json)
        for fault in faults:
            site.board.break_(fault)
        server = Server(
            site,
            port,
            clock_us=lambda: time.monotonic_ns() // 1_000 - started_us,
            orders=_stdin(),
            complain=_complain,
        )
        server.run(None if arguments.for_s is None else round(arguments.for_s * 1_000_000))
    finally:
        port.unplug()


def _stdin() -> Lines | None:
    """Where orders come from; None when nobody can give any."""
    from gateway.simulator.sx1302.pty import Lines

    try:
        return Lines(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or not a file
        return None


def _write_devices(scenario: Scenario, path: Path) -> None:
    """Its devices, keys and all: those protect nothing."""
    from gateway.console.device_csv import write_devices
    from gateway.console.device_file import describe

    described = [describe(device, session) for device, session in scenario.devices()]
    described += [describe(device, root_keys=root_keys) for device, root_keys in scenario.joining_devices()]
    try:
        path.write_text(write_devices(described), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _announce(site: Site, path: Path, device: str, *, json: bool) -> None:
    devices = len(site.residents) + len(site.joiners)
    if json:
        emit_line({"event": "ready", "pty": str(path), "device": device, "eui": site.eui.hex(), "devices": devices})
    else:
        print(f"SX1302 {site.eui.hex()} on {path} ({device}), {devices} devices around it", flush=True)
    if len(os.fsencode(path)) > LONGEST_DRIVER_PATH:
        say(f"The path has more than {LONGEST_DRIVER_PATH} bytes: Semtech's library cannot take it, {device} it can.")


class _Teller:
    """Prints what happens. Who does not read it loses lines, which are counted; the chip never waits for him."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._started_ns = time.monotonic_ns()
        self._untold = 0

    def __call__(self, event: Event) -> None:
        if not _stdout_has_room():
            self._untold += 1
            return
        if self._untold:
            untold, self._untold = self._untold, 0
            self._print("untold", {"events": untold})
        self._print(event.name, event.facts)

    def _print(self, name: str, facts: Mapping[str, Any]) -> None:
        if self._json:
            emit_line({"event": name, **facts})
            return
        seconds_in = (time.monotonic_ns() - self._started_ns) / 1e9
        words = "  ".join(f"{fact} {_word(value)}" for fact, value in facts.items() if value is not None)
        print(clean(f"{seconds_in:9.3f}  {name:10} {words}"), flush=True)


def _stdout_has_room() -> bool:
    """Whether a line can be written without waiting: a pipe that takes 4096 bytes takes one."""
    try:
        return bool(select.select([], [sys.stdout.fileno()], [], 0)[1])
    except (OSError, ValueError):  # not a file
        return True


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _complain(error: GatewayError) -> None:
    for line in error.lines():
        say(clean(line))
