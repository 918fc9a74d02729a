"""From settings to parts: which program text stands behind each `type` of a settings file.

Each maker imports its part when it is asked for: a gateway on a roof does not carry the simulator in its memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.decoding.catalogue import Catalogue
from gateway.delivery.drain import Manners
from gateway.lns.filters import Filter, NumberRange
from gateway.radio.transmitters import Transmitters
from gateway.regions import region_named
from gateway.settings import secret, secret_path
from gateway.store.devices import NewDevice
from gateway.store.retention import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.delivery.mqtt import Words
    from gateway.delivery.sink import Sink
    from gateway.lns.backlog import Keeper
    from gateway.lns.server import Carry, NetworkServer, Reception
    from gateway.model import DevEui, GatewayEui, Stamp
    from gateway.radio.concentrator import Concentrator
    from gateway.radio.duty_cycle import AirtimeLedger
    from gateway.regions.region import Region
    from gateway.settings import Secret, Settings
    from gateway.settings.models import (
        BasicsStationLnsSettings,
        ChirpstackMqttLnsSettings,
        GatewaySettings,
        Lns,
        LnsSettings,
        MqttSinkSettings,
        PacketForwarderRadioSettings,
        SemtechUdpLnsSettings,
        SinkSettings,
        VirtualRadioSettings,
    )
    from gateway.settings.values import Prefix
    from gateway.simulator.scenario import Scenario
    from gateway.wire.chirpstack import Location

    Now = Callable[[], Stamp]
    Counters = Callable[[], Mapping[DevEui, int]]


# --- radio ----------------------------------------------------------------------------------------------------------


def _packet_forwarder(
    settings: PacketForwarderRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, _: Counters
) -> Concentrator:
    from gateway.radio.packet_forwarder import PacketForwarderRadio

    transmitters = Transmitters(region, ledger, antenna_gain_dbi=settings.antenna_gain_dbi)
    return PacketForwarderRadio(str(settings.listen), now, transmitters)


def _virtual(
    settings: VirtualRadioSettings, region: Region, ledger: AirtimeLedger, now: Now, f_cnt_up: Counters
) -> Concentrator:
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


RADIOS: Mapping[str, Callable[[Any, Region, AirtimeLedger, Now, Counters], Concentrator]] = {
    "packet-forwarder": _packet_forwarder,
    "virtual": _virtual,
}


def radio(settings: Settings, ledger: AirtimeLedger, now: Now, f_cnt_up: Counters) -> Concentrator:
    """The concentrator that the settings name; what it sends is booked in the ledger.

    `f_cnt_up` are the counters that simulated devices go on from.
    """
    region = region_named(settings.gateway.region)
    return RADIOS[settings.radio.type](settings.radio, region, ledger, now, f_cnt_up)


def residents(settings: Settings) -> Sequence[NewDevice]:
    """The devices of a simulated city, which its gateway knows; none when the radio is real."""
    if settings.radio.type != "virtual":
        return ()
    scenario = _scenario(settings.radio)
    return [
        *(NewDevice(device, session) for device, session in scenario.devices()),
        *(NewDevice(device, root_keys=keys) for device, keys in scenario.joining_devices()),
    ]


# --- destinations ---------------------------------------------------------------------------------------------------


def _mqtt(name: str, settings: MqttSinkSettings, gateway: GatewaySettings, gateway_eui: GatewayEui) -> Sink:
    from gateway.delivery.mqtt import MqttSink
    from gateway.lines.mqtt import Broker

    password = settings.password_file or settings.token_file
    broker = Broker(
        url=str(settings.url),
        client_id=settings.client_id or f"{gateway_eui}-{name}",
        username=settings.username,
        password=None if password is None else lambda: secret(password),
        ca_file=_file(settings.ca_file),
        cert_file=_file(settings.cert_file),
        key_file=_file(settings.key_file),
        in_flight=settings.in_flight,
    )
    words = _words(settings, gateway, gateway_eui)
    return MqttSink(name, broker, words, need_subscriber=settings.require_subscriber)


def _words(settings: MqttSinkSettings, gateway: GatewaySettings, gateway_eui: GatewayEui) -> Words:
    """What the readers of a broker want to hear."""
    if settings.format == "gateway":
        from gateway.wire.home_assistant import HomeAssistant
        from gateway.wire.own_topics import OwnWords

        prefix = settings.topic_prefix or "lorawan"
        wanted = settings.home_assistant
        home_assistant = None if wanted is None else HomeAssistant(wanted, prefix)
        return OwnWords(gateway_eui, prefix, fields=settings.fields, home_assistant=home_assistant)
    manner: dict[str, Any] = {
        "application": settings.application or "",
        "tenant": settings.tenant,
        "topic_prefix": settings.topic_prefix or "",
        "location": _location(gateway),
        "fields": settings.fields,
    }
    if settings.format == "chirpstack":
        from gateway.wire.chirpstack_events import ChirpstackWords

        return ChirpstackWords(gateway_eui, region_named(gateway.region), **manner)
    from gateway.wire.ttn_events import TtnWords

    return TtnWords(gateway_eui, **manner)


def _file(value: Secret | None) -> Path | None:
    return None if value is None else secret_path(value)


SINKS: Mapping[str, Callable[[str, Any, GatewaySettings, GatewayEui], Sink]] = {"mqtt": _mqtt}


def sinks(settings: Settings, gateway_eui: GatewayEui) -> Sequence[tuple[Sink, Manners]]:
    """The destinations that the settings name, and how each wants to be served."""
    return [
        (SINKS[one.type](name, one, settings.gateway, gateway_eui), manners(one)) for name, one in settings.sink.items()
    ]


def manners(settings: SinkSettings) -> Manners:
    """How a destination wants to be served."""
    return Manners(
        live_first=settings.live_first,
        backlog_per_s=settings.backlog_rate,
        backlog_delay_s=settings.backlog_delay.total_seconds(),
        in_flight=settings.in_flight,
        only_tags=settings.only_tags,
    )


# --- network servers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    """What every network server is told about where it is, and what it may use."""

    gateway: GatewaySettings
    gateway_eui: GatewayEui
    folder: Path  # what a server must remember lies here
    carry: Carry
    now: Now
    reception: Reception


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
            latitude=site.gateway.latitude,
            longitude=site.gateway.longitude,
            altitude_m=site.gateway.altitude_m,
        ),
        site.carry,
        site.now,
        site.reception,
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
        site.carry,
        site.now,
        site.reception,
        site.gateway_eui,
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
            location=_location(site.gateway),
        ),
        site.carry,
        site.now,
        site.reception,
    )


def _location(gateway: GatewaySettings) -> Location | None:
    from gateway.wire.chirpstack import Location

    if gateway.latitude is None or gateway.longitude is None:
        return None
    return Location(gateway.latitude, gateway.longitude, gateway.altitude_m or 0.0)


LNS: Mapping[str, Callable[[str, Any, Site], NetworkServer]] = {
    "semtech-udp": _semtech_udp,
    "basics-station": _basics_station,
    "chirpstack-mqtt": _chirpstack_mqtt,
}


def lns(
    settings: Settings, gateway_eui: GatewayEui, carry: Carry, now: Now, reception: Reception
) -> Sequence[tuple[NetworkServer, Filter]]:
    """The network servers that the settings name, and which frames each wants."""
    site = Site(settings.gateway, gateway_eui, settings.store.path, carry, now, reception)
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
