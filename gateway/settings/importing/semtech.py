"""`global_conf.json` and `local_conf.json` of Semtech's packet forwarder and of what descends from it.

The keys are those of sx1302_hal 2.1.0 (packet_forwarder/src/lora_pkt_fwd.c), of its predecessor for the SX1301
(packet_forwarder 4.0.1) and of the forwarders that talk to several servers (mp_pkt_fwd 3.0.20, poly_pkt_fwd). A
`local_conf.json` overrides key by key; a list such as `servers` as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.importing.draft import plain_eui, port, seconds
from gateway.settings.importing.foreign import Key, Sheet
from gateway.settings.importing.hardware import Hardware, ListenChannel
from gateway.settings.values import LOOPBACK_HOSTS, read_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.settings.importing.draft import Draft

CONCENTRATORS = ("SX130x_conf", "SX1302_conf", "SX1301_conf", "SX1301_array_conf")
"""The object of the concentrator by the forwarder's age: sx1302_hal, early sx1302_hal, SX1301, the 64-channel one."""

OBJECTS = frozenset({*CONCENTRATORS, "gateway_conf", "debug_conf"})

DEFAULT_PORT = 1780
"""What the forwarder sends to when no port is set (DEFAULT_PORT_UP of lora_pkt_fwd.c); every sample sets one."""

_GW = "gateway_conf"
_PROGRAM = "the packet forwarder"
_STREAMS = frozenset({"upstream", "radiostream", "statusstream"})  # mp_pkt_fwd: what is sent at all
_NOT_HERE = {
    "autoquit_threshold": "has no place here: a server that is silent is dialled again, and nothing quits",
    "beacon": "cannot be switched on: class B beacons are not sent",
    "contact_email": "is told to nobody by this gateway",
    "critical": "has no place here: a server that is silent is dialled again, and nothing quits",
    "downstream": "counts only when it is false",
    "fake_gps": "counts only with ref_latitude and ref_longitude",
    "flush": "is about the forwarder's own log: ours goes to the journal",
    "flush_line": "is about the forwarder's own log: ours goes to the journal",
    "ghost_address": "belongs to simulated nodes: lorawan-gateway has its own, radio.type virtual",
    "ghost_port": "belongs to simulated nodes: lorawan-gateway has its own, radio.type virtual",
    "ghoststream": "belongs to simulated nodes: lorawan-gateway has its own, radio.type virtual",
    "logger": "is about the forwarder's own log: ours goes to the journal",
    "platform": "is told to nobody by this gateway",
    "serv_max_stall": "has no place here: a server that is silent is dialled again, and nothing quits",
    "stat_damping": "is about the forwarder's own statistics: lorawan-gateway status and /metrics have ours",
    "stat_file": "is about the forwarder's own statistics: lorawan-gateway status and /metrics have ours",
    "stat_format": "is about the forwarder's own statistics: lorawan-gateway status and /metrics have ours",
    "ttn_address": "belongs to The Things Network's version 2, which is gone: use Basics Station or Semtech UDP",
    "ttn_enable": "belongs to The Things Network's version 2, which is gone: use Basics Station or Semtech UDP",
    "ttn_gateway_id": "belongs to The Things Network's version 2, which is gone",
    "ttn_gateway_key": "belongs to The Things Network's version 2, which is gone",
    "watchdog": "has no place here: systemd watches this gateway",
}
_FALSE_IS_OURS = frozenset({"beacon", "flush", "ghoststream", "logger", "ttn_enable", "watchdog"})


def layered(files: Iterable[Sequence[Key]], draft: Draft) -> Sheet:
    """The files as the forwarder reads them: each overrides those before it."""
    keys: list[Key] = []
    for file in sorted(files, key=lambda one: bool(one) and one[0].file.rpartition("/")[2].startswith("local_conf")):
        if not file:
            continue
        lists = {path for key in file if (path := _list_of(key))}
        for key in keys:
            if (path := _list_of(key)) and path in lists:
                draft.leave(key, f"does not count: {file[0].file} has {path[-1]}, too")
        keys = [key for key in keys if _list_of(key) not in lists or _list_of(key) is None]
        keys += file
    sheet = Sheet(keys)
    for key, later in sheet.overridden():
        draft.leave(key, f"does not count: {later.file}:{later.line} says it again")
    return sheet


def _list_of(key: Key) -> tuple[str | int, ...] | None:
    """The list a key stands in."""
    return next((key.path[:at] for at, part in enumerate(key.path) if isinstance(part, int)), None)


def read_semtech(sheet: Sheet, draft: Draft, taken_places: frozenset[int]) -> Hardware | None:
    """Take over what goes on; what the concentrator was set to comes back, to be settled with the type of radio.

    `taken_places` are ports on which programs listened whose place this gateway takes: a server there is none any more.
    """
    draft.gateway_eui(sheet.get(_GW, "gateway_ID"), plain_eui)
    draft.position(*(sheet.get(_GW, f"ref_{name}") for name in ("latitude", "longitude", "altitude")))
    draft.read(sheet.text(_GW, "description"), ("gateway", "name"), lambda text: " ".join(text.split())[:200])
    names = _servers(sheet, draft, taken_places)
    downstream = sheet.get(_GW, "downstream")
    for name in names:
        if downstream is not None and downstream.value is False:
            draft.put(("lns", name, "downlinks"), False, downstream)
        draft.read(sheet.get(_GW, "keepalive_interval"), ("lns", name, "keepalive"), seconds)
        draft.read(sheet.get(_GW, "stat_interval"), ("lns", name, "stat_interval"), seconds)
    if not names:
        for interval in ("keepalive_interval", "stat_interval"):
            draft.leave(sheet.get(_GW, interval), "has no use: there is no server")
    _habits(sheet, draft)
    draft.leave_branch(sheet, "debug_conf", why="is about the forwarder's own debugging")
    return _concentrator(sheet)


# --- servers --------------------------------------------------------------------------------------------------------


def _servers(sheet: Sheet, draft: Draft, taken_places: frozenset[int]) -> list[str]:
    """The names of the network servers, of the list of a forwarder with several or of the one of the others."""
    if not sheet.parts(_GW, "servers"):
        return [name for name in [_server(sheet, draft, (_GW,), taken_places)] if name]
    for key in ("server_address", "serv_port_up", "serv_port_down"):
        draft.leave(sheet.get(_GW, key), "does not count where there is a list of servers")
    names = [_listed(sheet, draft, (_GW, "servers", at), taken_places) for at in sheet.parts(_GW, "servers")]
    return [name for name in names if name]


def _listed(sheet: Sheet, draft: Draft, at: tuple[str | int, ...], taken_places: frozenset[int]) -> str | None:
    kind = sheet.get(*at, "serv_type")
    switched = sheet.get(*at, "serv_enabled")
    if switched is not None and switched.value is False:
        draft.leave_branch(sheet, *at, why="is switched off there (serv_enabled false)")
        return None
    if kind is not None and not (isinstance(kind.value, str) and kind.value.startswith("semtech")):
        why = "speaks a protocol of its own"
        if isinstance(kind.value, str) and kind.value.startswith("ttn"):
            why = "speaks the protocol of The Things Network's version 2, which is gone"
        draft.leave_branch(sheet, *at, why=f"{why}: add the server by hand, as Basics Station or Semtech UDP")
        return None
    up, down = sheet.get(*at, "serv_up_enabled"), sheet.get(*at, "serv_down_enabled")
    if up is not None and up.value is False:
        draft.leave_branch(sheet, *at, why="gets no uplinks there (serv_up_enabled false); here every server gets them")
        return None
    name = _server(sheet, draft, at, taken_places)
    if name is None:
        draft.leave_branch(sheet, *at, why="lacks a usable server_address or serv_port_up")
        return None
    if down is not None and down.value is False:
        draft.put(("lns", name, "downlinks"), False, down)
    draft.take_all(key for key in (kind, switched, up, down) if key is not None)
    draft.leave(sheet.get(*at, "serv_gw_id"), "belongs to The Things Network's version 2, which is gone")
    draft.leave(sheet.get(*at, "serv_gw_key"), "belongs to The Things Network's version 2, which is gone")
    for key in ("critical", "serv_max_stall"):
        draft.leave(sheet.get(*at, key), _NOT_HERE[key])
    return name


def _server(sheet: Sheet, draft: Draft, at: tuple[str | int, ...], taken_places: frozenset[int]) -> str | None:
    address, up, down = (sheet.get(*at, key) for key in ("server_address", "serv_port_up", "serv_port_down"))
    if address is None or address.value in ("", None):
        draft.take(address)
        for key in (up, down):
            draft.leave(key, "has no use without server_address")
        return None
    try:
        number = DEFAULT_PORT if up is None else port(up.value)
    except ValueError as error:
        draft.leave(up, str(error))
        number = DEFAULT_PORT
    host = str(address.value).strip()
    text = f"[{host}]:{number}" if ":" in host and not host.startswith("[") else f"{host}:{number}"
    try:
        server = read_server(text)
    except ValueError as error:
        draft.leave(address, str(error))
        for key in (up, down):
            draft.leave(key, "has no use without server_address")
        return None
    if number in taken_places and server.host in LOOPBACK_HOSTS:
        for key in (address, up, down):
            draft.leave(key, "leads to a program on this machine whose place this gateway takes")
        return None
    name = draft.new_lns(host)
    draft.values["lns", name, "type"] = "semtech-udp"
    into = ("lns", name, "server")
    draft.put(into, str(server), address)
    if up is None:
        draft.notes.append(
            f"{address.place}: no serv_port_up there; {DEFAULT_PORT}, the forwarder's default, is written"
        )
    else:
        draft.take(up, into)
    if down is not None and down.value == number:
        draft.take(down, into)
    else:
        draft.leave(down, f"differs from serv_port_up ({number}): this gateway uses one port of a server for both ways")
    return name


# --- the rest of gateway_conf ---------------------------------------------------------------------------------------


def _habits(sheet: Sheet, draft: Draft) -> None:
    """Keys that say how the forwarder works: this gateway works like that anyway, or not."""
    wrong_crc = "cannot be switched on: only frames with a correct checksum are kept and go to servers"
    for name, ours, why in (
        ("forward_crc_valid", True, "cannot be switched off: frames with a correct checksum go to every server"),
        ("forward_crc_error", False, wrong_crc),
        ("forward_crc_disabled", False, wrong_crc),
    ):
        _switch(sheet.get(_GW, name), draft, ours=ours, why=why)
    draft.take(sheet.get(_GW, "push_timeout_ms"))  # nothing waits for an acknowledgement here
    draft.take(sheet.get(_GW, "downstream"))
    placed = draft.get("gateway", "latitude") is not None
    _switch(sheet.get(_GW, "fake_gps"), draft, ours=placed, why=_NOT_HERE["fake_gps"])
    for key in sheet.under(_GW):
        name = str(key.path[1])
        if draft.settled(key) or len(key.path) != 2:
            continue
        if name in _STREAMS:
            _switch(key, draft, ours=True, why="cannot be switched off")
        elif (name in _FALSE_IS_OURS and key.value is False) or (name == "autoquit_threshold" and key.value == 0):
            draft.take(key)
        elif name in _NOT_HERE:
            draft.leave(key, _NOT_HERE[name])


def _switch(key: Key | None, draft: Draft, *, ours: bool, why: str) -> None:
    """A switch that this gateway has not: it stands as here, or that is said."""
    if key is None:
        return
    if key.value is ours or (key.value is False and "counts only" in why):
        draft.take(key)
    else:
        draft.leave(key, why)


# --- the concentrator -----------------------------------------------------------------------------------------------


def _concentrator(sheet: Sheet) -> Hardware | None:
    root = next((name for name in CONCENTRATORS if sheet.parts(name)), None)
    beacon = sheet.number(_GW, "beacon_period")
    rest = [
        key
        for key in sheet.under(_GW)
        if key.path[1] == "gps_tty_path" or key.path[1] == "gps" or str(key.path[1]).startswith("beacon_")
    ]
    if root is None:
        if not rest:
            return None
        return Hardware(sheet, None, _PROGRAM, forwards=True, others=rest, beacons=bool(beacon and beacon.value))
    types = {str(key.value) for at in (0, 1) if (key := sheet.get(root, f"radio_{at}", "type"))}
    old = root.startswith("SX1301") and "SX1250" not in types
    com_type = sheet.text(root, "com_type")
    channels = [
        channel for at in range(8) if (channel := listen_channel(sheet, root, f"chan_multiSF_{at}")) is not None
    ]
    return Hardware(
        sheet,
        root,
        _PROGRAM,
        forwards=True,
        chip="sx1301" if old else "sx1302",
        usb=com_type is not None and com_type.value.strip().upper() == "USB",
        path=sheet.text(root, "com_path"),
        gain=sheet.get(root, "antenna_gain") or sheet.get(root, "radio_0", "antenna_gain"),
        lut=gain_table(sheet, root),
        channels=channels,
        service_bandwidth_hz=_service_bandwidth(sheet, root),
        others=rest,
        beacons=bool(beacon and beacon.value),
    )


def listen_channel(sheet: Sheet, root: str, name: str) -> ListenChannel | None:
    """Where a channel lies: the middle of its radio and the distance from there."""
    enabled, radio, offset = (sheet.get(root, name, key) for key in ("enable", "radio", "if"))
    keys = [key for key in (enabled, radio, offset) if key is not None]
    if not keys:
        return None
    if enabled is not None and enabled.value is False:
        return ListenChannel(None, tuple(keys))
    middle = None if radio is None else sheet.number(root, f"radio_{radio.value}", "freq")
    distance = sheet.number(root, name, "if")
    if middle is None or distance is None:
        return None
    on = sheet.get(root, *middle.path[1:-1], "enable")
    return ListenChannel(round(middle.value + distance.value), (*keys, middle, *([on] if on is not None else [])))


def _service_bandwidth(sheet: Sheet, root: str) -> int | None:
    off = sheet.get(root, "chan_Lora_std", "enable")
    width = sheet.number(root, "chan_Lora_std", "bandwidth")
    return None if width is None or (off is not None and off.value is False) else int(width.value)


def gain_table(sheet: Sheet, root: str) -> tuple[tuple[int, int, int], ...]:
    """Power in dBm, amplifier and index of an SX1250's gain table; () where there is none of that kind."""
    # A list of the sx1302_hal; tx_lut_0 to tx_lut_15 are those of the SX1301, whose gains are other ones.
    rows = sheet.parts(root, "radio_0", "tx_gain_lut")
    cells = [
        tuple(sheet.number(root, "radio_0", "tx_gain_lut", row, name) for name in ("rf_power", "pa_gain", "pwr_idx"))
        for row in rows
    ]
    return tuple(
        (int(power.value), int(amplifier.value), int(index.value))
        for power, amplifier, index in cells
        if power is not None and amplifier is not None and index is not None
    )
