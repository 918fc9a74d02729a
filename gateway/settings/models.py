"""The settings as frozen types, table by table as they stand in the file.

Every type of radio, sink and network server that the product knows is here and validates fully, also those that this
version cannot run yet (`available.py` is the list of what it can). Defaults are those of the manual. What concerns
more than one key is in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from gateway.settings.values import (
    Address,
    AsTuple,
    DevAddrRange,
    Duration,
    FilePath,
    GatewayEuiOrAuto,
    HttpsUrl,
    HttpUrl,
    JoinEuiRange,
    Listen,
    MqttUrl,
    NatsUrl,
    NetId,
    PositiveDuration,
    ScenarioPath,
    SecretFile,
    Server,
    Size,
    WebSocketUrl,
    at_least,
    at_most,
    between,
    matching,
    template,
)


class Table(BaseModel):
    """A table of the file: unknown keys are problems, values keep the type TOML gave them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# RP002-1.0.4 Regional Parameters, section 2: the common names of the channel plans. CN470 is the plan that most devices
# in China have, the others there are by antenna width and type; AS923-1-JP is AS923 under Japanese law.
Region = Literal[
    "EU868", "US915", "CN779", "EU433", "AU915", "CN470", "CN470-20A", "CN470-20B", "CN470-26A", "CN470-26B", "AS923",
    "AS923-1", "AS923-1-JP", "AS923-2", "AS923-3", "AS923-4", "KR920", "IN865", "RU864",
]  # fmt: skip
REGIONS: tuple[str, ...] = get_args(Region)

# What a reading consists of: the keys of its own JSON.
ReadingField = Literal[
    "id", "record_id", "gateway_eui", "time", "time_quality", "time_uncertainty_ms", "dev_eui", "dev_addr", "name",
    "tags", "codec", "f_cnt", "f_port", "confirmed", "adr", "payload", "data", "measurements", "warnings", "problem",
    "late", "gap_before", "radio",
]  # fmt: skip

Text = Annotated[str, matching(r"[^\x00-\x1f\x7f]*", "control characters have no place here")]
Title = Annotated[str, matching(r"[^\x00-\x1f\x7f]{1,200}", "text without control characters is wanted here")]
Word = Annotated[str, matching(r"[^\s\x00-\x1f\x7f]{1,200}", "one word is wanted here, without blanks")]
Latitude = Annotated[float, between(-90, 90, "°")]
Longitude = Annotated[float, between(-180, 180, "°")]
Altitude = Annotated[float, between(-500, 9000, " m")]
CommitInterval = Annotated[Duration, at_most("5s", "a power cut would lose that much")]
AntennaGain = Annotated[float, between(-20, 30, " dBi")]
AttributeName = Annotated[
    str, matching(r"[A-Za-z][A-Za-z0-9_]{0,99}", "an attribute is named with letters, digits and underscores")
]
BatchSize = Annotated[int, between(1, 10_000)]
TopicPrefix = Annotated[
    str,
    matching(
        r"(?!\$)[^\s\x00-\x1f\x7f+#/]+(?:/[^\s\x00-\x1f\x7f+#/]+)*",
        'a topic prefix has no blanks, no + or #, and no / at its ends: "lorawan", "city/lorawan"',
    ),
]
# Orion: Fiware-Service has at most 50 letters, digits and _, Fiware-ServicePath up to 10 levels of 50.
FiwareService = Annotated[
    str, matching(r"[A-Za-z0-9_]{1,50}", "a Fiware-Service has at most 50 letters, digits and underscores")
]
FiwareServicePath = Annotated[
    str,
    matching(
        r"/|(?:/[A-Za-z0-9_]{1,50}){1,10}",
        'a Fiware-ServicePath begins with / and has up to 10 levels of letters, digits and underscores: "/water/north"',
    ),
]


class GatewaySettings(Table):
    """Who and where this gateway is."""

    eui: GatewayEuiOrAuto = None  # None: "auto", from the chip, else from the first network interface
    name: Text = ""
    region: Region = "EU868"
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    altitude_m: Altitude | None = None


class StoreSettings(Table):
    """What is kept, how safely, how long."""

    path: FilePath = Path("/var/lib/lorawan-gateway")
    commit_interval: CommitInterval = timedelta(seconds=1)
    max_size: Size = 4 << 30
    max_age: PositiveDuration = timedelta(days=30)
    keep_delivered: Duration = timedelta(days=7)
    when_full: Literal["keep-newest", "keep-oldest"] = "keep-newest"
    key_file: SecretFile | None = None  # wraps the keys that records are sealed with


# --- radio ----------------------------------------------------------------------------------------------------------


class Radio(Table):
    """What every radio has: which channels it hears."""

    channels: Title = "region"  # or the NAME of the [lns.NAME] whose channel plan the radio follows
    # Of eight channels, where the region has more: US915, AU915, CN470.
    block: Annotated[int, between(1, 12)] | None = None


class VirtualRadioSettings(Radio):
    """Simulated devices on a simulated air."""

    type: Literal["virtual"] = "virtual"
    scenario: ScenarioPath = Path("city.toml")  # relative: the name of a shipped scenario
    seed: Annotated[int, between(0, (1 << 63) - 1)] | None = None
    speed: Annotated[float, between(0.001, 100_000)] = 1.0
    air: FilePath | None = None  # the socket of an air that somebody else keeps, instead of a scenario's
    # In the radio process, as a real chip is, at the pace of the clock. Not by default: in the daemon its time can run
    # faster, and the same seed gives the same frames to the microsecond.
    process: bool = False


class PacketForwarderRadioSettings(Radio):
    """Another packet forwarder that speaks Semtech UDP to us."""

    type: Literal["packet-forwarder"]
    listen: Listen = Address("127.0.0.1", 1700)
    antenna_gain_dbi: AntennaGain = 0.0  # what the forwarder does not subtract by itself


GpioPin = Annotated[
    str,
    matching(
        r"[^\s:]+:(?:\d{1,4}|[^\s:]+)",
        'a pin is the label of its GPIO chip, ":" and the line: "pinctrl-bcm2711:17"',
    ),
]


class ChipSettings(Radio):
    """A concentrator chip: a board of the table, or its bus and reset pin, which override those of the board."""

    board: Annotated[str, matching(r"[a-z0-9][a-z0-9_-]*", 'a board is named like "rak2287"')] | None = None
    spi: Annotated[str, matching(r"/dev/\S+", 'an SPI device is named like "/dev/spidev0.0"')] | None = None
    usb: Annotated[str, matching(r"/\S+", 'a USB device is named like "/dev/ttyACM0"')] | None = None
    reset: GpioPin | None = None
    power: GpioPin | None = None  # switches the supply of the board
    sx1261_reset: GpioPin | None = None
    sx1261: Annotated[str, matching(r"/dev/\S+|usb|none", 'it is "/dev/spidev0.1", "usb" or "none"')] | None = None
    i2c: Annotated[str, matching(r"/dev/\S+", 'an I2C bus is named like "/dev/i2c-1"')] | None = None
    temperature_sensor: (
        Annotated[str, matching(r"0x[0-7][0-9a-fA-F]|none", 'an I2C address is written "0x39", no sensor "none"')]
        | None
    ) = None
    rssi_offset_db: Annotated[float, between(-300, 0, " dB")] | None = None
    tx_gains: Annotated[tuple[str, ...], AsTuple] = ()  # DBM:PA/INDEX; empty: those of the board
    gpio: Literal["gpiod", "rpi-gpio"] = "gpiod"
    antenna_gain_dbi: AntennaGain = 0.0  # of the antenna less its cable; power at the connector is that much less


class LibloragwRadioSettings(ChipSettings):
    """A chip through Semtech's library."""

    type: Literal["libloragw"]
    library: FilePath = Path("/usr/lib/libloragw.so")


class Sx1302RadioSettings(ChipSettings):
    """A chip through our own driver."""

    type: Literal["sx1302"]


RadioSettings = VirtualRadioSettings | PacketForwarderRadioSettings | LibloragwRadioSettings | Sx1302RadioSettings
RADIOS: Mapping[str, type[Table]] = {
    "virtual": VirtualRadioSettings,
    "packet-forwarder": PacketForwarderRadioSettings,
    "libloragw": LibloragwRadioSettings,
    "sx1302": Sx1302RadioSettings,
}


GpsDevice = Annotated[
    str,
    matching(
        r"/\S+|gpsd://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?|board",
        'a receiver is "/dev/ttyAMA0", "gpsd://localhost:2947" or "board" for where radio.board has it',
    ),
]


class GpsSettings(Table):
    """A receiver of GPS and its sisters: time and place."""

    device: GpsDevice | None = None  # None: there is none
    baud: Annotated[int, between(1_200, 921_600)] | None = None  # None: found out
    protocol: Literal["nmea", "ublox"] | None = None  # ublox: it is asked for UBX too; None: as the board has it


# --- codecs, own network, console -----------------------------------------------------------------------------------


class CodecsSettings(Table):
    """Folders of a site's own codecs; the first that has a codec wins, the shipped ones come last."""

    path: Annotated[tuple[FilePath, ...], AsTuple] = (Path("/etc/lorawan-gateway/codecs"),)


class NetworkSettings(Table):
    """Devices the gateway serves itself."""

    answer: bool = True
    net_id: NetId = 0
    rx2_data_rate: int | None = None  # None: that of the region
    extra_channels: Annotated[tuple[int, ...], AsTuple] | None = None  # Hz; None: the usual ones of the region


class CommandsSettings(Table):
    """Where platforms ask for downlinks over HTTP; nowhere when `listen` is left out."""

    listen: Listen | None = None
    cert_file: SecretFile | None = None
    key_file: SecretFile | None = None


class ConsoleSettings(Table):
    """Pages, JSON, /metrics."""

    listen: Listen = Address("127.0.0.1", 8080)


# --- network servers ------------------------------------------------------------------------------------------------


class Login(Table):
    """Who we are to a server, and whom we trust."""

    username: Text | None = None
    password_file: SecretFile | None = None
    token_file: SecretFile | None = None
    ca_file: SecretFile | None = None
    cert_file: SecretFile | None = None
    key_file: SecretFile | None = None


class Lns(Table):
    """What every network server has."""

    only_dev_addr: Annotated[tuple[DevAddrRange, ...], AsTuple] = ()
    only_join_eui: Annotated[tuple[JoinEuiRange, ...], AsTuple] = ()
    own_devices: bool = False
    downlinks: bool = True


class SemtechUdpLnsSettings(Lns):
    """A network server that takes Semtech UDP."""

    type: Literal["semtech-udp"]
    server: Server
    keepalive: PositiveDuration = timedelta(seconds=10)
    stat_interval: PositiveDuration = timedelta(seconds=30)


class BasicsStationLnsSettings(Lns):
    """A network server that takes LoRa Basics Station; one of `server` and `cups` has to be there."""

    type: Literal["basics-station"]
    server: WebSocketUrl | None = None
    cups: HttpsUrl | None = None
    insecure: bool = False
    ca_file: SecretFile | None = None
    cert_file: SecretFile | None = None
    key_file: SecretFile | None = None
    token_file: SecretFile | None = None


class ChirpstackMqttLnsSettings(Lns, Login):
    """ChirpStack's gateway topics."""

    type: Literal["chirpstack-mqtt"]
    server: MqttUrl
    topic_prefix: TopicPrefix = "eu868"
    marshaler: Literal["protobuf", "json"] = "protobuf"
    stats_interval: PositiveDuration = timedelta(seconds=30)
    backlog: Literal["none", "chirpstack"] = "none"
    backlog_rate: Annotated[float, between(0.1, 1000, " frames/s")] = 20
    backlog_delay: Duration = timedelta(seconds=30)


LnsSettings = SemtechUdpLnsSettings | BasicsStationLnsSettings | ChirpstackMqttLnsSettings
LNS: Mapping[str, type[Table]] = {
    "semtech-udp": SemtechUdpLnsSettings,
    "basics-station": BasicsStationLnsSettings,
    "chirpstack-mqtt": ChirpstackMqttLnsSettings,
}


# --- sinks ----------------------------------------------------------------------------------------------------------


class Sink(Table):
    """What every destination has."""

    live_first: bool = True
    backlog_rate: Annotated[float, between(0.1, 100_000, " records/s")] = 200
    backlog_delay: Duration = timedelta(seconds=30)
    in_flight: Annotated[int, between(1, 10_000)] = 32
    only_tags: Mapping[str, Text] = Field(default_factory=dict)
    copies: Literal["all", "home", "first"] = "all"  # of what several gateways heard: which of them bring it here
    fields: Annotated[tuple[ReadingField, ...], AsTuple] = ()
    pseudonym_key_file: SecretFile | None = None
    position_decimals: Annotated[int, between(0, 7)] | None = None
    time_step: Annotated[Duration, at_least("1s", "times are cut to whole seconds or more")] | None = None


class MqttSinkSettings(Sink, Login):
    """An MQTT broker, in our own format or in that of ChirpStack or The Things Network."""

    type: Literal["mqtt"]
    url: MqttUrl
    format: Literal["gateway", "chirpstack", "ttn"] = "gateway"
    topic_prefix: TopicPrefix | None = None  # None: "lorawan" in our own format, none in the others
    application: Title | None = None
    tenant: Title = "default"
    client_id: Word | None = None  # None: made from gateway EUI and sink name
    require_subscriber: bool = False
    home_assistant: TopicPrefix | None = None  # the prefix that Home Assistant looks for entities below


class NgsiSink(Sink, Login):
    """What both NGSI versions have."""

    url: HttpUrl
    service: FiwareService | None = None
    service_path: FiwareServicePath = "/"
    oauth_url: HttpUrl | None = None
    client_id: Word | None = None
    client_secret_file: SecretFile | None = None
    entity_id: Annotated[Word, template("model", "dev_eui", required="dev_eui")] = "urn:ngsi-ld:{model}:{dev_eui}"
    batch: BatchSize = 100
    history_url: HttpUrl | None = None
    location: bool = True
    commands: Literal["off", "poll", "subscribe"] = "off"
    command_attributes: Annotated[tuple[AttributeName, ...], AsTuple] = ("downlink",)
    commands_interval: PositiveDuration = timedelta(seconds=30)
    commands_max_age: Annotated[PositiveDuration, at_most("1d", "longer the queue does not remember what was done")] = (
        timedelta(hours=1)
    )
    notify_url: HttpUrl | None = None
    notify_token_file: SecretFile | None = None


class NgsiV2SinkSettings(NgsiSink):
    """A FIWARE context broker, NGSI v2."""

    type: Literal["ngsi-v2"]
    mark_for: PositiveDuration = timedelta(days=8)


class NgsiLdSinkSettings(NgsiSink):
    """A FIWARE context broker, NGSI-LD."""

    type: Literal["ngsi-ld"]
    tenant: Word | None = None
    context: Annotated[tuple[HttpUrl, ...], AsTuple] = ()
    temporal: bool = True


class WebhookSinkSettings(Sink, Login):
    """An HTTP endpoint that takes POSTs."""

    type: Literal["webhook"]
    url: HttpUrl
    batch: BatchSize = 100
    hmac_file: SecretFile | None = None
    commands: bool = False
    commands_hmac_file: SecretFile | None = None  # None: that of hmac_file


class NatsSinkSettings(Sink, Login):
    """A NATS JetStream."""

    type: Literal["nats"]
    url: NatsUrl
    stream: Annotated[str, matching(r"[^\s.*>/\\\x00-\x1f\x7f]+", "a stream's name has no blanks . * > / or \\")] = (
        "LORAWAN"
    )
    subject: Annotated[
        Word, template("gateway_eui", "dev_eui"), matching(r"[^.*>]+(?:\.[^.*>]+)*", "words between single dots")
    ] = "lorawan.{gateway_eui}.{dev_eui}.up"
    credentials_file: SecretFile | None = None
    create_stream: bool = False
    duplicate_window: PositiveDuration = timedelta(days=1)


class FileSinkSettings(Sink):
    """A file on this machine."""

    type: Literal["file"]
    path: Annotated[FilePath, Field(examples=["/var/lib/lorawan-gateway/readings.jsonl"])]
    format: Literal["jsonl", "csv"] = "jsonl"
    rotate: Annotated[Duration, at_least("1s", "a file is for whole seconds or more")] = timedelta(days=1)
    geojson: FilePath | None = None


SinkSettings = (
    MqttSinkSettings
    | NgsiV2SinkSettings
    | NgsiLdSinkSettings
    | WebhookSinkSettings
    | NatsSinkSettings
    | FileSinkSettings
)
SINKS: Mapping[str, type[Table]] = {
    "mqtt": MqttSinkSettings,
    "ngsi-v2": NgsiV2SinkSettings,
    "ngsi-ld": NgsiLdSinkSettings,
    "webhook": WebhookSinkSettings,
    "nats": NatsSinkSettings,
    "file": FileSinkSettings,
}


# --- all of it ------------------------------------------------------------------------------------------------------


class Settings(Table):
    """One settings file. An empty one gives all defaults."""

    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    radio: Annotated[RadioSettings, Field(discriminator="type")] = VirtualRadioSettings()
    gps: GpsSettings = GpsSettings()
    codecs: CodecsSettings = CodecsSettings()
    network: NetworkSettings = NetworkSettings()
    lns: Mapping[str, Annotated[LnsSettings, Field(discriminator="type")]] = Field(default_factory=dict)
    sink: Mapping[str, Annotated[SinkSettings, Field(discriminator="type")]] = Field(default_factory=dict)
    commands: CommandsSettings = CommandsSettings()
    console: ConsoleSettings = ConsoleSettings()


KINDS: Mapping[str, Mapping[str, type[Table]]] = {"radio": RADIOS, "lns": LNS, "sink": SINKS}
"""The tables whose keys depend on their `type`."""
