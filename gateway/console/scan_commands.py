"""`scan`: the noise where the gateway stands, what is known of boards, and a carrier for the laboratory."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, seconds, whole
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import emit, say, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.console.arguments import Commands
    from gateway.radio.board import Board
    from gateway.settings import Settings

DRIVERS = {"libloragw": "gateway.radio.libloragw:open_chip"}
"""Radio types that have a chip to scan with."""

_HELP = """\
A board with a second radio (SX1261) measures the level of each channel: half of the time it is
no louder than MEDIAN. Without one the gateway listens, and the frames it hears say how loud
they come in. The daemon must not run meanwhile: one program at a time can drive a concentrator.

With --laboratory --carrier the board sends an unmodulated carrier. On an antenna that is against
the law; it belongs on a cable into an attenuator.
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = add_command(commands, "scan", scan, "what is on the air: the noise of each channel", more=_HELP, json=True)
    parser.add_argument(
        "--for", dest="for_s", metavar="SECONDS", type=seconds, default=30.0, help="listen so long (30)"
    )
    parser.add_argument("--samples", metavar="N", type=whole, default=2_000, help="levels a channel, 1 to 65535 (2000)")
    parser.add_argument("--listen", action="store_true", help="listen for frames, also where the board can measure")
    parser.add_argument("--block", metavar="N", type=whole, help="of US915, AU915, CN470: which eight channels, from 1")
    parser.add_argument("--boards", action="store_true", help="print what is known of each board, and do nothing")
    parser.add_argument("--carrier", metavar="MHZ", type=_megahertz, help="send a carrier there (with --laboratory)")
    parser.add_argument("--power", metavar="DBM", type=_dbm, default=0.0, help="of the carrier, at the connector (0)")
    parser.add_argument("--laboratory", action="store_true", help="yes, the antenna socket is on a cable")


def _megahertz(text: str) -> int:
    try:
        hertz = round(float(text) * 1_000_000)
    except (ValueError, OverflowError):
        hertz = 0
    if not 100_000_000 <= hertz <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no frequency from 100 to 1000 MHz")
    return hertz


def _dbm(text: str) -> float:
    try:
        power = float(text)
    except ValueError:
        power = float("nan")
    if not -30 <= power <= 30:
        raise argparse.ArgumentTypeError(f"{text!r} is no power from -30 to 30 dBm")
    return power


def scan(arguments: argparse.Namespace) -> int:
    """Scan, or list the boards, or send a carrier."""
    if arguments.boards:
        return _boards(arguments)
    from gateway.radio.scanning import MOST_SAMPLES, watched

    if arguments.carrier is not None and not arguments.laboratory:
        raise UsageError(
            "A carrier on an antenna is against the law and disturbs everybody around",
            hint="With the antenna socket on a cable into an attenuator: --laboratory --carrier MHZ --power DBM",
        )
    if not 1 <= arguments.samples <= MOST_SAMPLES:
        raise UsageError(f"--samples is {arguments.samples}; a scan counts 1 to {MOST_SAMPLES}")
    order = _order(load_settings(arguments), arguments)
    channels: list[dict[str, Any]] = []
    started: dict[str, Any] = {}
    for facts in watched(order):
        if "started" in facts:
            started = facts
            say(f"{facts['started']}: {_doing(arguments, spectral=facts['spectral'])}")
        elif "channel_hz" in facts:
            channels.append(facts)
    if arguments.carrier is not None:
        if arguments.json:
            emit({"chip": started.get("started"), "carrier_hz": arguments.carrier, "power_dbm": arguments.power})
        say("the carrier is off")
        return 0
    _print(arguments, started, channels)
    return 0 if any("problem" not in channel for channel in channels) else 1


def _doing(arguments: argparse.Namespace, *, spectral: bool) -> str:
    if arguments.carrier is not None:
        return f"a carrier of at most {arguments.power:g} dBm at {arguments.carrier / 1e6:g} MHz, {arguments.for_s:g} s"
    return "measuring each channel" if spectral else f"listening for {arguments.for_s:g} s"


def _order(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    radio = settings.radio
    if radio.type not in DRIVERS:
        raise UsageError(
            f'radio.type is "{radio.type}", which has no chip to scan with', hint=f"It needs {' or '.join(DRIVERS)}"
        )
    told = {key: value for key, value in radio.model_dump(mode="json").items() if value is not None and key != "type"}
    told["tx_gains"] = " ".join(told.get("tx_gains", ())) or None
    block = arguments.block if arguments.block is not None else told.get("block")
    extra = settings.network.extra_channels
    return {
        "driver": DRIVERS[radio.type],
        "options": {**told, "region": settings.gateway.region},
        "region": settings.gateway.region,
        "block": block,
        "extra_hz": None if extra is None else list(extra),
        "samples": arguments.samples,
        "listen": arguments.listen,
        "for_s": arguments.for_s,
        "carrier_hz": arguments.carrier,
        "power_dbm": arguments.power,
    }


def _print(arguments: argparse.Namespace, started: Mapping[str, Any], channels: Sequence[Mapping[str, Any]]) -> None:
    if arguments.json:
        emit({"chip": started.get("started"), "spectral": started.get("spectral", False), "channels": channels})
        return
    measured = bool(started.get("spectral"))
    header = ("MHZ", "MEDIAN", "90 %", "LOUDEST") if measured else ("MHZ", "FRAMES", "DAMAGED", "MEDIAN", "SNR")
    keys = (
        ("median_dbm", "p90_dbm", "loudest_dbm") if measured else ("frames", "damaged", "median_dbm", "median_snr_db")
    )
    rows = (
        (f"{channel['channel_hz'] / 1e6:.4f}", *(_shown(channel.get(key)) for key in keys), _bars(channel))
        for channel in channels
    )
    for line in table((*header, "dBm, -130 to -50"), rows):
        print(line)
    for channel in channels:
        if "problem" in channel:
            say(f"{channel['channel_hz'] / 1e6:g} MHz: {channel['problem']}")


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _bars(channel: Mapping[str, Any]) -> str:
    """The histogram of a channel in 20 columns of 4 dB, the most frequent the highest."""
    columns = [0] * 20
    for level, count in channel.get("levels", {}).items():
        columns[min(19, max(0, (int(level) + 130) // 4))] += count
    most = max(columns) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // most)] for count in columns).rstrip()


# --- boards ---------------------------------------------------------------------------------------------------------


def _boards(arguments: argparse.Namespace) -> int:
    from gateway.radio.board_table import BOARDS

    if arguments.json:
        emit([_facts(board) for board in BOARDS.values()])
        return 0
    for line in table(("BOARD", "PRODUCT", "BUS", "RESET", "POWER", "REGIONS"), _rows(BOARDS.values()), elastic=(1, 5)):
        print(line)
    return 0


def _rows(boards: Any) -> Iterator[tuple[object, ...]]:
    for board in boards:
        facts = _facts(board)
        pins = (facts["reset"] or "-", facts["power"] or "-")
        yield facts["board"], facts["product"], "/".join(facts["buses"]), *pins, " ".join(facts["regions"])


def _facts(board: Board) -> dict[str, Any]:
    return {
        "board": board.name,
        "product": board.product,
        "chip": board.chip,
        "buses": [bus.value for bus in board.buses],
        "spi": board.spi,
        "reset": board.reset and board.reset.line,
        "power": board.power and board.power.line,
        "sx1261_reset": board.sx1261_reset and board.sx1261_reset.line,
        "reset_commands": [" ".join(command) for command in board.reset_commands],
        "sx1261": board.has_sx1261,
        "temperature_sensor": board.temperature_sensor and f"0x{board.temperature_sensor:02x}",
        "rssi_offset_db": board.rssi_offset_db,
        "tx_gains": {" ".join(sorted(one.regions)) or "all": [str(gain) for gain in one.gains] for one in board.tables},
        "regions": sorted(board.regions),
        "source": board.source,
    }
