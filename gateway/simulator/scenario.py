"""A city on file: how many devices of each kind, where, and how often they report.

Everything a scenario does not say follows from its seed: positions, names, addresses and keys. Keys made this way
protect nothing, so the addresses are of the kind that nobody is given: EUIs of the locally administered range
(`02c17e…`) and DevAddrs of the NetIDs 000000 and 000001, which are free for everybody's experiments.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, RootKeys, Session
from gateway.simulator.air import Position
from gateway.simulator.chance import Chance
from gateway.simulator.devices import Resident
from gateway.simulator.joiners import Joiner
from gateway.simulator.sensors import Container, Room, Sensor, Stranger, WaterMeter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EUI_PREFIX = bytes.fromhex("02c17e")
"""IEEE 802: the second bit of the first byte marks an address that its user made up."""

DEPTHS_MM = {"glass": 1700, "household": 2300, "cardboard": 1900, "bio-waste": 1200}
"""From the sensor in the lid to the bottom, for the containers a French city knows; about what their makers sell."""

METRES_PER_DEGREE = 111_195.0
"""Of latitude, on a sphere of the Earth's mean radius (6,371 km)."""

_NET_ID_BITS = 25  # DevAddrs of NetID type 0 leave 25 bits to the network (TS002-1.1.0, table 4)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A point on the map, in degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Fitting:
    """What distinguishes one device of a group."""

    sensor: Sensor
    tags: Mapping[str, str]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(ABC):
    """Devices of one kind."""

    table: ClassVar[str]
    codec: ClassVar[str | None] = None

    count: int
    interval_s: float
    places: tuple[str, ...]
    name: str  # with {place} and #
    scatter_m: float  # around their place
    wall_loss_db: float
    repeating: int  # so many send each frame twice
    lorawan_1_1: int  # so many speak LoRaWAN 1.1
    joining: int = 0  # so many have root keys and join over the air, the others have a session from the start
    class_c: int = 0  # so many of those listen all the time

    @abstractmethod
    def fitting(self, index: int, chance: Chance, utc_offset_s: int) -> Fitting:
        """The sensor, tags and codec variables of one device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers(Group):
    """Waste containers."""

    table = "containers"
    codec = "heyliot/heywaste"
    kinds: tuple[str, ...]
    fills_in_s: float

    def fitting(self, index: int, chance: Chance, utc_offset_s: int) -> Fitting:
        """A container of the next kind."""
        kind = self.kinds[index % len(self.kinds)]
        depth_mm = DEPTHS_MM.get(kind, 1800) + 50 * chance.whole(-2, 2, "depth")
        fills_in_s = self.fills_in_s * chance.between(0.6, 1.6, "fills in")
        sensor = Container(chance, depth_mm, fills_in_s, utc_offset_s)
        return Fitting(sensor, {"kind": kind}, {"max_measure_mm": str(depth_mm)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms(Group):
    """Museum rooms."""

    table = "rooms"
    codec = "elsys/ers"

    def fitting(self, index: int, chance: Chance, utc_offset_s: int) -> Fitting:  # noqa: ARG002 - all rooms are alike
        """A room with its own light."""
        lit_lux = chance.pick((50, 50, 120, 180, 200), "lit")
        return Fitting(Room(chance, lit_lux, utc_offset_s), {"kind": "museum-room"}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters(Group):
    """Water meters."""

    table = "meters"
    codec = "axioma/qalcosonic_w1"

    leaking: int  # so many have a leak behind them

    def fitting(self, index: int, chance: Chance, utc_offset_s: int) -> Fitting:
        """The meter of a household."""
        meter = WaterMeter(chance, leaking=index < self.leaking, utc_offset_s=utc_offset_s)
        return Fitting(meter, {"kind": "water-meter"}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Group):
    """Devices of other networks."""

    table = "foreign"

    def fitting(self, index: int, chance: Chance, utc_offset_s: int) -> Fitting:  # noqa: ARG002 - nothing is known
        """Somebody."""
        return Fitting(Stranger(chance), {}, {})


@dataclass(frozen=True, slots=True)
class _Place:
    """One device of a group, before anything is known of it."""

    group: Group
    index: int  # in its group
    number: int  # in the city
    name: str

    @property
    def joins(self) -> bool:
        return self.index < self.group.joining


@dataclass(frozen=True, slots=True)
class Scenario:
    """A city, complete."""

    name: str
    seed: int
    gateway: Coordinates
    places: Mapping[str, Coordinates]
    groups: tuple[Group, ...]
    first_round_s: float
    utc_offset_s: int

    def devices(self) -> list[tuple[Device, Session]]:
        """The devices with a session that this gateway is meant to know, as a store is told of them."""
        return [(resident.device, resident.session) for resident in self.residents() if resident.ours]

    def joining_devices(self) -> list[tuple[Device, RootKeys]]:
        """The devices that join over the air and that this gateway is meant to know, as a store is told of them."""
        return [(joiner.device, joiner.root_keys) for joiner in self.joiners() if joiner.ours]

    def residents(self) -> Iterator[Resident]:
        """Every device of the city with a session, also the foreign ones."""
        for place in self._places():
            if not place.joins:
                yield self._resident(place)

    def joiners(self) -> Iterator[Joiner]:
        """Every device of the city that joins over the air, also the foreign ones."""
        for place in self._places():
            if place.joins:
                yield self._joiner(place)

    def _places(self) -> Iterator[_Place]:
        number = 0
        for group in self.groups:
            chance = Chance(self.seed).about(group.table)
            numbers = {place: chance.whole(1, 10 ** max(group.name.count("#") - 1, 0), place) for place in group.places}
            for index in range(group.count):
                place = group.places[index % len(group.places)]
                yield _Place(group, index, number, _named(group.name, place, numbers[place]))
                numbers[place] += 1
                number += 1

    def _device(self, place: _Place, dev_eui: DevEui, chance: Chance) -> tuple[Device, Sensor, Position]:
        group, where = place.group, place.group.places[place.index % len(place.group.places)]
        position = self._position(where, group.scatter_m, chance)
        fitting = group.fitting(place.index, chance.about("sensor"), self.utc_offset_s)
        device = Device(
            dev_eui=dev_eui,
            name=place.name,
            codec=group.codec,
            region_profile="EU868",
            mac_version=MacVersion.V1_1_0 if place.index < group.lorawan_1_1 else MacVersion.V1_0_3,
            variables=fitting.variables,
            tags={**fitting.tags, "place": where, **self._map_tags(position)},
        )
        return device, fitting.sensor, position

    def _first_us(self, place: _Place, chance: Chance) -> int:
        return round(self.first_round_s * 1_000_000 * (place.index + chance.unit("first")) / place.group.count)

    def _resident(self, place: _Place) -> Resident:
        group, index = place.group, place.index
        chance = Chance(self.seed).about(group.table, index)
        ours = not isinstance(group, Foreign)
        dev_eui = self._dev_eui(place.number)
        device, sensor, position = self._device(place, dev_eui, chance)
        return Resident(
            device=device,
            session=_session(dev_eui, self._dev_addr(place.number, ours=ours), device.mac_version, chance),
            sensor=sensor,
            position=position,
            wall_loss_db=group.wall_loss_db,
            interval_us=round(group.interval_s * 1_000_000),
            first_us=self._first_us(place, chance),
            first_f_cnt=chance.whole(1, 4000, "first counter"),
            nb_trans=2 if index >= group.count - group.repeating else 1,
            ours=ours,
        )

    def _joiner(self, place: _Place) -> Joiner:
        group = place.group
        chance = Chance(self.seed).about(group.table, place.index)
        device, sensor, position = self._device(place, self._dev_eui(place.number), chance)
        join_eui = JoinEui(EUI_PREFIX + Chance(self.seed).octets(5, "join eui"))
        device_class = "C" if place.index < group.class_c else "A"
        nwk_key = AesKey(chance.octets(16, "nwk_key")) if device.mac_version.is_1_1 else None
        return Joiner(
            device=replace(device, join_eui=join_eui, device_class=device_class),
            root_keys=RootKeys(AesKey(chance.octets(16, "app_key")), nwk_key),
            sensor=sensor,
            position=position,
            wall_loss_db=group.wall_loss_db,
            interval_us=round(group.interval_s * 1_000_000),
            first_us=self._first_us(place, chance),
            ours=not isinstance(group, Foreign),
        )

    def _dev_eui(self, number: int) -> DevEui:
        return DevEui(EUI_PREFIX + Chance(self.seed).octets(2, "eui") + number.to_bytes(3, "big"))

    def _dev_addr(self, number: int, *, ours: bool) -> DevAddr:
        # An odd factor shuffles the numbers without ever giving two devices the same address.
        shuffled = (Chance(self.seed).whole(0, (1 << _NET_ID_BITS) - 1, "address") + number * 0x9E3779) % (
            1 << _NET_ID_BITS
        )
        net_id = 0 if ours else 1
        return DevAddr(net_id << _NET_ID_BITS | shuffled)

    def _position(self, place: str, scatter_m: float, chance: Chance) -> Position:
        where = self.places[place]
        angle, distance_m = math.tau * chance.unit("angle"), scatter_m * math.sqrt(chance.unit("distance"))
        per_degree_east = METRES_PER_DEGREE * math.cos(math.radians(self.gateway.latitude))
        return Position(
            (where.longitude - self.gateway.longitude) * per_degree_east + distance_m * math.cos(angle),
            (where.latitude - self.gateway.latitude) * METRES_PER_DEGREE + distance_m * math.sin(angle),
        )

    def _map_tags(self, position: Position) -> dict[str, str]:
        per_degree_east = METRES_PER_DEGREE * math.cos(math.radians(self.gateway.latitude))
        return {
            "latitude": f"{self.gateway.latitude + position.north_m / METRES_PER_DEGREE:.5f}",
            "longitude": f"{self.gateway.longitude + position.east_m / per_degree_east:.5f}",
        }


def _session(dev_eui: DevEui, dev_addr: DevAddr, mac_version: MacVersion, chance: Chance) -> Session:
    network_key = AesKey(chance.octets(16, "nwk_s_key"))
    if not mac_version.is_1_1:
        f_key = s_key = enc_key = network_key
    else:
        f_key = network_key
        s_key = AesKey(chance.octets(16, "s_nwk_s_int_key"))
        enc_key = AesKey(chance.octets(16, "nwk_s_enc_key"))
    return Session(
        dev_eui=dev_eui,
        dev_addr=dev_addr,
        mac_version=mac_version,
        f_nwk_s_int_key=f_key,
        s_nwk_s_int_key=s_key,
        nwk_s_enc_key=enc_key,
        app_s_key=AesKey(chance.octets(16, "app_s_key")),
    )


def _named(pattern: str, place: str, number: int) -> str:
    """The pattern with its place and number; each # is a digit at least."""
    numbered = re.sub("#+", lambda digits: f"{number:0{len(digits.group())}d}", pattern)
    return numbered.replace("{place}", place)
