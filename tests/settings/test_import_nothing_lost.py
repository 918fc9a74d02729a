"""Whatever stands in the files of other programs: every key is taken or listed, and the settings load."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from former_gateways import BRIDGE, CONCENTRATORD, FORWARDER, SEMTECH, STATION, file, imported, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, UsageError
from gateway.settings.importing.commented_json import leaves
from gateway.settings.importing.foreign import ForeignFile, Key, json_keys, toml_keys
from gateway.settings.importing.writing import as_toml
from gateway.settings.toml_file import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.importing import Imported

WORDS = st.sampled_from(
    [
        *(
            "",
            "/a/b",
            "localhost",
            "::1",
            "host.example.org",
            "tcp://h:1883",
            "ssl://h",
            "$HOME",
            "eu868",
            "USB",
            "10s",
        ),
        *("semtech", "ttn", "generic", "semtech_udp", "concentratord", "0016c001f1500812", "16:c001::"),
        *("a b", "é", "\x85", "a\nb"),
    ]
)
ANY = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.sampled_from([0, 1, 30, 1700, 867_500_000, 868_500_000, -400_000])
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=12)
    | st.just([])
    | st.just({})
    | st.lists(WORDS, max_size=3)
    | st.dictionaries(st.sampled_from(["enable", "a", "freq"]), st.integers(), max_size=2)
)


def sample_leaves(text: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """Path and value of a JSON sample."""
    return [(path, value) for path, _, value in leaves(text)]


def toml_leaves(text: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """Path and value of a TOML sample."""
    return [(key.path, key.value) for key in toml_keys(file("sample.toml", text))]


@st.composite
def changed(draw: st.DrawFn, sample: list[tuple[tuple[str | int, ...], Any]], known: list[str]) -> dict[str, Any]:
    """A sample of which keys are gone, have other values or have others beside them."""
    root: dict[str, Any] = {}
    for path, value in sample:
        match draw(st.sampled_from(["keep", "keep", "keep", "gone", "other"])):
            case "keep":
                put(root, path, value)
            case "other":
                put(root, path, draw(ANY))
    tops = sorted({str(path[0]) for path, _ in sample})
    for name in draw(st.lists(st.sampled_from(known) | st.text(max_size=6), max_size=4)):
        put(root, (draw(st.sampled_from(tops)), name), draw(ANY))
    return root


def put(root: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """Set a value deep in objects; indexes become keys, which is all the same here."""
    for part in path[:-1]:
        inner = root.setdefault(str(part), {})
        if not isinstance(inner, dict):
            inner = root[str(part)] = {}
        root = inner
    root[str(path[-1])] = value


def as_toml_text(root: dict[str, Any]) -> str:
    """Objects as dotted keys; TOML has no null."""
    lines = []

    def walk(path: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk((*path, name), inner)
        elif not isinstance(value, dict) and value is not None:
            lines.append(f"{'.'.join(map(as_toml, path))} = {as_toml(value)}")

    walk((), root)
    return "\n".join(lines)


SEMTECH_KEYS = [
    "servers",
    "lbt_cfg",
    "gps",
    "beacon",
    "upstream",
    "downstream",
    "serv_enabled",
    "description",
    "watchdog",
]
STATION_KEYS = ["euiprefix", "nodc", "device", "gps", "pps", "RADIODEV", "txpow_adjust", "web_port"]
TOML_KEYS = ["region", "concentratord", "qos", "beacon", "split_delimiter", "type", "join_euis", "sx1302_reset_pin"]


def check(*files: ForeignFile) -> None:
    """Every key of the files is taken or listed, whatever drives the concentrator, and what came of it loads."""
    for radio in ("libloragw", "virtual", None):
        found = imported(*files, radio=radio)
        listed(found, files)
    assert verdict(found).problems == ()


def listed(found: Imported, files: Iterable[ForeignFile]) -> None:
    """Every key of the files is taken or listed."""
    told = {(one.file, one.line, one.key) for one in found.taken} | {
        (one.file, one.line, one.key) for one in found.left_out
    }
    branches = {(one.file, one.key) for one in found.left_out}
    for one in files:
        for key in keys_of(one):
            whole = [dotted(key.path[:end]) for end in range(1, len(key.path))]
            assert (key.file, key.line, str(key)) in told or any((key.file, part) in branches for part in whole), key
    assert not [one for one in found.left_out if not one.text]


def keys_of(one: ForeignFile) -> list[Key]:
    """All leaves of a file."""
    if one.base.endswith(".toml"):
        return toml_keys(one)
    return json_keys(one) if one.base.endswith((".json", ".conf")) else [Key(one.name, 1, (one.base,), None)]


@settings(deadline=None, max_examples=150)
@given(changed(sample_leaves(SEMTECH), SEMTECH_KEYS), st.none() | changed(sample_leaves(SEMTECH), SEMTECH_KEYS))
def test_no_key_of_a_packet_forwarder_is_lost(conf, local):
    for one in (conf, local or {}):
        one.setdefault("gateway_conf", {"server_address": "h"})
    check(file("global_conf.json", conf), *([file("local_conf.json", local)] if local else []))


SERVER_KEYS = st.sampled_from(
    [f"serv_{name}" for name in ("port_up", "port_down", "type", "enabled", "up_enabled", "down_enabled", "gw_key")]
    + ["server_address", "critical", "x"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(SERVER_KEYS, ANY), max_size=3))
def test_no_key_of_a_list_of_servers_is_lost(servers):
    check(file("global_conf.json", {"gateway_conf": {"servers": servers, "keepalive_interval": 10}}))


@settings(deadline=None, max_examples=100)
@given(
    changed(sample_leaves(STATION), STATION_KEYS),
    st.dictionaries(
        st.sampled_from(
            [f"{set_}.{part}" for set_ in ("tc", "cups", "tc-bak") for part in ("uri", "trust", "crt", "key")]
        ),
        st.sampled_from([b"", b"wss://h:1", b"ws://h", b"https://h", b"A: b", b"\xff\xfe", b"-----BEGIN", b"x y"])
        | st.binary(),
    ),
)
def test_no_key_and_no_file_of_station_is_lost(conf, home):
    check(file("station.conf", conf), *(file(name, content) for name, content in home.items()))


@settings(deadline=None, max_examples=100)
@given(changed(toml_leaves(FORWARDER), TOML_KEYS))
def test_no_key_of_chirpstack_mqtt_forwarder_is_lost(root):
    root.setdefault("mqtt", {"server": "tcp://h:1883"})
    root.pop("integration", None)
    check(file("chirpstack-mqtt-forwarder.toml", as_toml_text({"mqtt": {"json": False}} | root)))


@settings(deadline=None, max_examples=100)
@given(changed(toml_leaves(BRIDGE), TOML_KEYS), changed(toml_leaves(CONCENTRATORD), TOML_KEYS))
def test_no_key_of_bridge_and_concentratord_is_lost(bridge, concentratord):
    check(
        file("chirpstack-gateway-bridge.toml", as_toml_text({"integration": {"marshaler": "json"}} | bridge)),
        file("concentratord.toml", as_toml_text({"gateway": {"antenna_gain": 0}} | concentratord)),
    )


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["global_conf.json", "station.conf", "f.toml", "reset_lgw.sh", "tc.uri", "x"]),
    st.binary() | st.text().map(str.encode) | st.sampled_from([SEMTECH, STATION, FORWARDER, BRIDGE]).map(str.encode),
    st.integers(0, 4000),
)
def test_any_bytes_give_settings_or_a_clear_error(base, content, cut):
    with suppress(SettingsError, UsageError):
        assert verdict(imported(file(base, content[: len(content) - cut] or content))).problems == ()
