"""`chirpstack-mqtt-forwarder.toml` and `chirpstack-gateway-bridge.toml`: what brings frames to ChirpStack's broker.

Keys and defaults are those of ChirpStack MQTT Forwarder 4.6.0 (src/config.rs) and ChirpStack Gateway Bridge 4.1
(cmd/configfile.go). Their filters are ours; their passwords stand in the file, ours never do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.lorawan.net_id import address_bits, dev_addr_in
from gateway.settings.importing.channels import named_by_chirpstack
from gateway.settings.importing.draft import plain_eui
from gateway.settings.importing.hardware import Listener
from gateway.settings.toml_file import shown
from gateway.settings.values import Prefix, read_listen, read_net_id, read_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.settings.importing.draft import Draft
    from gateway.settings.importing.foreign import Key, Sheet
    from gateway.settings.toml_file import KeyPath

_OWN_LOG = "is about the program's own log: ours goes to the journal"
_OWN_LINE = "is set by this gateway: QoS 1, a session of its own, 30 s of keep-alive, patient dialling"
_OWN_MEMORY = "is about the bridge's own memory; this gateway has its own"
_NO_COMMANDS = "cannot be taken over: nothing that a server sends is run as a command here"
_NO_METADATA = "cannot be taken over: this gateway adds no metadata of yours to its statistics"
_CHECKED = "cannot be switched on: only frames with a correct checksum are kept and go to servers"

# What both programs have by default, or what this gateway does anyway: then there is nothing to say.
_FORWARDER: Mapping[KeyPath, tuple[tuple[Any, ...], str]] = {
    ("mqtt", "qos"): ((0, 1), _OWN_LINE),
    ("mqtt", "clean_session"): ((False, True), _OWN_LINE),
    ("mqtt", "client_id"): (("",), "is made of the gateway's EUI and the name of the server here"),
    ("mqtt", "keep_alive_interval"): (("30s",), _OWN_LINE),
    ("mqtt", "reconnect_interval"): (("1s",), _OWN_LINE),
    ("backend", "filters", "forward_crc_ok"): ((True,), "cannot be switched off"),
    ("backend", "filters", "forward_crc_invalid"): ((False,), _CHECKED),
    ("backend", "filters", "forward_crc_missing"): ((False,), _CHECKED),
    ("backend", "filters", "lorawan_only"): (
        (False,),
        "has no counterpart; only_dev_addr or only_join_eui keep everything away that is not LoRaWAN",
    ),
    ("backend", "semtech_udp", "time_fallback_enabled"): ((False, True), "is neither true nor false"),
    ("metadata", "split_delimiter"): (("=",), _NO_METADATA),
    ("metadata", "commands", "split_delimiter"): (("=",), _NO_METADATA),
    ("callbacks", "on_mqtt_connected"): (([],), _NO_COMMANDS),
    ("callbacks", "on_mqtt_connection_error"): (([],), _NO_COMMANDS),
}
_FORWARDER_BRANCHES: Mapping[KeyPath, str] = {
    ("logging",): _OWN_LOG,
    ("metadata",): _NO_METADATA,
    ("commands",): _NO_COMMANDS,
    ("callbacks",): _NO_COMMANDS,
    (
        "backend",
        "concentratord",
    ): "is the way to Concentratord, whose place this gateway takes; give concentratord.toml, too",
}
_MQTT = ("integration", "mqtt")
_GENERIC = ("integration", "mqtt", "auth", "generic")
_BRIDGE: Mapping[KeyPath, tuple[tuple[Any, ...], str]] = {
    (*_MQTT, "state_retained"): ((True,), "cannot be switched off: the state of the gateway is retained"),
    (*_MQTT, "keep_alive"): (("30s",), _OWN_LINE),
    (*_MQTT, "max_reconnect_interval"): (("1m0s", "1m", "60s"), _OWN_LINE),
    (*_MQTT, "max_token_wait"): (("1m0s", "1m", "60s"), _OWN_LINE),
    (*_MQTT, "terminate_on_connect_error"): ((False,), "has no place here: a broker that is silent is dialled again"),
    (*_MQTT, "auth", "type"): (
        ("generic", ""),
        "is a login that this gateway does not have: name, password, certificate",
    ),
    (*_GENERIC, "qos"): ((0, 1), _OWN_LINE),
    (*_GENERIC, "clean_session"): ((False, True), _OWN_LINE),
    (*_GENERIC, "client_id"): (("",), "is made of the gateway's EUI and the name of the server here"),
    ("backend", "semtech_udp", "fake_rx_time"): ((False, True), "is neither true nor false"),
    ("backend", "semtech_udp", "skip_crc_check"): ((False,), _CHECKED),
    ("backend", "semtech_udp", "connection_timeout_duration"): (("1m0s", "1m", "60s"), _OWN_MEMORY),
    ("backend", "semtech_udp", "cache_default_expiration"): (("15s",), _OWN_MEMORY),
    ("backend", "semtech_udp", "cache_cleanup_interval"): (("15s",), _OWN_MEMORY),
}
_BRIDGE_BRANCHES: Mapping[KeyPath, str] = {
    ("general",): _OWN_LOG,
    (*_MQTT, "auth"): "is a login that this gateway does not have",
    ("backend", "basic_station"): "cannot be taken over: no Basics Stations are listened to here",
    ("backend", "concentratord"): "is the way to Concentratord, whose place this gateway takes",
    ("metrics",): "is about the bridge's own metrics: console.listen has ours, at /metrics",
    ("meta_data",): _NO_METADATA,
    ("commands",): _NO_COMMANDS,
}
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - where both programs listen when nothing else is said
_UDP = f"{_EVERYWHERE}:1700"
_FROM_ENVIRONMENT = re.compile(r"\$\{?[A-Za-z_]")


def read_forwarder(sheet: Sheet, draft: Draft) -> Listener | None:
    """Take over ChirpStack MQTT Forwarder; where it listened to a packet forwarder comes back."""
    _environment(sheet, draft)
    enabled = sheet.get("backend", "enabled")
    udp = enabled is None or enabled.value == "semtech_udp"
    draft.take(enabled)
    draft.gateway_eui(sheet.get("backend", "gateway_id"), plain_eui)
    mqtt = ("mqtt",)
    name = _broker(sheet.get(*mqtt, "server"), "tcp://127.0.0.1:1883", draft)
    if name is not None:
        _login(sheet, mqtt, name, draft)
        _prefix(sheet.get(*mqtt, "topic_prefix"), "eu868", name, draft)
        json = sheet.get(*mqtt, "json")
        if json is not None:
            draft.put(("lns", name, "marshaler"), "json" if json.value is True else "protobuf", json)
        filters = ("backend", "filters")
        _prefixes(sheet.get(*filters, "dev_addr_prefixes"), 32, ("lns", name, "only_dev_addr"), draft)
        _prefixes(sheet.get(*filters, "join_eui_prefixes"), 64, ("lns", name, "only_join_eui"), draft)
    bind = sheet.get("backend", "semtech_udp", "bind")
    listener = _listener(bind, _UDP, draft) if udp else None
    if not udp:
        draft.leave(bind, "has no use: backend.enabled names another way to the radio")
    _known(sheet, draft, _FORWARDER, _FORWARDER_BRANCHES)
    return listener


def read_bridge(sheet: Sheet, draft: Draft) -> Listener | None:
    """Take over ChirpStack Gateway Bridge on a gateway; where it listened to a packet forwarder comes back."""
    _environment(sheet, draft)
    kind = sheet.get("backend", "type")
    udp = kind is None or kind.value == "semtech_udp"
    draft.take(kind) if udp else draft.leave(kind, "is a way to the radio that this gateway does not have")
    auth = sheet.get(*_MQTT, "auth", "type")
    servers = sheet.get(*_GENERIC, "servers") or sheet.get(*_GENERIC, "server")  # one only, in old files
    name = None
    if auth is None or auth.value in ("generic", ""):
        name = _broker(servers, "tcp://127.0.0.1:1883", draft)
    if name is not None:
        _login(sheet, _GENERIC, name, draft)
        _bridge_topics(sheet, name, draft)
        marshaler = sheet.get("integration", "marshaler")
        draft.read(marshaler, ("lns", name, "marshaler"), _marshaler)
        _net_ids(sheet.get("filters", "net_ids"), ("lns", name, "only_dev_addr"), draft)
        _join_ranges(sheet, ("lns", name, "only_join_eui"), draft)
    bind = sheet.get("backend", "semtech_udp", "udp_bind")
    listener = _listener(bind, _UDP, draft) if udp else None
    _known(sheet, draft, _BRIDGE, _BRIDGE_BRANCHES)
    return listener


# --- what both have -------------------------------------------------------------------------------------------------


def _environment(sheet: Sheet, draft: Draft) -> None:
    """Both programs fill $NAME in from their environment, which is not here."""
    for key in sheet.under():
        if isinstance(key.value, str) and _FROM_ENVIRONMENT.search(key.value) and "password" not in key.path:
            draft.leave(key, "is filled in from the environment of the program, which is not in this file")


def _known(
    sheet: Sheet,
    draft: Draft,
    keys: Mapping[KeyPath, tuple[tuple[Any, ...], str]],
    branches: Mapping[KeyPath, str],
) -> None:
    """What has no counterpart here: nothing is said where the value is what this gateway does anyway."""
    for path, (ours, why) in keys.items():
        if (key := sheet.get(*path)) is not None:
            draft.take(key) if key.value in ours else draft.leave(key, why)
    for path, why in branches.items():
        for part in sheet.parts(*path):
            for key in sheet.under(*path, part):
                if key.value in ("", [], {}):
                    draft.take(key)
            draft.leave_branch(sheet, *path, part, why=why)


def _listener(key: Key | None, default: str, draft: Draft) -> Listener:
    if key is None or draft.settled(key):
        return Listener(default, None)
    try:
        return Listener(str(read_listen(_with_host(key.value))), key)
    except ValueError as error:
        draft.leave(key, str(error))
        return Listener(default, None)


def _with_host(value: object) -> object:
    """`:1700` is every address to these programs."""
    return f"{_EVERYWHERE}{value}" if isinstance(value, str) and value.startswith(":") else value


def _broker(key: Key | None, default: str, draft: Draft) -> str | None:
    """A network server at a broker, by its name; None when there is no way to it."""
    if key is not None and draft.settled(key):
        return None
    listed = key.value if key is not None and isinstance(key.value, list) else None
    value = default if key is None or key.value in ("", []) else listed[0] if listed else key.value
    try:
        url = _mqtt_url(value)
        server = read_url(url, ("mqtt", "mqtts"), with_path=False)
    except ValueError as error:
        draft.leave(key, str(error))
        return None
    name = draft.new_lns("chirpstack")
    draft.values["lns", name, "type"] = "chirpstack-mqtt"
    draft.values["lns", name, "server"] = str(server)
    if key is not None:
        draft.take(key, ("lns", name, "server"))
        if listed and len(listed) > 1:
            draft.also_left(key, f"names {len(listed)} brokers of one cluster; the first one is taken")
    return name


def _mqtt_url(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, not an address such as tcp://broker:1883")  # noqa: TRY004 - as the readers
    scheme, separator, rest = value.strip().partition("://")
    ours = {"tcp": "mqtt", "mqtt": "mqtt", "ssl": "mqtts", "tls": "mqtts", "tcps": "mqtts", "mqtts": "mqtts"}
    if not separator:
        return f"mqtt://{scheme}"
    if scheme.lower() in {"ws", "wss"}:
        raise ValueError("is MQTT over WebSocket, which is not spoken here; name the broker's port for MQTT")
    if scheme.lower() not in ours:
        raise ValueError("has a scheme that is none of tcp, ssl, mqtt, mqtts")
    return f"{ours[scheme.lower()]}://{rest.rstrip('/')}"


def _login(sheet: Sheet, at: KeyPath, name: str, draft: Draft) -> None:
    into = ("lns", name)
    encrypted = str(draft.get(*into, "server")).startswith("mqtts:")
    user, password = sheet.get(*at, "username"), sheet.get(*at, "password")
    for key in (user, password):
        if key is not None and key.value == "":
            draft.take(key)
    if user is not None and isinstance(user.value, str) and not draft.settled(user):
        draft.put((*into, "username"), user.value, user)
    if password is not None and not draft.settled(password):
        _password(password, into, draft)
    files = {ours: sheet.get(*at, theirs) for theirs, ours in _FILES}
    usable = {ours for ours, key in files.items() if key is not None and _is_path(key) and not draft.settled(key)}
    for ours, key in files.items():
        if key is None or draft.settled(key):
            continue
        half = {"cert_file": "key_file", "key_file": "cert_file"}.get(ours)
        if key.value == "":
            draft.take(key)
        elif not encrypted:
            draft.leave(key, "has no use: the address of the broker asks for no TLS")
        elif ours in usable and half is not None and half not in usable:
            draft.leave(key, "stands alone: a certificate and its key go together")
        else:
            draft.secret_file(key, (*into, ours), str(key.value))


_FILES = (("ca_cert", "ca_file"), ("tls_cert", "cert_file"), ("tls_key", "key_file"))


def _is_path(key: Key) -> bool:
    return isinstance(key.value, str) and key.value.startswith("/") and key.value.isprintable()


def _password(key: Key, into: tuple[str, str], draft: Draft) -> None:
    if not isinstance(key.value, str):
        draft.leave(key, "is not text")
    elif _FROM_ENVIRONMENT.match(key.value):
        draft.leave(
            key, "may be filled in from the environment of the program; put it into a file and name password_file"
        )
    elif draft.get(*into, "username") is None:
        draft.leave(key, "has no use without username")
    else:
        draft.inline_secret(key, (*into, "password_file"))


def _marshaler(value: object) -> str:
    if value not in ("protobuf", "json"):
        raise ValueError(f"is {shown(value)}; one of protobuf, json")
    return str(value)


# --- topics, and the region they name --------------------------------------------------------------------------------


def _prefix(key: Key | None, default: str, name: str, draft: Draft) -> None:
    value = default if key is None else key.value
    text = value.strip("/") if isinstance(value, str) else ""
    if not re.fullmatch(r"(?!\$)[^\s\x00-\x1f\x7f+#/]+(?:/[^\s\x00-\x1f\x7f+#/]+)*", text):
        draft.leave(key, f"is {shown(value)}; this gateway's topics have a prefix: give the region one in ChirpStack")
        return
    draft.values["lns", name, "topic_prefix"] = text
    draft.take(key, ("lns", name, "topic_prefix"))
    _region_of(text, draft)


def _bridge_topics(sheet: Sheet, name: str, draft: Draft) -> None:
    """Only the part before `gateway/` can differ."""
    first = None
    for what, tail in (("event", r"event/\{\{\s*\.EventType\s*\}\}"), ("state", r"state/\{\{\s*\.StateType\s*\}\}"),
                       ("command", r"command/#")):  # fmt: skip
        key = sheet.get(*_MQTT, f"{what}_topic_template")
        if key is None:
            continue
        found = re.fullmatch(rf"(.*?)/?gateway/\{{\{{\s*\.GatewayID\s*\}}\}}/{tail}", str(key.value))
        if found is None or (first is not None and found[1] != first):
            draft.leave(key, "makes topics that are none of ChirpStack's: a prefix, then gateway/…")
        elif first is None and found[1]:
            _prefix_of_template(key, found[1], name, draft)
            first = found[1]
        elif first is None:
            draft.leave(key, "has no prefix; this gateway's topics have one: give the region one in ChirpStack")
        else:
            draft.take(key, ("lns", name, "topic_prefix"))


def _prefix_of_template(key: Key, prefix: str, name: str, draft: Draft) -> None:
    before = draft.get("lns", name, "topic_prefix")
    if before is None and not prefix.startswith("$"):
        draft.values["lns", name, "topic_prefix"] = prefix
    draft.take(key, ("lns", name, "topic_prefix"))
    _region_of(prefix, draft)


def _region_of(prefix: str, draft: Draft) -> None:
    """A prefix such as us915_1 names the region, and which eight channels of it."""
    named = named_by_chirpstack(prefix)
    if named is None:
        return
    if draft.get("gateway", "region") is None and draft.wishes.region is None:
        draft.values["gateway", "region"] = named[0]
        draft.notes.append(f"gateway.region is {named[0]}, by the topic prefix {prefix}; --region says otherwise")
    if named[1] is not None and draft.get("gateway", "region") == named[0] and draft.get("radio", "block") is None:
        draft.values["radio", "block"] = named[1] + 1


# --- filters ---------------------------------------------------------------------------------------------------------


def _prefixes(key: Key | None, bits: int, into: KeyPath, draft: Draft) -> None:
    if key is None:
        return
    if not isinstance(key.value, list):
        draft.leave(key, f"is {shown(key.value)}, not a list")
        return
    try:
        found = [_one_prefix(value, bits) for value in key.value]
    except ValueError as error:
        draft.leave(key, str(error))
        return
    _filter(key, found, into, draft)


def _filter(key: Key, found: Iterable[str], into: KeyPath, draft: Draft) -> None:
    wanted = list(dict.fromkeys(found))
    if wanted:
        draft.put(into, wanted, key)
    else:
        draft.take(key)


def _one_prefix(value: object, bits: int) -> str:
    """`0000ff00/24`; bits behind the prefix do not count for them, and are not written by us."""
    match = re.fullmatch(rf"([0-9A-Fa-f]{{{bits // 4}}})/([0-9]{{1,2}})", value) if isinstance(value, str) else None
    if match is None or int(match[2]) > bits:
        raise ValueError(f"has {shown(value)}, not {bits // 4} hex digits, / and a number of bits")
    return _as_prefix(int(match[1], 16), int(match[2]), bits)


def _as_prefix(number: int, length: int, bits: int) -> str:
    free = bits - length
    return str(Prefix(number >> free << free, length, bits))


def _net_ids(key: Key | None, into: KeyPath, draft: Draft) -> None:
    """A NetID is a range of addresses."""
    if key is None:
        return
    try:
        numbers = [read_net_id(value) for value in key.value] if isinstance(key.value, list) else []
    except ValueError as error:
        draft.leave(key, str(error))
        return
    _filter(
        key, (_as_prefix(int(dev_addr_in(number, 0)), 32 - address_bits(number), 32) for number in numbers), into, draft
    )


def _join_ranges(sheet: Sheet, into: KeyPath, draft: Draft) -> None:
    """Ranges from first to last, as the prefixes that cover exactly them."""
    found: list[str] = []
    for at in sheet.parts("filters", "join_euis"):
        keys = sheet.under("filters", "join_euis", at)
        pair = keys[0].value if len(keys) == 1 else None
        try:
            prefixes = _range(pair)
        except ValueError as error:
            draft.leave_branch(sheet, "filters", "join_euis", at, why=str(error))
            continue
        found += prefixes
        draft.take_all(keys, into)
    draft.take(sheet.get("filters", "join_euis"))
    if found:
        draft.values[into] = found


def _range(pair: object) -> list[str]:
    ends = (
        [int(value, 16) for value in pair if isinstance(value, str) and re.fullmatch(r"[0-9A-Fa-f]{16}", value)]
        if isinstance(pair, list)
        else []
    )
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError(f"is {shown(pair)}, not the first and last of a range of JoinEUIs")
    first, last = ends
    prefixes = []
    while first <= last:
        free = min((first & -first).bit_length() - 1 if first else 64, (last - first + 1).bit_length() - 1)
        prefixes.append(_as_prefix(first, 64 - free, 64))
        first += 1 << free
    if len(prefixes) > 16:
        raise ValueError(
            f"is {shown(pair)}, a range that takes {len(prefixes)} prefixes; only_join_eui has to be set by hand"
        )
    return prefixes
