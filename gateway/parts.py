"""From settings to parts: which program text stands behind each `type` of a settings file.

Each maker imports its part when it is asked for: a gateway on a roof does not carry the simulator in its memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.decoding.catalogue import Catalogue
from gateway.delivery.drain import Manners
from gateway.errors import UsageError
from gateway.forgetting import Known
from gateway.journal import NOBODY
from gateway.lns.filters import Filter, NumberRange
from gateway.lns.server import Untuned
from gateway.model import Position, PositionSource
from gateway.radio.boards import named
from gateway.radio.transmitters import Transmitters
from gateway.regions import region_named
from gateway.settings import secret, secret_path
from gateway.store.devices import NewDevice
from gateway.store.retention import Limits
from gateway.wire.fiware_models import Rules
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.delivery.mqtt import Words
    from gateway.delivery.ngsi_login import Credentials
    from gateway.delivery.ngsi_orders import Orders
    from gateway.delivery.sink import Sink
    from gateway.gps.watch import Gps
    from gateway.journal import Onlooker
    from gateway.lns.backlog import Keeper
    from gateway.lns.server import Carrier, Carry, Listening, NetworkServer, Reception
    from gateway.model import DevEui, GatewayEui, Stamp
    from gateway.radio.chip import ChipPlan, Option
    from gateway.radio.chip_radio import ChipRadio
    from gateway.radio.concentrator import Concentrator
    from gateway.radio.duty_cycle import AirtimeLedger
    from gateway.regions.region import Region
    from gateway.settings import Secret, Settings
    from gateway.settings.models import (
        BasicsStationLnsSettings,
        ChirpstackMqttLnsSettings,
        FileSinkSettings,
        LibloragwRadioSettings,
        Lns,
        LnsSettings,
        MqttSinkSettings,
        NatsSinkSettings,
        NgsiLdSinkSettings,
        NgsiV2SinkSettings,
        PacketForwarderRadioSettings,
        SemtechUdpLnsSettings,
        SinkSettings,
        VirtualRadioSettings,
        WebhookSinkSettings,
    )
    from gateway.settings.values import Prefix
    from gateway.simulator.scenario import Scenario
    from gateway.wire.chirpstack import DutyCycles

    Now = Callable[[], Stamp]
    Counters = Callable[[], Mapping[DevEui, int]]


# --- radio ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """What a chip is told to hear, and what to go back to when it does not start so."""

    plan: ChipPlan | None
    before: ChipPlan | None = None


def _packet_forwarder(
    settings: PacketForwarderRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, _: Counters, __: Heard
) -> Concentrator:
    from gateway.radio.packet_forwarder import PacketForwarderRadio

    transmitters = Transmitters(region, ledger, antenna_gain_dbi=settings.antenna_gain_dbi)
    return PacketForwarderRadio(str(settings.listen), now, transmitters)


def _virtual(
    settings: VirtualRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, f_cnt_up: Counters, heard: Heard
) -> Concentrator:
    if settings.process or settings.air is not None:
        return _virtual_in_process(settings, region, ledger, now, f_cnt_up, heard)
    from gateway.radio.virtual import VirtualRadio

    return VirtualRadio(
        _scenario(settings),
        Transmitters(region, ledger),
        stamp=now,
        seed=settings.seed,
        speed=settings.speed,
        f_cnt_up=f_cnt_up(),
    )


def _scenario(settings: VirtualRadioSettings) -> Scenario:
    from gateway.simulator.scenario_file import load_scenario

    return load_scenario(settings.scenario)


def _virtual_in_process(
    settings: VirtualRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, f_cnt_up: Counters, heard: Heard
) -> Concentrator:
    from gateway.radio.chip_radio import ChipRadio, ChipSetting
    from gateway.simulator import shared_air
    from gateway.simulator.real_time import ANTENNA_GAIN_DBI, DRIVER, options_for

    def options() -> Mapping[str, Option]:
        if settings.air is not None:
            return {"air": str(settings.air)}
        return options_for(settings.scenario, seed=settings.seed, f_cnt_up=f_cnt_up())

    assert heard.plan is not None, "a chip is told what to hear"
    setting = ChipSetting(
        type="virtual",
        driver=DRIVER if settings.air is None else shared_air.DRIVER,
        plan=heard.plan,
        before=heard.before,
        options=options,
        receiver="virtual",
        realtime=False,
    )
    return ChipRadio(setting, Transmitters(region, ledger, antenna_gain_dbi=ANTENNA_GAIN_DBI), stamp=now)


DRIVERS: Mapping[str, str] = {"libloragw": "gateway.radio.libloragw:open_chip"}
"""Which function of which module makes the chip; the radio process imports it, the daemon never does."""


def _chip(
    settings: LibloragwRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, _: Counters, heard: Heard
) -> ChipRadio:
    from gateway.radio.chip_radio import ChipRadio, ChipSetting

    assert heard.plan is not None, "a chip is told what to hear"
    told = _told_of_the_board(settings, region)
    setting = ChipSetting(
        type=settings.type,
        driver=DRIVERS[settings.type],
        plan=heard.plan,
        before=heard.before,
        options=lambda: told,
    )
    return ChipRadio(setting, Transmitters(region, ledger, antenna_gain_dbi=settings.antenna_gain_dbi), stamp=now)


def _told_of_the_board(settings: LibloragwRadioSettings, region: Region) -> Mapping[str, str | float]:
    """What a driver is told of its board: the settings by their own names, `tx_gains` as words of one text."""
    told: dict[str, str | float] = {"region": region.name, "library": str(settings.library), "gpio": settings.gpio}
    for name in ("board", "spi", "usb", "reset", "power", "sx1261_reset", "sx1261", "i2c", "temperature_sensor"):
        if (value := getattr(settings, name)) is not None:
            told[name] = str(value)
    if settings.rssi_offset_db is not None:
        told["rssi_offset_db"] = settings.rssi_offset_db
    if settings.tx_gains:
        told["tx_gains"] = " ".join(settings.tx_gains)
    return told


RADIOS: Mapping[str, Callable[[Any, Region, AirtimeLedger, Now, Counters, Heard], Concentrator]] = {
    "packet-forwarder": _packet_forwarder,
    "virtual": _virtual,
    "libloragw": _chip,
}


def own_channels(settings: Settings) -> ChipPlan | None:
    """What the radio hears by the settings alone; None where another program has that in its own configuration."""
    from gateway.radio.channels import plan_of

    radio, region = settings.radio, region_named(settings.gateway.region)
    match radio.type:
        case "libloragw" | "sx1302":
            pass
        case "virtual" if radio.process or radio.air is not None:
            pass
        case _ if radio.block is None or not region.fixed_plan:
            return None
    return plan_of(region, extra_hz=settings.network.extra_channels, block=radio.block)


def radio(settings: Settings, ledger: AirtimeLedger, now: Now, f_cnt_up: Counters, heard: Heard) -> Concentrator:
    """The concentrator that the settings name; what it sends is booked in the ledger.

    `f_cnt_up` are the counters that simulated devices go on from.
    """
    region = region_named(settings.gateway.region)
    return RADIOS[settings.radio.type](settings.radio, region, ledger, now, f_cnt_up, heard)


async def chip_eui(settings: Settings, now: Now) -> GatewayEui | None:
    """The number of the concentrator, which is started for that; None where the radio is no chip or has no number."""
    if settings.radio.type != "libloragw":
        return None
    from gateway.radio.duty_cycle import AirtimeLedger

    heard = Heard(own_channels(settings))
    radio = _chip(settings.radio, region_named(settings.gateway.region), AirtimeLedger(()), now, dict, heard)
    async with radio:
        return radio.eui


def residents(settings: Settings) -> Sequence[NewDevice]:
    """The devices of a simulated city, which its gateway knows; none when the radio is real."""
    if settings.radio.type != "virtual" or settings.radio.air is not None:
        return ()
    scenario = _scenario(settings.radio)
    return [
        *(NewDevice(device, session) for device, session in scenario.devices()),
        *(NewDevice(device, root_keys=keys) for device, keys in scenario.joining_devices()),
    ]


# --- time and place ------------------------------------------------------------------------------------------------


def gps(
    settings: Settings,
    radio: Concentrator,
    now: Now,
    tell: Callable[[int, int, int], bool],
    network: Callable[[], Stamp | None],
) -> Gps:
    """The receiver that the settings name, or none; a chip's pulses get their seconds from it.

    `tell` takes a time: UTC, how many milliseconds it can be off, and when that was on the clock since boot. `network`
    says what time it is by NTP alone.
    """
    from gateway.gps.watch import Gps, GpsSetting
    from gateway.radio.chip_radio import ChipRadio

    device, protocol = settings.gps.device, settings.gps.protocol
    board = None if settings.radio.type not in {"libloragw", "sx1302"} else settings.radio.board
    if board is not None:
        device = named(board).gnss if device == "board" else device
        protocol = protocol or ("ublox" if named(board).gnss_family == "ublox" else "nmea")
    found = Gps(GpsSetting(device, settings.gps.baud, protocol == "ublox", place(settings)), now, tell, network)
    if device is not None and isinstance(radio, ChipRadio):
        radio.follow(found.moment)
        found.watch(radio.pulse, radio.pulse_words)
    return found


def place(settings: Settings) -> Position | None:
    """Where the settings say that the gateway stands."""
    gateway = settings.gateway
    if gateway.latitude is None or gateway.longitude is None:
        return None
    return Position(gateway.latitude, gateway.longitude, gateway.altitude_m, PositionSource.SETTINGS)


# --- destinations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Here:
    """What a destination may say of the gateway beside its EUI."""

    region: str
    position: Callable[[], Position | None]  # GPS may find it later


def _mqtt(name: str, settings: MqttSinkSettings, here: Here, gateway_eui: GatewayEui) -> Sink:
    from gateway.delivery.mqtt import MqttSink
    from gateway.lines.mqtt import Broker

    password = settings.password_file or settings.token_file
    broker = Broker(
        url=str(settings.url),
        client_id=settings.client_id or f"{gateway_eui}-{name}",
        username=settings.username,
        password=_reader(password),
        ca_file=_file(settings.ca_file),
        cert_file=_file(settings.cert_file),
        key_file=_file(settings.key_file),
        in_flight=settings.in_flight,
    )
    words = _words(settings, here, gateway_eui)
    return MqttSink(name, broker, words, need_subscriber=settings.require_subscriber)


def _words(settings: MqttSinkSettings, here: Here, gateway_eui: GatewayEui) -> Words:
    """What the readers of a broker want to hear."""
    if settings.format == "gateway":
        from gateway.wire.home_assistant import HomeAssistant
        from gateway.wire.own_topics import OwnWords

        prefix = settings.topic_prefix or "lorawan"
        wanted = settings.home_assistant
        home_assistant = None if wanted is None else HomeAssistant(wanted, prefix)
        return OwnWords(gateway_eui, prefix, privacy=privacy(settings), home_assistant=home_assistant)
    manner: dict[str, Any] = {
        "application": settings.application or "",
        "tenant": settings.tenant,
        "topic_prefix": settings.topic_prefix or "",
        "location": here.position,
        "privacy": privacy(settings),
    }
    if settings.format == "chirpstack":
        from gateway.wire.chirpstack_events import ChirpstackWords

        return ChirpstackWords(gateway_eui, region_named(here.region), **manner)
    from gateway.wire.ttn_events import TtnWords

    return TtnWords(gateway_eui, **manner)


def _webhook(name: str, settings: WebhookSinkSettings, _here: Here, _: GatewayEui) -> Sink:
    from gateway.delivery.http_line import HttpServer
    from gateway.delivery.webhook import WebhookDestination, WebhookSink

    server = HttpServer(
        url=str(settings.url),
        username=settings.username,
        password=_reader(settings.password_file),
        token=_reader(settings.token_file),
        ca_file=_file(settings.ca_file),
        cert_file=_file(settings.cert_file),
        key_file=_file(settings.key_file),
    )
    command_key = settings.commands_hmac_file or settings.hmac_file
    return WebhookSink(
        WebhookDestination(
            name,
            server,
            settings.batch,
            _reader(settings.hmac_file),
            privacy(settings),
            _reader(command_key) if settings.commands else None,
            settings.only_tags,
        )
    )


def _nats(name: str, settings: NatsSinkSettings, _: Here, gateway_eui: GatewayEui) -> Sink:
    from gateway.delivery.nats import NatsDestination, NatsSink
    from gateway.lines.nats import NatsServer

    server = NatsServer(
        url=str(settings.url),
        name=f"lorawan-gateway {gateway_eui} {name}",
        username=settings.username,
        password=_reader(settings.password_file),
        token=_reader(settings.token_file),
        credentials=_reader(settings.credentials_file),
        ca_file=_file(settings.ca_file),
        cert_file=_file(settings.cert_file),
        key_file=_file(settings.key_file),
    )
    return NatsSink(
        NatsDestination(
            name,
            server,
            gateway_eui,
            stream=settings.stream,
            subject=settings.subject,
            create_stream=settings.create_stream,
            duplicate_window_s=settings.duplicate_window.total_seconds(),
            privacy=privacy(settings),
        )
    )


def _files(name: str, settings: FileSinkSettings, _here: Here, _: GatewayEui) -> Sink:
    from gateway.delivery.file import FileDestination, FileSink

    return FileSink(
        FileDestination(
            name,
            settings.path,
            settings.format,
            rotate_s=round(settings.rotate.total_seconds()),
            geojson=settings.geojson,
            privacy=privacy(settings),
        )
    )


def _ngsi_v2(name: str, settings: NgsiV2SinkSettings, here: Here, gateway_eui: GatewayEui) -> Sink:
    from gateway.delivery.ngsi_v2 import NgsiV2Destination, NgsiV2Sink

    return NgsiV2Sink(
        NgsiV2Destination(
            name=name,
            url=str(settings.url),
            gateway_eui=gateway_eui,
            credentials=_credentials(settings),
            service=settings.service,
            service_path=settings.service_path,
            rules=_rules(settings),
            orders=_orders(name, settings),
            batch=settings.batch,
            history_url=_text(settings.history_url),
            mark_for_s=settings.mark_for.total_seconds() if settings.copies == "first" else None,
            position=partial(_position, settings, here),
        )
    )


def _ngsi_ld(name: str, settings: NgsiLdSinkSettings, here: Here, gateway_eui: GatewayEui) -> Sink:
    from gateway.delivery.ngsi_ld import NgsiLdDestination, NgsiLdSink
    from gateway.wire.ngsi_ld import Context

    return NgsiLdSink(
        NgsiLdDestination(
            name=name,
            url=str(settings.url),
            gateway_eui=gateway_eui,
            credentials=_credentials(settings),
            tenant=settings.tenant,
            service=settings.service,
            service_path=settings.service_path,
            context=Context(tuple(map(str, settings.context))),
            rules=_rules(settings),
            orders=_orders(name, settings),
            batch=settings.batch,
            temporal=settings.temporal,
            history_url=_text(settings.history_url),
            position=partial(_position, settings, here),
        )
    )


def _position(settings: NgsiV2SinkSettings | NgsiLdSinkSettings, here: Here) -> tuple[float, float] | None:
    """Longitude and latitude of the gateway, as the destination may know them."""
    position = here.position() if settings.location else None
    if position is None:
        return None
    cut = privacy(settings).coordinate
    return cut(position.longitude), cut(position.latitude)


def _credentials(settings: NgsiV2SinkSettings | NgsiLdSinkSettings) -> Credentials:
    from gateway.delivery.ngsi_login import Credentials

    return Credentials(
        username=settings.username,
        password=_reader(settings.password_file),
        token=_reader(settings.token_file),
        oauth_url=_text(settings.oauth_url),
        client_id=settings.client_id,
        client_secret=_reader(settings.client_secret_file),
        ca_file=_file(settings.ca_file),
        cert_file=_file(settings.cert_file),
        key_file=_file(settings.key_file),
    )


def _rules(settings: NgsiV2SinkSettings | NgsiLdSinkSettings) -> Rules:
    return Rules(settings.entity_id, settings.location, privacy(settings))


def _orders(name: str, settings: NgsiV2SinkSettings | NgsiLdSinkSettings) -> Orders:
    from gateway.delivery.ngsi_orders import Orders

    url = settings.notify_url
    return Orders(
        mode=settings.commands,
        attributes=settings.command_attributes,
        interval_s=settings.commands_interval.total_seconds(),
        max_age_s=settings.commands_max_age.total_seconds(),
        notify_url=None if url is None else f"{str(url).rstrip('/')}/commands/{name}",
        token=_reader(settings.notify_token_file),
        only_tags=settings.only_tags,
    )


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)


def privacy(settings: SinkSettings) -> Privacy:
    """What of a reading leaves for a destination. UsageError when the key for its pseudonyms cannot be had."""
    return Privacy(
        fields=settings.fields,
        pseudonyms=None if settings.pseudonym_key_file is None else _pseudonyms(settings.pseudonym_key_file),
        position_decimals=settings.position_decimals,
        time_step_s=None if settings.time_step is None else round(settings.time_step.total_seconds()),
    )


def _pseudonyms(file: Secret) -> Pseudonyms:
    try:
        return Pseudonyms(secret_path(file).read_bytes().strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{file} gives no key for pseudonyms: {reason}") from error


def _reader(value: Secret | None) -> Callable[[], str] | None:
    return None if value is None else lambda: secret(value)


def _file(value: Secret | None) -> Path | None:
    return None if value is None else secret_path(value)


SINKS: Mapping[str, Callable[[str, Any, Here, GatewayEui], Sink]] = {
    "mqtt": _mqtt,
    "webhook": _webhook,
    "nats": _nats,
    "file": _files,
    "ngsi-v2": _ngsi_v2,
    "ngsi-ld": _ngsi_ld,
}

# A context broker keeps what came last: whatever the settings say, the order of observation is kept.
STRICT = frozenset({"ngsi-v2", "ngsi-ld"})


def sinks(
    settings: Settings, gateway_eui: GatewayEui, position: Callable[[], Position | None]
) -> Sequence[tuple[Sink, Manners]]:
    """The destinations that the settings name, and how each wants to be served."""
    here, served = Here(settings.gateway.region, position), manners(settings, gateway_eui)
    return [(SINKS[one.type](name, one, here, gateway_eui), served[name]) for name, one in settings.sink.items()]


def manners(settings: Settings, gateway_eui: GatewayEui) -> Mapping[str, Manners]:
    """How each destination wants to be served."""
    # What a device's tag may call this gateway.
    homes = frozenset({str(gateway_eui), settings.gateway.name.strip().lower()})
    return {name: _manners(one, homes) for name, one in settings.sink.items()}


def door_files(settings: Settings) -> tuple[Path | None, Path | None]:
    """Certificate and key of the listener for commands, if it has any."""
    return _file(settings.commands.cert_file), _file(settings.commands.key_file)


def known_as(settings: Settings, dev_eui: DevEui) -> Sequence[Known]:
    """Each destination, and the names under which it knows a device: what somebody who asks there has to say."""
    return [Known(name, one.type, _names(one, str(dev_eui))) for name, one in settings.sink.items()]


def _names(settings: SinkSettings, dev_eui: str) -> Sequence[str]:
    pseudonyms = privacy(settings).pseudonyms
    if settings.type in ("ngsi-v2", "ngsi-ld"):  # which of both depends on whether the device was personal
        names = _rules(settings).names_of(dev_eui)
        return [settings.entity_id.replace("{dev_eui}", name).replace("{model}", "*") for name in names]
    return [dev_eui if pseudonyms is None else pseudonyms.of("dev_eui", dev_eui)]


def _manners(settings: SinkSettings, homes: frozenset[str]) -> Manners:
    # Who takes readings in batches gets whole ones: unless `in_flight` is set, each lane's half of it holds a batch.
    in_flight = settings.in_flight
    if "in_flight" not in settings.model_fields_set:
        in_flight = max(in_flight, 2 * getattr(settings, "batch", 0))
    return Manners(
        live_first=settings.live_first and settings.type not in STRICT,
        backlog_per_s=settings.backlog_rate,
        backlog_delay_s=settings.backlog_delay.total_seconds(),
        in_flight=in_flight,
        only_tags=settings.only_tags,
        homes=homes if settings.copies == "home" else None,
    )


def duty_cycles(region: Region, radio: Concentrator) -> DutyCycles | None:
    """What the law limits by time, and what of it is used: of the transmitter that used most; None where it does not.

    ETSI EN 300 220 is the law of EU868 and EU433.
    """
    from gateway.radio.duty_cycle import HOUR_US
    from gateway.wire.chirpstack import BandLoad, DutyCycles

    used_s: dict[str, float] = {}
    for use in radio.health().airtime:
        band, so_much = str(use["band"]), float(str(use["used_s"]))
        used_s[band] = max(used_s.get(band, 0.0), so_much)
    bands = tuple(
        BandLoad(
            band.name,
            band.lowest_hz,
            band.highest_hz,
            int(HOUR_US * band.duty_cycle),
            round(used_s.get(band.name, 0.0) * 1_000_000),
        )
        for band in region.sub_bands
        if band.duty_cycle is not None
    )
    return DutyCycles(bands, is_etsi=region.name in {"EU868", "EU433"}) if bands else None


# --- network servers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    """What every network server is told about where it is, and what it may use."""

    gateway_eui: GatewayEui
    folder: Path  # what a server must remember lies here
    carrier: Carrier
    now: Now
    reception: Reception
    onlooker: Onlooker = NOBODY
    listening: Callable[[str], Listening] = lambda _: Untuned()
    airtime: Callable[[], DutyCycles | None] = lambda: None

    def carry_for(self, name: str) -> Carry:
        """The way to the radio of the network server of this name."""
        return partial(self.carrier, asker=name)


def _semtech_udp(name: str, settings: SemtechUdpLnsSettings, site: Site) -> NetworkServer:
    from gateway.lns.semtech_udp import SemtechUdpServer, SemtechUdpSettings

    return SemtechUdpServer(
        SemtechUdpSettings(
            name=name,
            host=settings.server.host,
            port=settings.server.port,
            gateway_eui=site.gateway_eui,
            keepalive_s=settings.keepalive.total_seconds(),
            stat_interval_s=settings.stat_interval.total_seconds(),
            downlinks=settings.downlinks,
        ),
        site.carry_for(name),
        site.now,
        site.reception,
        site.onlooker,
    )


def _basics_station(name: str, settings: BasicsStationLnsSettings, site: Site) -> NetworkServer:
    from gateway.lns.basics_station import BasicsStation, BasicsStationSettings

    return BasicsStation(
        BasicsStationSettings(
            name=name,
            server=None if settings.server is None else str(settings.server),
            cups=None if settings.cups is None else str(settings.cups),
            cups_file=site.folder / f"cups-{name}.json",
            insecure=settings.insecure,
            ca_file=_file(settings.ca_file),
            cert_file=_file(settings.cert_file),
            key_file=_file(settings.key_file),
            token_file=_file(settings.token_file),
            downlinks=settings.downlinks,
        ),
        site.carry_for(name),
        site.now,
        site.reception,
        site.gateway_eui,
        site.onlooker,
        listening=site.listening(name),
    )


def _chirpstack_mqtt(name: str, settings: ChirpstackMqttLnsSettings, site: Site) -> NetworkServer:
    from gateway.lns.chirpstack_mqtt import ChirpstackMqttServer, ChirpstackMqttSettings
    from gateway.wire.chirpstack import Marshaler

    password = settings.password_file or settings.token_file
    return ChirpstackMqttServer(
        ChirpstackMqttSettings(
            name=name,
            url=str(settings.server),
            gateway_eui=site.gateway_eui,
            topic_prefix=settings.topic_prefix,
            marshaler=Marshaler(settings.marshaler),
            stats_interval_s=settings.stats_interval.total_seconds(),
            downlinks=settings.downlinks,
            username=settings.username,
            password=None if password is None else lambda: secret(password),
            ca_file=_file(settings.ca_file),
            cert_file=_file(settings.cert_file),
            key_file=_file(settings.key_file),
            program=f"lorawan-edge-gateway {__version__}",
        ),
        site.carry_for(name),
        site.now,
        site.reception,
        onlooker=site.onlooker,
        listening=site.listening(name),
        airtime=site.airtime,
    )


LNS: Mapping[str, Callable[[str, Any, Site], NetworkServer]] = {
    "semtech-udp": _semtech_udp,
    "basics-station": _basics_station,
    "chirpstack-mqtt": _chirpstack_mqtt,
}


def lns(settings: Settings, site: Site) -> Sequence[tuple[NetworkServer, Filter]]:
    """The network servers that the settings name, and which frames each wants."""
    return [(LNS[one.type](name, one, site), _wishes(one)) for name, one in settings.lns.items()]


def with_history(
    settings: Settings, servers: Sequence[tuple[NetworkServer, Filter]], keeper: Callable[[str], Keeper], now: Now
) -> Sequence[tuple[NetworkServer, Filter]]:
    """The same servers; those whose settings ask for the backlog get it from the keeper."""
    return [(_filled(settings.lns[server.name], server, wishes, keeper, now), wishes) for server, wishes in servers]


def _filled(
    settings: LnsSettings, server: NetworkServer, wishes: Filter, keeper: Callable[[str], Keeper], now: Now
) -> NetworkServer:
    if settings.type != "chirpstack-mqtt" or settings.backlog == "none":
        return server
    from gateway.lns.backlog import Pace, Replayable, WithHistory

    assert isinstance(server, Replayable)
    pace = Pace(settings.backlog_rate, settings.backlog_delay.total_seconds())
    return WithHistory(server, wishes, keeper(server.name), now, pace)


def _wishes(settings: Lns) -> Filter:
    return Filter(
        tuple(map(_number_range, settings.only_dev_addr)),
        tuple(map(_number_range, settings.only_join_eui)),
        settings.own_devices,
    )


def _number_range(prefix: Prefix) -> NumberRange:
    return NumberRange(prefix.value, prefix.value | (1 << prefix.bits - prefix.length) - 1)


# --- store ----------------------------------------------------------------------------------------------------------


def limits(settings: Settings) -> Limits:
    """What the store may hold, and for how long."""
    store = settings.store
    return Limits(
        max_bytes=store.max_size,
        max_age_s=store.max_age.total_seconds(),
        keep_delivered_s=store.keep_delivered.total_seconds(),
        keep_newest=store.when_full == "keep-newest",
    )


def store_key(settings: Settings) -> bytes | None:
    """The key that wraps the keys of the log's parts, if the settings name one: 32 bytes, or any text, digested."""
    file = settings.store.key_file
    if file is None:
        return None
    material = secret_path(file).read_bytes().strip()
    return material if len(material) == 32 else hashlib.blake2s(material, person=b"storekey").digest()


# --- codecs ---------------------------------------------------------------------------------------------------------


def catalogue(settings: Settings) -> Catalogue:
    """The shipped codecs, before them those of installed packages, and before these a site's own."""
    return Catalogue.of_site(settings.codecs.path)
