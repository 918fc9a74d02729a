"""The concentrator of the gateway that changes over: its channel plan, its board, and what drives it from now on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.regions import REGIONS
from gateway.settings.importing.channels import ChannelPlan, recognise
from gateway.settings.importing.draft import decibels
from gateway.settings.toml_file import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.settings.importing.draft import Draft
    from gateway.settings.importing.foreign import Key, Sheet

DEFAULT_LISTEN = "127.0.0.1:1700"


@dataclass(frozen=True, slots=True)
class ListenChannel:
    """A channel for all spreading factors, and the keys that say where it lies."""

    frequency_hz: int | None  # None: switched off
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a file says of the concentrator; its keys are settled once the type of radio is known."""

    sheet: Sheet
    root: str | None  # the object all of it stands in
    program: str  # that drives it so far
    forwards: bool = False  # whether that program is a packet forwarder, and can go on as one
    chip: str = ""  # "sx1301", "sx1302"; "": not said
    usb: bool = False
    path: Key | None = None
    gain: Key | None = None
    lut: tuple[tuple[int, int, int], ...] = ()
    model: Key | None = None  # of a board, by the name its program gives it
    channels: Sequence[ListenChannel] = ()
    service_bandwidth_hz: int | None = None
    others: Sequence[Key] = ()  # keys elsewhere that concern the hardware, too
    beacons: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a program listened for packet forwarders whose place this gateway takes."""

    address: str
    key: Key | None


@dataclass(slots=True)
class Found:
    """What several files say of radios."""

    hardware: list[Hardware] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    reset_pins: dict[str, Key] = field(default_factory=dict)  # of a reset script


# --- the channel plan ------------------------------------------------------------------------------------------------


def settle_channels(draft: Draft, hardware: Hardware) -> None:
    """The region, and the channels beyond those of all its devices, from what the concentrator listens on."""
    frequencies = {channel.frequency_hz for channel in hardware.channels if channel.frequency_hz is not None}
    keys = _once(key for channel in hardware.channels for key in channel.keys)
    if not frequencies:
        return
    plan = recognise(frequencies, hardware.service_bandwidth_hz)
    if plan is None:
        for key in keys:
            draft.leave(key, "belongs to channels that no channel plan known here has together; see gateway.region")
        return
    if draft.wishes.region not in (None, plan.region):
        for key in keys:
            draft.leave(key, f"is of {plan}; {draft.wishes.region} was asked for")
        return
    draft.put(("gateway", "region"), plan.region, keys[0])
    draft.take_all(keys, ("gateway", "region"))
    if plan.also and draft.wishes.region is None:
        others = " and ".join(plan.also)
        draft.notes.append(f"gateway.region: {plan.region}, but {others} has these channels, too; --region decides")
    _extra_channels(draft, plan, keys)
    if plan.sub_band is not None:
        draft.values["radio", "block"] = plan.sub_band + 1
    elif REGIONS[plan.region].fixed_plan:
        draft.notes.append(
            f"{keys[0].file}: the concentrator listened across two blocks of eight channels of {plan.region}, this "
            "gateway hears one: set radio.block"
        )


def _extra_channels(draft: Draft, plan: ChannelPlan, keys: Sequence[Key]) -> None:
    """Channels beyond the plan's own, as far as a join accept can name them."""
    region = REGIONS[plan.region]
    if region.fixed_plan or (not plan.extra_hz and plan.region != "EU868"):
        return
    most = plan.extra_hz[:5]
    try:
        region.cf_list(most)
    except ValueError as error:
        draft.notes.append(f"network.extra_channels: left as it is, because {error}")
        return
    draft.values["network", "extra_channels"] = list(most)
    if len(plan.extra_hz) > len(most):
        rest = ", ".join(f"{hz / 1e6:g}" for hz in plan.extra_hz[5:])
        draft.notes.append(
            f"{keys[0].file}: {rest} MHz are heard, but a join accept names five channels beyond the plan's own"
        )


# --- what drives the concentrator from now on ------------------------------------------------------------------------


def settle_radio(draft: Draft, found: Found) -> None:
    """The type of radio, its values, and what becomes of every key that concerns hardware."""
    hardware = next((one for one in found.hardware if one.root is not None), None)
    board = draft.wishes.board or _board_of(draft, hardware, found.reset_pins)
    kind = draft.wishes.radio or _usual_radio(draft, hardware, found, board)
    draft.values["radio", "type"] = kind
    match kind:
        case "packet-forwarder":
            _keep_forwarder(draft, found)
        case "libloragw" | "sx1302":
            _drive_chip(draft, found, hardware, board)
        case _:
            for one in found.hardware:
                _leave_rest(draft, one, f'has no use with radio.type = "{kind}"')
    for listener in found.listeners:
        draft.leave(listener.key, f'has no use with radio.type = "{kind}": no packet forwarder is listened to')
    for key in found.reset_pins.values():
        draft.leave(key, "is another way to the pins: boards bring theirs, radio.reset names one")


def _usual_radio(draft: Draft, hardware: Hardware | None, found: Found, board: str | None) -> str:
    """What keeps the concentrator running with the least that is new."""
    chip_here = hardware is not None and hardware.chip == "sx1302" and (hardware.usb or board is not None)
    if not found.listeners and chip_here and "libloragw" in draft.wishes.radios:
        return "libloragw"
    return "packet-forwarder"


def _keep_forwarder(draft: Draft, found: Found) -> None:
    """The program that drives the concentrator stays, and sends to this gateway."""
    if found.listeners:
        first, *others = found.listeners
        draft.values["radio", "listen"] = first.address
        draft.take(first.key, ("radio", "listen"))
        for other in others:
            draft.leave(other.key, f"differs: {first.address} is listened on, and one address only")
    else:
        listen = _free_listen(draft)
        draft.values["radio", "listen"] = listen
        draft.notes.append(_who_forwards(found, listen))
    for one in found.hardware:
        stays, goes = "stays in the packet forwarder, which goes on", f"has no use without {one.program}"
        _leave_rest(draft, one, stays if one.forwards else goes)


def _who_forwards(found: Found, listen: str) -> str:
    """What has to be done so that frames come."""
    how = f"let it send to {listen} (server_address, serv_port_up and serv_port_down in its global_conf.json)"
    gone = [one.program for one in found.hardware if not one.forwards]
    if gone:
        start = f"radio.type is packet-forwarder: {gone[0]} drives the concentrator no more, install a packet forwarder"
        drivable = any(one.chip == "sx1302" for one in found.hardware)
        return f"{start} and {how}{'; --radio libloragw needs none' if drivable else ''}"
    return f"radio.type is packet-forwarder: the one that drives the concentrator stays; {how}"


def _free_listen(draft: Draft) -> str:
    """An address that is none of a server of ours, lest every frame go round in a circle."""
    used = {value for path, value in draft.values.items() if path[0] == "lns" and path[-1] == "server"}
    ports = {str(server).rpartition(":")[2] for server in used if re.match(r"localhost:|127\.|\[::1\]", str(server))}
    return next(f"127.0.0.1:{number}" for number in range(1700, 1800) if str(number) not in ports)


def _drive_chip(draft: Draft, found: Found, hardware: Hardware | None, board: str | None) -> None:
    kind = draft.values["radio", "type"]
    if board is not None:
        draft.values["radio", "board"] = board
        if hardware is not None and draft.wishes.board is None:
            draft.take(hardware.model, ("radio", "board"))
    if hardware is None:
        if board is None:
            draft.notes.append("nothing was said of the concentrator; --board NAME names its board")
    else:
        _bus(draft, hardware)
        if hardware.gain is not None:
            draft.read(hardware.gain, ("radio", "antenna_gain_dbi"), decibels(-20, 30))
        if hardware.chip == "sx1301":
            draft.notes.append(f"this is an SX1301, which {kind} does not drive: --radio packet-forwarder")
        elif board is None and not hardware.usb:
            draft.notes.append(f"the board is not recognised, and {kind} needs its reset pin; --board NAME names it")
    for one in found.hardware:
        _leave_rest(draft, one, "is not taken over: the table of boards and the region bring these values", each=True)


def _bus(draft: Draft, hardware: Hardware) -> None:
    key = hardware.path
    if key is None:
        if hardware.usb:
            draft.values["radio", "usb"] = "/dev/ttyACM0"
        return
    into = ("radio", "usb" if hardware.usb else "spi")
    if draft.read(key, into, _device) and hardware.root is not None:
        draft.take(hardware.sheet.get(hardware.root, "com_type"), into)


def _device(value: object) -> str:
    text = re.sub(r"^(?:usb|spi|spidev):", "", str(value).strip())
    if not re.fullmatch(r"/dev/\S+", text):
        raise ValueError(f"is {shown(value)}, not the path of a device such as /dev/spidev0.0")
    return text


def _leave_rest(draft: Draft, hardware: Hardware, why: str, *, each: bool = False) -> None:
    """What is not settled yet of the concentrator: a line for all of it, or for each object."""
    if hardware.root is not None:
        for part in hardware.sheet.parts(hardware.root) if each else ():
            if _is_off(hardware.sheet, hardware.root, part):
                draft.take_all(hardware.sheet.under(hardware.root, part))
            draft.leave_branch(hardware.sheet, hardware.root, part, why=why)
        draft.leave_branch(hardware.sheet, hardware.root, why=why)
    for key in (*hardware.others, hardware.model):
        if key is not None and "beacon" in str(key) and not hardware.beacons:
            draft.take(key)  # switched off there, and not done here
        elif key is not None and each and "beacon" in str(key):
            draft.leave(key, "cannot be taken over: class B beacons are not sent")
        elif key is not None and each and key.path[-1] == "gps_tty_path":
            draft.read(key, ("gps", "device"), _device)
        elif key is not None and each and key is not hardware.model:
            draft.leave(key, "has no counterpart in the settings")
        else:
            draft.leave(key, why)


def _is_off(sheet: Sheet, root: str, part: str | int) -> bool:
    """Whether something is switched off there, or a switch stands as it does for every LoRaWAN gateway."""
    alone, switch = sheet.get(root, part), sheet.get(root, part, "enable")
    as_ever = {"lorawan_public": True, "full_duplex": False}
    if alone is not None:
        return part in as_ever and alone.value is as_ever[str(part)]
    return switch is not None and switch.value is False


# --- which board -----------------------------------------------------------------------------------------------------

# What sets a maker's table of powers apart, its first entries: DBM, amplifier, index (ChirpStack Concentratord 4.7.1,
# vendor/, which names the makers' files). Those of Semtech's reference are on many boards; there the pins decide.
_TABLES: Mapping[tuple[tuple[int, int, int], ...], str] = {
    ((12, 1, 4), (13, 1, 5)): "rak2287",
    ((12, 1, 6), (13, 1, 7)): "rak2287",
    ((12, 1, 1), (13, 1, 2)): "rak2287",
    ((12, 0, 16), (13, 0, 17)): "pg1302",
}
_REFERENCE = ((12, 0, 15), (13, 0, 16))
# Reset and power line of the Raspberry Pi's header, from reset_lgw.sh of the makers.
_PINS: Mapping[tuple[str, ...], str] = {("17", "18"): "wm1302", ("23", "18"): "waveshare-sx1302"}


def _board_of(draft: Draft, hardware: Hardware | None, reset_pins: dict[str, Key]) -> str | None:
    """The board by its name, by its gain table, or by that and its pins."""
    if hardware is None:
        return None
    if hardware.model is not None:
        name = str(hardware.model.value).strip().lower()
        return name if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) else None
    first = tuple(sorted(hardware.lut)[:2])
    board = _TABLES.get(first)
    pins = tuple(str(key.value) if (key := reset_pins.get(name)) else "" for name in ("reset", "power"))
    if board is None and first == _REFERENCE and not hardware.usb:
        board = _PINS.get(pins)
    if board is not None:
        draft.notes.append(f"the board is taken for {board}, by its table of powers; --board NAME says otherwise")
    return board


def _once(keys: Iterable[Key]) -> list[Key]:
    return list({id(key): key for key in keys}.values())
