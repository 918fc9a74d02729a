"""What a settings file gives: values with the manual's defaults, or every problem at once."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, UsageError
from gateway.model import DevAddr, GatewayEui, JoinEui
from gateway.settings import Address, Secret, Settings, examine, load, load_for_run, secret, secret_path
from gateway.settings.models import KINDS, GatewaySettings
from gateway.settings.toml_file import parse_toml


@pytest.fixture
def write(tmp_path):
    def write_file(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def problems(write):
    """The problems of a text, each as `LINE key problem`."""

    def find(text: str) -> list[str]:
        path = write(text)
        with pytest.raises(SettingsError) as raised:
            load(path)
        shown = [str(problem) for problem in raised.value.problems]
        assert all(line.startswith(f"{path}:") for line in shown)
        assert not any("\n" in line for line in shown)
        return [line.removeprefix(f"{path}:") for line in shown]

    return find


# --- values ---------------------------------------------------------------------------------------------------------


def test_an_empty_file_gives_the_defaults_of_the_manual(write):
    assert load(write("")) == Settings()
    defaults = load(write('[sink.s]\ntype = "mqtt"\nurl = "mqtt://host:1883"\n'))
    assert defaults.gateway.eui is None
    assert defaults.store.path == Path("/var/lib/lorawan-gateway")
    assert defaults.store.commit_interval == timedelta(seconds=1)
    assert defaults.store.max_size == 4 * 1024**3
    assert (defaults.store.max_age, defaults.store.keep_delivered) == (timedelta(days=30), timedelta(days=7))
    assert defaults.store.when_full == "keep-newest"
    assert defaults.codecs.path == (Path("/etc/lorawan-gateway/codecs"),)
    assert (defaults.network.answer, defaults.network.net_id) == (True, 0)
    assert str(defaults.console.listen) == "127.0.0.1:8080"
    sink = defaults.sink["s"]
    assert (sink.live_first, sink.backlog_rate, sink.in_flight) == (True, 200, 32)
    assert sink.backlog_delay == timedelta(seconds=30)
    assert (sink.only_tags, sink.fields) == ({}, ())
    assert sink.type == "mqtt"
    assert (sink.format, sink.topic_prefix, sink.tenant) == ("gateway", None, "default")
    assert (sink.require_subscriber, sink.home_assistant) == (False, None)


def test_a_full_file_gives_typed_values(write):
    given_settings = load(
        write("""
            [gateway]
            eui = "00:16:c0:01:ff:10:a2:35"
            name = "Musée Fabre, toit"
            latitude = 43
            longitude = 3.87
            [store]
            path = "data"
            commit_interval = "0ms"
            max_size = "500MB"
            max_age = "1.5h"
            [radio]
            type = "packet-forwarder"
            listen = "[::]:1700"
            [network]
            net_id = "00000A"
            [lns.a]
            type = "semtech-udp"
            server = "lns.example.org:1700"
            only_dev_addr = ["26000000/7"]
            only_join_eui = ["70b3d57ed0000000/40"]
            [sink.b]
            type = "mqtt"
            url = "mqtts://host"
            username = "u"
            password_file = "credential:broker"
            only_tags = { kind = "glass" }
            fields = ["id", "measurements"]
        """)
    )
    assert given_settings.gateway.eui == GatewayEui.parse("0016c001ff10a235")
    assert given_settings.store.path.is_absolute()
    assert given_settings.store.path.name == "data"
    assert given_settings.store.commit_interval == timedelta(0)
    assert given_settings.store.max_size == 500_000_000
    assert given_settings.store.max_age == timedelta(minutes=90)
    assert given_settings.radio.type == "packet-forwarder"
    assert given_settings.radio.listen == Address("::", 1700)
    assert str(given_settings.radio.listen) == "[::]:1700"
    assert given_settings.network.net_id == 10
    (addresses,) = given_settings.lns["a"].only_dev_addr
    assert [addresses.covers(DevAddr.parse(text)) for text in ("26000000", "27ffffff", "28000000")] == [1, 1, 0]
    (joins,) = given_settings.lns["a"].only_join_eui
    assert joins.covers(int.from_bytes(JoinEui.parse("70b3d57ed0ffffff"), "big"))
    assert not joins.covers(int.from_bytes(JoinEui.parse("70b3d57ed1000000"), "big"))
    sink = given_settings.sink["b"]
    assert sink.type == "mqtt"
    assert (sink.url.host, sink.url.port, sink.url.encrypted) == ("host", 8883, True)
    assert sink.password_file == Secret("credential:broker")


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("10s", timedelta(seconds=10)),
        ("5min", timedelta(minutes=5)),
        ("5m", timedelta(minutes=5)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("0.1 s", timedelta(milliseconds=100)),
    ],
)
def test_durations(write, text, duration):
    assert load(write(f'store.max_age = "{text}"')).store.max_age == duration


@pytest.mark.parametrize(("text", "size"), [("4GiB", 4 << 30), ("1.5 MiB", 3 << 19), ("500MB", 5 * 10**8)])
def test_sizes(write, text, size):
    assert load(write(f'store.max_size = "{text}"')).store.max_size == size


def test_relative_paths_count_from_the_settings_file(write, monkeypatch, tmp_path):
    path = write('store.path = "a"\ncodecs.path = ["b", "/c"]\nradio = { scenario = "air.toml" }\n')
    (tmp_path / "air.toml").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = load(Path("../gateway.toml"))
    assert found.store.path.resolve() == tmp_path / "a"
    assert [folder.resolve() for folder in found.codecs.path] == [tmp_path / "b", Path("/c")]
    assert found.radio.type == "virtual"
    assert found.radio.scenario.resolve() == tmp_path / "air.toml"
    path.write_text('radio = { scenario = "shipped.toml" }\n')
    shipped = load(path).radio
    assert shipped.type == "virtual"
    assert shipped.scenario == Path("shipped.toml")


def test_a_program_hands_over_typed_values():
    """The demo has no file: it builds its settings itself."""
    made = Settings.model_validate(
        {
            "gateway": {"eui": GatewayEui.parse("0016c001ff10a235")},
            "store": {"path": Path("x"), "max_age": timedelta(days=1)},
            "console": {"listen": Address("::1", 0)},
            "codecs": {"path": ()},
            "sink": {"s": {"type": "mqtt", "url": "mqtt://h", "token_file": Secret("/x")}},
        }
    )
    assert made.gateway.eui == GatewayEui.parse("0016c001ff10a235")
    assert (made.store.path, made.store.max_age) == (Path("x"), timedelta(days=1))
    assert made.console.listen == Address("::1", 0)
    assert made.sink["s"] == Settings.model_validate({"sink": {"s": made.sink["s"]}}).sink["s"]
    assert GatewaySettings(eui=None).eui is None


# --- problems -------------------------------------------------------------------------------------------------------


def test_ten_mistakes_are_ten_lines_in_file_order(problems):
    found = problems("""
        [gateway]
        regoin = "EU868"
        latitude = 91
        longitude = 3
        [store]
        commit_interval = 1
        max_size = "4 gigabytes"
        when_full = "keep-newst"
        [radio]
        type = "packet-forwader"
        listen = "1700"
        [sink.city]
        type = "mqtt"
        ulr = "mqtt://host:1883"
        password = "hunter2"
        username = "me"
        [console]
        listen = "127.0.0.1:99999"
    """)
    assert [line.split()[:2] for line in found] == [
        ["3", "gateway.regoin"],
        ["4", "gateway.latitude"],
        ["7", "store.commit_interval"],
        ["8", "store.max_size"],
        ["9", "store.when_full"],
        ["11", "radio.type"],
        ["12", "radio.listen"],
        ["15", "sink.city.ulr"],
        ["16", "sink.city.password"],
        ["19", "console.listen"],
    ]
    assert "did you mean gateway.region?" in found[0]
    assert 'did you mean "packet-forwarder"?' in found[5]
    assert "did you mean sink.city.url?" in found[7]
    assert 'password_file = "/path/to/it"' in found[8]


# One row for each kind of mistake: the text, where it is found, and what the sentence has to say.
MISTAKES = [
    ("gatway = {}", "1 gatway", "did you mean gateway?"),
    ("zzz = 1", "1 zzz", "known here: gateway, store"),
    ("gateway = 1", "1 gateway", "a table is wanted"),
    ("sink = 1", "1 sink", "a table is wanted"),
    ("[[sink]]", "1 sink", "a table is wanted"),
    ("sink.a = 1", "1 sink.a", "a table is wanted"),
    ("radio = []", "1 radio", "a table is wanted"),
    # [gateway]
    ('gateway.eui = "0016c001"', "1 gateway.eui", "16 hex digits"),
    ("gateway.eui = 16", "1 gateway.eui", "16 hex digits"),
    ("gateway.name = 1", "1 gateway.name", "text in quotes"),
    ('gateway.name = "a\\nb"', "1 gateway.name", "control characters"),
    ('gateway.region = "eu868"', "1 gateway.region", 'did you mean "EU868"?'),
    ("gateway.region = []", "1 gateway.region", "one of EU868, US915"),
    ("gateway.latitude = 43.6", "1 gateway.latitude", "without longitude"),
    ("gateway.longitude = 3.9", "1 gateway.longitude", "without latitude"),
    ("gateway = { latitude = 90.1, longitude = 0 }", "1 gateway.latitude", "between -90 and 90°"),
    ("gateway = { latitude = 0, longitude = -181 }", "1 gateway.longitude", "between -180 and 180°"),
    ("gateway = { latitude = nan, longitude = 0 }", "1 gateway.latitude", "finite"),
    ('gateway = { latitude = "43", longitude = 0 }', "1 gateway.latitude", "a number is wanted"),
    ("gateway.altitude_m = 1e9", "1 gateway.altitude_m", "between -500 and 9000 m"),
    (f"gateway.altitude_m = 0x{'f' * 5000}", "1 gateway.altitude_m", "a number is wanted"),
    # [store]
    ('store.path = ""', "1 store.path", "not a path"),
    ('store.path = "~/data"', "1 store.path", "whole path"),
    ('store.path = "a\\u0000b"', "1 store.path", "control characters"),
    ('store.commit_interval = "6s"', "1 store.commit_interval", "longer than 5s"),
    ('store.commit_interval = "1 fortnight"', "1 store.commit_interval", "not a duration"),
    ('store.commit_interval = "-1s"', "1 store.commit_interval", "not a duration"),
    ('store.max_age = "0s"', "1 store.max_age", "has to be longer"),
    ('store.max_age = "999999w"', "1 store.max_age", "hundred years"),
    ("store.max_age = 1979-05-27", "1 store.max_age", "not a duration"),
    ("store.max_size = 4", "1 store.max_size", "not a size"),
    ('store.max_size = "1kB"', "1 store.max_size", "at least 1MiB"),
    ('store.when_full = "stop"', "1 store.when_full", "one of keep-newest, keep-oldest"),
    # [gps]
    ('gps.device = "ttyAMA0"', "1 gps.device", '"/dev/ttyAMA0", "gpsd://localhost:2947" or "board"'),
    ('gps.device = "gpsd://"', "1 gps.device", "a receiver is"),
    ('gps.device = "gpsd://h:99999"', "1 gps.device", "a port is a number from 1 to 65535"),
    ('gps.device = "gpsd://[::1]:0"', "1 gps.device", "a port is a number from 1 to 65535"),
    ('gps.device = "board"', "1 gps.device", "radio.board names none"),
    ('gps.device = "board"\nradio = { type = "libloragw", board = "emb-lr1302" }', "1 gps.device", "no receiver"),
    ('gps = { device = "/dev/ttyS0", baud = 300 }', "1 gps.baud", "between 1200 and 921600"),
    ('gps = { device = "/dev/ttyS0", protocol = "sirf" }', "1 gps.protocol", "one of nmea, ublox"),
    ('gps = { device = "gpsd://h", baud = 9600 }', "1 gps.baud", "gpsd speaks to the receiver"),
    ("gps.baud = 9600", "1 gps.baud", "stands without device"),
    # [radio]
    ('radio = { type = "sx1301", board = "rak2287" }', "1 radio.type", 'did you mean "sx1302"?'),
    ("radio.type = 1", "1 radio.type", "one of virtual, packet-forwarder"),
    ('radio.listen = "127.0.0.1:1700"', "1 radio.listen", 'belongs to type packet-forwarder; this is "virtual"'),
    ("radio.speed = 0", "1 radio.speed", "between 0.001"),
    ("radio.seed = 1.5", "1 radio.seed", "whole number"),
    ("radio.seed = true", "1 radio.seed", "whole number"),
    ('radio = { type = "packet-forwarder", listen = ":1700" }', "1 radio.listen", "lacks the host"),
    ('radio = { type = "packet-forwarder", listen = "udp://a:1" }', "1 radio.listen", "without scheme"),
    ('radio = { type = "packet-forwarder", listen = "::1:1700" }', "1 radio.listen", "IPv6 needs brackets"),
    ('radio = { type = "packet-forwarder", listen = "a:²" }', "1 radio.listen", "not host and port"),
    ('radio = { type = "libloragw" }', "1 radio.board", "is missing"),
    ('radio = { type = "libloragw", board = "rak2278" }', "1 radio.board", "did you mean 'rak2287'?"),
    ('radio = { type = "libloragw", board = "sx1302c915gw1" }', "1 radio.board", "not made for EU868"),
    ('radio = { type = "libloragw", board = "wm1302", tx_gains = ["14:0/40"] }', "1 radio.tx_gains", "is no power"),
    ('radio = { type = "sx1302", board = "wm1302", sx1261 = "usb" }', "1 radio.sx1261", "/dev/spidev0.1"),
    ('radio = { type = "sx1302", board = "pg1302", usb = "/dev/ttyACM0" }', "1 radio.usb", "spi alone"),
    ('radio = { type = "sx1302", spi = "/dev/spidev0.0" }', "1 radio.reset", "is missing"),
    ('radio = { type = "sx1302", board = "rak2287", spi = "/dev/a", usb = "/dev/b" }', "1 radio.usb", "both set"),
    ('radio = { type = "sx1302", board = "rak2287", reset = "17" }', "1 radio.reset", "label of its GPIO chip"),
    ('radio = { type = "sx1302", board = "rak2287", library = "/x" }', "1 radio.library", "belongs to type libloragw"),
    (
        'gateway.region = "CN470-20A"\nradio = { type = "libloragw", board = "rak2287", block = 12 }',
        "2 radio.block",
        "CN470-20A has 8 blocks",
    ),
    ('radio = { type = "libloragw", board = "rak2287", channels = "city" }', "1 radio.channels", "no [lns.NAME] here"),
    (
        ('radio = { type = "libloragw", board = "rak2287", channels = "city" }\n'
        'lns.city = { type = "semtech-udp", server = "lns.example.org:1700" }'),
        "1 radio.channels",
        "never says what is to be heard",
    ),
    (
        ('radio = { type = "packet-forwarder", channels = "city" }\n'
        'lns.city = { type = "chirpstack-mqtt", server = "mqtt://lns.example.org" }'),
        "1 radio.channels",
        "in the configuration of the packet forwarder",
    ),
    (
        ('radio = { channels = "city" }\n'
        'lns.city = { type = "chirpstack-mqtt", server = "mqtt://lns.example.org" }'),
        "1 radio.channels",
        "process = true only",
    ),
    ('radio = { type = "libloragw", board = "rak2287", block = 13 }', "1 radio.block", "between 1 and 12"),
    ('gateway.region = "US915"\nradio = { type = "libloragw", board = "wm1302" }', "2 radio.block", "block of eight"),
    ("radio.process = true\nradio.speed = 2", "2 radio.speed", "has to be 1 in a process"),
    ('radio = { type = "libloragw", usb = "ttyACM0" }', "1 radio.usb", "is named like"),
    # [codecs], [network], [console]
    ('codecs.path = "/x"', "1 codecs.path", 'write ["/x"]'),
    ("codecs.path = [\n'/x',\n1]", "3 codecs.path[1]", "not a path"),
    ("network.answer = 'true'", "1 network.answer", "true or false"),
    ('network.net_id = "0"', "1 network.net_id", "6 hex digits"),
    ("network.net_id = 0", "1 network.net_id", "6 hex digits"),
    ('console.listen = "8080"', "1 console.listen", "not host and port"),
    (
        'radio = { type = "packet-forwarder", listen = "0.0.0.0:1700" }\nconsole.listen = "0.0.0.0:1700"',
        "2 console.listen",
        "another one",
    ),
]  # fmt: skip

# The same for tables with a name: the text continues `[sink.s]` or `[lns.n]` with a type.
SINK_MISTAKES = [
    ("", "sink.s.type", "one of mqtt, ngsi-v2"),
    ('type = "kafka"', "sink.s.type", "no type of sink"),
    ('type = "mqtt"', "sink.s.url", 'is missing, for example "mqtt://'),
    ('type = "mqtt"\nurl = "host:1883"', "sink.s.url", "without its scheme; write mqtt://"),
    ('type = "mqtt"\nurl = "http://host"', "sink.s.url", "one of mqtt, mqtts"),
    ('type = "mqtt"\nurl = "mqtt://"', "sink.s.url", "no name or address"),
    ('type = "mqtt"\nurl = "mqtt://ho st"', "sink.s.url", "no blanks"),
    ('type = "mqtt"\nurl = "mqtt://host:70000"', "sink.s.url", "out of range"),
    ('type = "mqtt"\nurl = "mqtt://host:0"', "sink.s.url", "1 to 65535"),
    ('type = "mqtt"\nurl = "mqtt://[::1"', "sink.s.url", "Invalid IPv6"),
    ('type = "mqtt"\nurl = "mqtt://host/topic"', "sink.s.url", "nothing follows the port"),
    ('type = "mqtt"\nurl = "mqtt://me:hunter2@host"', "sink.s.url", "password_file"),
    ('type = "mqtt"\nurl = "me:hunter2@host"', "sink.s.url", "password_file"),
    ('type = "nats"\nurl = "nats://h"\ncredentials_file = "/x"\ntoken_file = "/y"', "sink.s.token_file", "one of them"),
    ('type = "file"\npath = "/x"\nrotate = "10ms"', "sink.s.rotate", "whole seconds"),
    ('type = "mqtt"\nurl = "mqtt://h"\ntime_step = "500ms"', "sink.s.time_step", "whole seconds"),
    ('type = "mqtt"\nurl = "mqtt://h"\nposition_decimals = 8', "sink.s.position_decimals", "between 0 and 7"),
    ('type = "mqtt"\nurl = "mqtt://h"\nbatch = 1', "sink.s.batch", "belongs to type ngsi-v2 or ngsi-ld or webhook"),
    ('type = "mqtt"\nurl = "mqtt://h"\npassword_file = "hunter2"\nusername = "u"', "sink.s.password_file", "neither"),
    ('type = "mqtt"\nurl = "mqtt://h"\ntoken_file = "credential:../x"', "sink.s.token_file", "letters, digits"),
    ('type = "mqtt"\nurl = "mqtt://h"\npassword_file = "/x"', "sink.s.password_file", "without username"),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nusername = "u"\npassword_file = "/x"\ntoken_file = "/y"',
        "sink.s.token_file",
        "both set",
    ),
    ('type = "mqtt"\nurl = "mqtts://h"\ncert_file = "/x"', "sink.s.cert_file", "without key_file"),
    ('type = "mqtt"\nurl = "mqtts://h"\nkey_file = "/x"', "sink.s.key_file", "without cert_file"),
    ('type = "mqtt"\nurl = "mqtt://h"\nca_file = "/x"', "sink.s.ca_file", "write mqtts:// in url"),
    ('type = "mqtt"\nurl = "mqtt://h"\ntopic_prefix = "a/#"', "sink.s.topic_prefix", "no + or #"),
    ('type = "mqtt"\nurl = "mqtt://h"\nformat = "json"', "sink.s.format", "one of gateway, chirpstack, ttn"),
    ('type = "mqtt"\nurl = "mqtt://h"\nformat = "ttn"', "sink.s.application", "its id"),
    ('type = "mqtt"\nurl = "mqtt://h"\nformat = "chirpstack"', "sink.s.application", "UUID or name"),
    ('type = "mqtt"\nurl = "mqtt://h"\nformat = "chirpstack"\napplication = "\\n"', "sink.s.application", "control"),
    ('type = "mqtt"\nurl = "mqtt://h"\nformat = "ttn"\napplication = "My_App"', "sink.s.application", "Things Stack"),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nformat = "ttn"\napplication = "app"\nfields = ["time", "measurements"]',
        "sink.s.fields",
        "leave nothing of what a device said",
    ),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nformat = "chirpstack"\napplication = "app"\nfields = ["data"]',
        "sink.s.fields",
        'leave out "time"',
    ),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nformat = "chirpstack"\napplication = "app"\nposition_decimals = 2',
        "sink.s.position_decimals",
        "name them in fields",
    ),
    ('type = "nats"\nurl = "nats://h"\ncopies = "first"', "sink.s.copies", "a JetStream drops copies itself"),
    ('type = "ngsi-ld"\nurl = "http://h"\ncopies = "first"', "sink.s.copies", 'write "home"'),
    ('type = "ngsi-v2"\nurl = "http://h"\nmark_for = "2d"', "sink.s.mark_for", "without copies"),
    ('type = "mqtt"\nurl = "mqtt://h"\nhome_assistant = "a/#"', "sink.s.home_assistant", "no + or #"),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nhome_assistant = "ha"\nformat = "ttn"\napplication = "app"',
        "sink.s.home_assistant",
        "our own messages",
    ),
    (
        'type = "mqtt"\nurl = "mqtt://h"\nhome_assistant = "ha"\nfields = ["name"]',
        "sink.s.fields",
        'needs "measurements"',
    ),
    ('type = "mqtt"\nurl = "mqtt://h"\nfields = ["tine"]', "sink.s.fields[0]", 'did you mean "time"?'),
    ('type = "mqtt"\nurl = "mqtt://h"\nfields = "time"', "sink.s.fields", 'write ["time"]'),
    ('type = "mqtt"\nurl = "mqtt://h"\nonly_tags = { kind = 1 }', "sink.s.only_tags.kind", "text in quotes"),
    ('type = "mqtt"\nurl = "mqtt://h"\nin_flight = 0', "sink.s.in_flight", "between 1"),
    ('type = "mqtt"\nurl = "mqtt://h"\nbacklog_rate = -1', "sink.s.backlog_rate", "records/s"),
    ('type = "ngsi-v2"\nurl = "http://h"\nservice = "metro-pole"', "sink.s.service", "50 letters"),
    ('type = "ngsi-v2"\nurl = "http://h"\nservice_path = "water"', "sink.s.service_path", "begins with /"),
    ('type = "ngsi-v2"\nurl = "http://h"\nentity_id = "urn:{dev_eui}:{nme}"', "sink.s.entity_id", '"{nme}"'),
    ('type = "ngsi-v2"\nurl = "http://h"\nentity_id = "urn:{model}"', "sink.s.entity_id", "without {dev_eui}"),
    ('type = "ngsi-ld"\nurl = "http://h"\ncontext = ["context.jsonld"]', "sink.s.context[0]", "without its scheme"),
    ('type = "webhook"\nurl = "https://h/#x"', "sink.s.url", "after #"),
    ('type = "webhook"\nurl = "https://h/"\nhmac = "hunter2"', "sink.s.hmac", 'hmac_file = "/path/to/it"'),
    ('type = "nats"\nurl = "nats://h"\nstream = "a.b"', "sink.s.stream", "stream's name"),
    ('type = "nats"\nurl = "nats://h"\nsubject = "a.>"', "sink.s.subject", "single dots"),
    ('type = "file"', "sink.s.path", "is missing, for example"),
    ('type = "file"\npath = "/x"\nca_file = "/y"', "sink.s.ca_file", "belongs to type"),
]
LNS_MISTAKES = [
    ('type = "semtech-udp"', "lns.n.server", "is missing, for example"),
    ('type = "semtech-udp"\nserver = "host"', "lns.n.server", "not host and port"),
    ('type = "semtech-udp"\nserver = "host:0"', "lns.n.server", "1 to 65535"),
    ('type = "semtech-udp"\nserver = "h:1"\nonly_dev_addr = ["26"]', "lns.n.only_dev_addr[0]", "8 hex digits"),
    ('type = "semtech-udp"\nserver = "h:1"\nonly_dev_addr = ["26011bda"]', "lns.n.only_dev_addr[0]", '"26011bda/32"'),
    ('type = "semtech-udp"\nserver = "h:1"\nonly_dev_addr = ["26000000/33"]', "lns.n.only_dev_addr[0]", "0 to 32"),
    ('type = "semtech-udp"\nserver = "h:1"\nonly_dev_addr = ["27000000/7"]', "lns.n.only_dev_addr[0]", '"26000000/7"'),
    ('type = "semtech-udp"\nserver = "h:1"\nonly_join_eui = [1]', "lns.n.only_join_eui[0]", "16 hex digits"),
    ('type = "basics-station"', "lns.n.server", "or name cups"),
    ('type = "basics-station"\nserver = "https://h"', "lns.n.server", "one of ws, wss"),
    ('type = "basics-station"\nserver = "ws://h:1887"', "lns.n.server", "insecure = true"),
    ('type = "basics-station"\ncups = "http://h"', "lns.n.cups", "the scheme is one of https"),
    (
        'type = "basics-station"\nserver = "wss://h"\ntoken_file = "/t"\ncert_file = "/c"\nkey_file = "/k"',
        "lns.n.token_file",
        "both set",
    ),
    ('type = "chirpstack-mqtt"\nserver = "h:1883"', "lns.n.server", "write mqtt://"),
    ('type = "chirpstack-mqtt"\nserver = "mqtt://h"\nmarshaler = "proto"', "lns.n.marshaler", 'mean "protobuf"?'),
]
EVERY_MISTAKE = [
    *MISTAKES,
    *((f"[sink.s]\n{text}", key, words) for text, key, words in SINK_MISTAKES),
    *((f"[lns.n]\n{text}", key, words) for text, key, words in LNS_MISTAKES),
]


@pytest.mark.parametrize(("text", "where", "words"), EVERY_MISTAKE)
def test_a_mistake_is_one_sentence_at_its_key(problems, text, where, words):
    (problem,) = problems(text)
    assert f"{where} " in f"{problem} "
    assert words in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('hmac_file = "k"', "a place to knock"),
        ("", "could be anybody's"),
        ('hmac_file = "k"\npseudonym_key_file = "p"', "who knows no device commands none"),
    ],
)
def test_commands_need_a_door_a_signature_and_names(problems, keys, words):
    found = [str(one) for one in problems(f'[sink.s]\ntype = "webhook"\nurl = "https://h/"\ncommands = true\n{keys}')]
    assert any(words in one for one in found)


def test_a_subscription_needs_an_address_and_a_token(problems):
    sink = '[commands]\nlisten = "0.0.0.0:8090"\n[sink.s]\ntype = "ngsi-v2"\nurl = "http://h"\ncommands = "subscribe"'
    assert [str(one).split()[1] for one in problems(sink)] == ["sink.s.notify_url", "sink.s.notify_token_file"]


def test_commands_and_console_need_ports_of_their_own(problems):
    (problem,) = problems('[commands]\nlisten = "127.0.0.1:8081"\n[console]\nlisten = "127.0.0.1:8081"')
    assert "commands.listen" in str(problem)


def test_a_network_server_that_is_our_own_radio_would_be_a_circle(problems):
    radio = '[radio]\ntype = "packet-forwarder"\nlisten = "192.0.2.1:1700"\n[lns.n]\ntype = "semtech-udp"\n'
    for host in ("192.0.2.1", "localhost", "127.0.0.1"):
        assert "circle" in problems(f'{radio}server = "{host}:1700"')[0]


def test_two_sinks_may_not_share_a_file_or_a_client_id(problems):
    mqtt = 'type = "mqtt"\nurl = "mqtt://h"\nclient_id = "c"\n'
    assert problems(f"[sink.a]\n{mqtt}[sink.b]\n{mqtt}")[0].startswith("8 sink.b.client_id is that of sink.a too")
    file = 'type = "file"\npath = "/x"\n'
    assert problems(f"[sink.a]\n{file}[sink.b]\n{file}")[0].startswith("6 sink.b.path is that of sink.a too")


@pytest.mark.parametrize("name", ["", "a b", "-a", "é", "x" * 65, "a/b"])
def test_a_sink_has_a_name_that_fits_topics_and_files(problems, name):
    (problem,) = problems(f'[sink."{name}"]\ntype = "mqtt"\nurl = "mqtt://h"\n')
    assert "is no name" in problem


def test_what_is_right_beside_a_wrong_type_is_checked_as_the_type_that_was_meant(problems):
    assert [line.split()[1] for line in problems('[sink.s]\ntype = "mqt"\nurl = "http://h"\n')] == [
        "sink.s.type",
        "sink.s.url",
    ]


# Allowed on purpose: each of these stood close to a rule.
@pytest.mark.parametrize(
    "text",
    [
        'console.listen = "127.0.0.1:0"\nradio = { type = "packet-forwarder", listen = "127.0.0.1:0" }',
        '[lns.n]\ntype = "basics-station"\nserver = "ws://127.0.0.1:1887"',
        '[lns.n]\ntype = "basics-station"\nserver = "ws://[::1]:1887"',
        '[lns.n]\ntype = "basics-station"\nserver = "ws://lns:1887"\ninsecure = true',
        '[lns.n]\ntype = "basics-station"\ncups = "https://cups"\nca_file = "/x"',
        '[sink.s]\ntype = "ngsi-v2"\nurl = "http://h"\nca_file = "/x"\nhistory_url = "https://h"',
        '[sink.s]\ntype = "mqtt"\nurl = "mqtt://h"\ntoken_file = "/x"',
        '[sink.s]\ntype = "mqtt"\nurl = "mqtt://h"\nusername = "u"',
        '[sink.a]\ntype = "mqtt"\nurl = "mqtt://h"\n[sink.b]\ntype = "mqtt"\nurl = "mqtt://h"',
        'radio = { type = "sx1302", usb = "/dev/ttyACM0" }',
        'gps.device = "board"\nradio = { type = "libloragw", board = "rak2287" }',
        'gps = { device = "/dev/ttyUSB0", baud = 38400, protocol = "ublox" }',
        'gps.device = "gpsd://[::1]"',
        'store.keep_delivered = "0s"',
    ],
)
def test_what_goes_together_is_no_problem(write, text):
    assert isinstance(load(write(text)), Settings)


# --- what this version cannot run -----------------------------------------------------------------------------------

RUNNABLE = {
    ("radio", "virtual"),
    ("radio", "packet-forwarder"),
    ("radio", "libloragw"),
    ("lns", "semtech-udp"),
    ("lns", "basics-station"),
    ("lns", "chirpstack-mqtt"),
    ("sink", "mqtt"),
    ("sink", "webhook"),
    ("sink", "nats"),
    ("sink", "file"),
    ("sink", "ngsi-v2"),
    ("sink", "ngsi-ld"),
}
SMALLEST = {
    "radio": '[radio]\ntype = "{type}"\nboard = "rak2287"\n',
    "lns": '[lns.n]\ntype = "{type}"\nserver = "{server}"\n',
    "sink": '[sink.s]\ntype = "{type}"\n{where}\n',
}
SERVERS = {"semtech-udp": "h:1700", "basics-station": "wss://h", "chirpstack-mqtt": "mqtt://h"}
WHERES = {"mqtt": 'url = "mqtt://h"', "nats": 'url = "nats://h"', "file": 'path = "/x"'}


@pytest.mark.parametrize(("kind", "type_"), [(kind, type_) for kind, types in KINDS.items() for type_ in types])
def test_run_and_check_refuse_what_this_version_does_not_have(write, kind, type_):
    text = SMALLEST[kind].format(type=type_, server=SERVERS.get(type_), where=WHERES.get(type_, 'url = "http://h"'))
    path = write(text if type_ not in {"virtual", "packet-forwarder"} else f'[radio]\ntype = "{type_}"\n')
    loaded = load(path)
    if (kind, type_) in RUNNABLE:
        assert load_for_run(path) == loaded
        assert examine(path).problems == ()
    else:
        with pytest.raises(SettingsError) as raised:
            load_for_run(path)
        assert examine(path).problems == raised.value.problems
        (problem,) = raised.value.problems
        assert problem.line == 2
        assert f'"{type_}" comes with a later version' in problem.text


# --- secrets --------------------------------------------------------------------------------------------------------

SINK = '[sink.s]\ntype = "mqtt"\nurl = "mqtt://h"\nusername = "u"\npassword_file = "{}"\n'


@pytest.mark.parametrize(("written", "read"), [("s3cret\n", "s3cret"), ("s3cret", "s3cret"), (" s\n\n", " s\n")])
def test_a_secret_is_read_without_one_newline_at_its_end(tmp_path, written, read):
    path = tmp_path / "secret"
    path.write_text(written)
    assert secret(Secret(str(path))) == read


def test_a_credential_comes_from_systemds_folder(tmp_path, monkeypatch):
    (tmp_path / "broker").write_text("s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret(Secret("credential:broker")) == "s3cret"
    assert secret_path(Secret("credential:broker")) == tmp_path / "broker"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(UsageError, match="handed over by systemd"):
        secret(Secret("credential:broker"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_a_sentence(tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        secret(Secret(str(path)))


def test_check_looks_at_secret_files_and_load_does_not(write, tmp_path):
    path = write(SINK.format(tmp_path / "secret"))
    assert load(path).sink
    assert "cannot be read" in examine(path).problems[0].text
    assert (examine(path).problems[0].line, examine(path).problems[0].key) == (5, "sink.s.password_file")
    (tmp_path / "secret").touch(mode=0o600)
    assert "is empty" in examine(path).problems[0].text
    (tmp_path / "secret").write_text("s3cret")
    assert examine(path).problems == ()
    assert not any("secret" in note for note in examine(path).notes)
    (tmp_path / "secret").chmod(0o644)
    assert examine(path).problems == ()
    assert "chmod o-r" in examine(path).notes[0]
    assert "s3cret" not in "".join(examine(path).notes)


def test_a_short_key_for_pseudonyms_is_a_problem_before_the_start(write, tmp_path):
    path = write(f'[sink.s]\ntype = "mqtt"\nurl = "mqtt://h"\npseudonym_key_file = "{tmp_path / "key"}"\n')
    (tmp_path / "key").write_bytes(b"k" * 15 + b"\n")
    (problem,) = examine(path).problems
    assert (problem.line, problem.key) == (4, "sink.s.pseudonym_key_file")
    assert "less than 16 bytes" in problem.text
    (tmp_path / "key").write_bytes(b"k" * 16)
    assert examine(path).problems == ()


def test_check_looks_for_scenario_and_codec_folders(write, tmp_path):
    path = write('radio.scenario = "nowhere.toml"\n\ncodecs.path = ["none"]\n')
    assert load(path).radio
    (problem,) = examine(path).problems
    assert (problem.line, problem.key) == (1, "radio.scenario")
    assert any("none, a folder that does not exist" in note for note in examine(path).notes)
    (tmp_path / "nowhere.toml").touch()
    (tmp_path / "none").mkdir()
    assert examine(path).problems == ()
    assert not any("folder" in note for note in examine(path).notes)


def test_a_credential_is_only_looked_at_where_systemd_gave_some(write, tmp_path, monkeypatch):
    path = write(SINK.format("credential:broker"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert examine(path).problems == ()
    assert "handed over by systemd" in examine(path).notes[0]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "cannot be read" in examine(path).problems[0].text


# --- arbitrary input ------------------------------------------------------------------------------------------------

KNOWN = sorted(
    {"gateway", "store", "radio", "codecs", "network", "lns", "sink", "console", "type", "password", "ulr"}
    | {key for types in KINDS.values() for model in types.values() for key in model.model_fields}
)
WORDS = sorted({type_ for types in KINDS.values() for type_ in types} | {"mqt", "mqtt://h", "a:1", "1s", "/x", "", "é"})
SCALARS = (
    st.sampled_from(WORDS).map(repr)
    | st.integers(-3, 1 << 70).map(str)
    | st.sampled_from(["true", "nan", "-inf", "1.5", "1979-05-27", "07:32:00", '"\\u0000"', '"\\n"', "'''\n'''"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(KNOWN), inner, max_size=4).map(
            lambda table: f"{{{', '.join(f'{key} = {value}' for key, value in table.items())}}}"
        )
    ),
    max_leaves=10,
)
TABLES = st.tuples(
    st.sampled_from(
        ["gateway", "store", "radio", "codecs", "network", "console", "sink.a", "sink.b", "lns.c", "sinks.d"]
    ),
    st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=5),
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=3), st.lists(TABLES, max_size=4))
def test_any_structure_gives_settings_or_problems_with_lines(tmp_path_factory, top, tables):
    text = "".join(f"{key} = {value}\n" for key, value in top.items())
    for name, table in tables:
        text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(text)
    examination = examine(path)
    for problem in examination.problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert not re.search(r"Input should|Value error|[\x00-\x1f]", problem.text)
    assert list(examination.problems) == sorted(examination.problems, key=lambda problem: problem.line)
    if examination.settings is not None:
        assert load(path) == examination.settings
    else:
        with pytest.raises(SettingsError) as raised:
            load(path)
        assert set(raised.value.problems) <= set(examination.problems)


def test_examine_reports_what_is_no_toml(write):
    (problem,) = examine(write("a = \n")).problems
    assert problem.line == 1
    assert parse_toml(b"", "f").table == {}
