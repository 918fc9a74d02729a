"""Which channels a chip with two radios hears: centres and offsets for the channels of a plan.

A radio of an SX1302 board takes in a stretch of spectrum, and each channel must lie in the stretch of one of the two.
How much of it is good to use, and the order of the search, are those of ChirpStack Concentratord
(`chirpstack-concentratord-sx1302/src/config/helpers.rs`): with 125 kHz the centre of a channel lies within 400 kHz of
the radio's. Semtech's library would allow 737 kHz, where the filter already falls off.

The channels that gateways of a region have beyond those of RP002 are the sample settings of Semtech's packet forwarder
and the presets of Concentratord.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.model import Fsk, Lora
from gateway.radio.chip import ChipPlan, ChipTrouble, RadioChannel, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.regions.region import Region
    from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

MOST_CHANNELS: Final = 8
"""Multi-SF channels of an SX1302."""

REACH_HZ: Final[Mapping[int, int]] = {125_000: 400_000, 250_000: 375_000, 500_000: 300_000}
"""How far a channel's centre may be from its radio's, by the width of the channel."""

NEAR_HZ: Final = 10_000
"""Frequencies no further apart are the same channel: a receiver bears a quarter of the bandwidth at least."""

SX1250_BANDS_MHZ: Final = ((430, 440), (470, 510), (779, 787), (863, 870), (902, 928))
"""Where the radios can be calibrated: a centre lies between these (sx1302_hal 2.1.0, `sx1250_calibrate`)."""

_SERVICE_250: Final = Lora(7, 250_000)
_SERVICE_500: Final = Lora(8, 500_000)
_FSK: Final = Fsk(50_000, 25_000)


@dataclass(frozen=True, slots=True)
class _Extra:
    """What gateways of a region hear beyond the channels that every device there has."""

    channels_hz: tuple[int, ...] = ()
    service: tuple[int, Lora] | None = None
    fsk: tuple[int, Fsk] | None = None


def _as923(first_hz: int) -> _Extra:
    offsets = (0, 200_000)  # AS923-1 and its copies have two channels; six follow at the same distance
    channels = tuple(first_hz + 200_000 * at for at in range(len(offsets), MOST_CHANNELS))
    return _Extra(channels, (first_hz + 1_300_000, _SERVICE_250))


_EXTRA: Final[Mapping[str, _Extra]] = {
    "EU868": _Extra(
        (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000),
        (868_300_000, _SERVICE_250),
        (868_800_000, _FSK),
    ),
    "AS923": _as923(923_200_000),
    "AS923-1": _as923(923_200_000),
    "AS923-2": _as923(921_400_000),
    "AS923-3": _as923(916_600_000),
    "AS923-4": _as923(917_300_000),
}

_BLOCK_SERVICE: Final[Mapping[str, int]] = {"US915": 903_000_000, "AU915": 915_900_000}
"""Where the 500 kHz channel of the first block lies; that of each further block 1.6 MHz higher."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A channel that wants a radio."""

    frequency_hz: int
    bandwidth_hz: int = 125_000
    modulation: Lora | Fsk | None = None

    @property
    def lowest_centre_hz(self) -> int:
        return self.frequency_hz - REACH_HZ[self.bandwidth_hz]

    @property
    def highest_centre_hz(self) -> int:
        return self.frequency_hz + REACH_HZ[self.bandwidth_hz]


def plan_of(region: Region, *, extra_hz: Sequence[int] | None = None, block: int | None = None) -> ChipPlan:
    """What a gateway of this region hears.

    `extra_hz` are channels beyond those that every device of the region has, None the usual ones. A fixed plan has more
    channels than a chip and is heard a block of eight at a time: `block` is its number, the first is 1. ChipTrouble
    (BAD_PLAN) when a chip cannot hear that.
    """
    if region.fixed_plan:
        channels_hz, service = _block(region, block)
        return plan(region, channels_hz, service=service)
    usual = _EXTRA.get(region.name, _Extra())
    own = tuple(channel.frequency_hz for channel in region.channels)
    wanted = usual.channels_hz if extra_hz is None else tuple(extra_hz)
    channels_hz = tuple(dict.fromkeys((*own, *wanted)))
    return plan(region, channels_hz, service=usual.service, fsk=usual.fsk)


def plan_for(region: Region, wanted: ChannelPlan) -> ChipPlan:
    """What a network server wants heard, on two radios.

    ChipTrouble (BAD_PLAN) for what is not of this region, or more than a chip can hear. A service or an FSK channel
    that lies beside the reach of the radios is left out: see `unheard`.
    """
    for channel in wanted.channels:
        half_hz = channel.bandwidth_hz // 2
        if (
            not region.lowest_hz
            <= channel.frequency_hz - half_hz
            <= channel.frequency_hz + half_hz
            <= region.highest_hz
        ):
            raise ChipTrouble(
                TroubleKind.BAD_PLAN,
                f"{channel} MHz is not in {region.name}: {region.lowest_hz / 1e6:g} to {region.highest_hz / 1e6:g} MHz",
                hint="Give this gateway, on the server, the channel plan of gateway.region",
            )
    multi, service, fsk = _sorted_by_demodulator(wanted.channels)
    return plan(
        region,
        tuple(dict.fromkeys(channel.frequency_hz for channel in multi)),
        service=None if service is None else (service.frequency_hz, _data_rate(service)),
        fsk=None if fsk is None else (fsk.frequency_hz, _FSK),
    )


def _data_rate(service: PlannedChannel) -> Lora:
    return Lora(service.spreading_factors[0], service.bandwidth_hz)


def _sorted_by_demodulator(
    channels: Sequence[PlannedChannel],
) -> tuple[list[PlannedChannel], PlannedChannel | None, PlannedChannel | None]:
    """Eight demodulators for all spreading factors in 125 kHz, one for a LoRa data rate of any width, one for FSK."""
    fsk = [channel for channel in channels if not channel.spreading_factors]
    multi = [channel for channel in channels if channel.spreading_factors and channel.bandwidth_hz == 125_000]
    services = [channel for channel in channels if channel.spreading_factors and channel.bandwidth_hz != 125_000]
    places = {channel.frequency_hz for channel in multi}
    if not services and len(places) > MOST_CHANNELS:
        single = next((channel for channel in multi if len(channel.spreading_factors) == 1), None)
        if single is not None:
            multi.remove(single)
            services = [single]
    for name, rows in (("of 250 or 500 kHz", services), ("of FSK", fsk)):
        if len(rows) > 1:
            raise _too_much(f"{len(rows)} channels {name}: a chip hears one")
    if services and len(services[0].spreading_factors) > 1:
        raise _too_much(f"{services[0]} MHz: a chip hears one spreading factor in a channel as wide as this")
    return multi, services[0] if services else None, fsk[0] if fsk else None


def _too_much(problem: str) -> ChipTrouble:
    return ChipTrouble(
        TroubleKind.BAD_PLAN, problem, hint="Ask for at most eight channels, one wide one and one of FSK"
    )


def unheard(heard: ChipPlan, wanted: ChannelPlan) -> tuple[PlannedChannel, ...]:
    """Those of the wanted channels that a chip with this plan does not hear, or only in part."""
    return tuple(channel for channel in wanted.channels if not _hears(heard, channel))


def _hears(heard: ChipPlan, wanted: PlannedChannel) -> bool:
    if not wanted.spreading_factors:
        return heard.fsk is not None and _near(heard.fsk, wanted)
    if wanted.bandwidth_hz == 125_000 and any(_near(channel, wanted) for channel in heard.channels):
        return True
    service = heard.service
    return (
        service is not None
        and _near(service, wanted)
        and isinstance(service.modulation, Lora)
        and service.bandwidth_hz == wanted.bandwidth_hz
        and list(wanted.spreading_factors) == [service.modulation.spreading_factor]
    )


def _near(heard: RadioChannel, wanted: PlannedChannel) -> bool:
    return abs(heard.frequency_hz - wanted.frequency_hz) <= NEAR_HZ


def plan(
    region: Region,
    channels_hz: Sequence[int],
    *,
    service: tuple[int, Lora] | None = None,
    fsk: tuple[int, Fsk] | None = None,
) -> ChipPlan:
    """These channels, on two radios. ChipTrouble (BAD_PLAN) when they are too many or too far apart.

    The service and the FSK channel are left out when they do not fit beside the others.
    """
    if not channels_hz or len(channels_hz) > MOST_CHANNELS:
        raise ChipTrouble(
            TroubleKind.BAD_PLAN, f"{len(channels_hz)} channels: a chip hears 1 to {MOST_CHANNELS}",
            hint="List at most eight channels in all, those of the region included, in network.extra_channels",
        )  # fmt: skip
    multi = [_Wanted(frequency_hz) for frequency_hz in channels_hz]
    beside = []
    if service is not None:
        beside.append(_Wanted(service[0], service[1].bandwidth_hz, service[1]))
    if fsk is not None:
        beside.append(_Wanted(fsk[0], 125_000, fsk[1]))
    centres = _centres(multi)
    spread = ", ".join(f"{hz / 1e6:g}" for hz in sorted(channels_hz))
    if centres is None:
        raise ChipTrouble(
            TroubleKind.BAD_PLAN, f"{spread} MHz are too far apart for two radios",
            hint="A radio hears channels within 800 kHz of each other: choose at most two such groups",
        )  # fmt: skip
    if not all(map(_can_be_tuned, centres)):
        raise ChipTrouble(
            TroubleKind.BAD_PLAN, f"{spread} MHz: a radio there cannot be calibrated",
            hint="SX1250 radios reach 430-440, 470-510, 779-787, 863-870 and 902-928 MHz: see gateway.region",
        )  # fmt: skip
    placed = list(multi)
    for one in beside:
        with_it = _centres([*placed, one])
        if with_it is not None and all(map(_can_be_tuned, with_it)):
            placed, centres = [*placed, one], with_it
    radios_hz = (centres[0], centres[1] if len(centres) > 1 else None)
    others = {type(one.modulation): _on_radio(one, centres) for one in placed[len(multi) :]}
    return ChipPlan(
        region=region.name,
        radios_hz=radios_hz,
        channels=tuple(_on_radio(one, centres) for one in multi),
        service=others.get(Lora),
        fsk=others.get(Fsk),
        lowest_tx_hz=region.lowest_hz,
        highest_tx_hz=region.highest_hz,
    )


def _block(region: Region, block: int | None) -> tuple[tuple[int, ...], tuple[int, Lora] | None]:
    blocks = region.blocks
    if block is None or not 1 <= block <= len(blocks):
        which = "which block of eight is to be heard" if block is None else f"there is no block {block}"
        raise ChipTrouble(
            TroubleKind.BAD_PLAN, f"{region.name} has {sum(map(len, blocks))} channels: {which}",
            hint=f"Set radio.block to 1 to {len(blocks)}; The Things Network uses 2 in US915 and AU915",
        )  # fmt: skip
    channels_hz = blocks[block - 1]
    first_hz = _BLOCK_SERVICE.get(region.name)
    return channels_hz, None if first_hz is None else (first_hz + 1_600_000 * (block - 1), _SERVICE_500)


def _centres(wanted: Sequence[_Wanted]) -> tuple[int, ...] | None:
    """The lowest centres of at most two radios that reach all of these; None when two are not enough.

    In the order of the lowest centre from which a channel can be heard, a radio takes channels in for as long as one
    centre is left from which it hears all of them. No other order needs fewer radios.
    """
    groups: list[tuple[int, int]] = []  # the centres that are still possible, lowest and highest
    for one in sorted(wanted, key=lambda one: one.lowest_centre_hz):
        lowest_hz, highest_hz = one.lowest_centre_hz, one.highest_centre_hz
        if groups and lowest_hz <= groups[-1][1]:
            groups[-1] = lowest_hz, min(highest_hz, groups[-1][1])
        else:
            groups.append((lowest_hz, highest_hz))
    return tuple(_tunable(*group) for group in groups) if len(groups) <= 2 else None


def _tunable(lowest_hz: int, highest_hz: int) -> int:
    """The lowest centre of these that a radio can be tuned to, else the lowest."""
    for band_mhz, _ in SX1250_BANDS_MHZ:
        centre_hz = max(lowest_hz, band_mhz * 1_000_000 + 100_000)
        if centre_hz <= highest_hz and _can_be_tuned(centre_hz):
            return centre_hz
    return lowest_hz


def _can_be_tuned(centre_hz: int) -> bool:
    return any(low * 1_000_000 < centre_hz < high * 1_000_000 for low, high in SX1250_BANDS_MHZ)


def _on_radio(one: _Wanted, centres: Sequence[int]) -> RadioChannel:
    reach_hz = REACH_HZ[one.bandwidth_hz]
    radio = min(range(len(centres)), key=lambda at: abs(one.frequency_hz - centres[at]))
    if_hz = one.frequency_hz - centres[radio]
    assert abs(if_hz) <= reach_hz, f"{one.frequency_hz} Hz is {if_hz} Hz from its radio"
    return RadioChannel(one.frequency_hz, radio, if_hz, one.modulation, one.bandwidth_hz)
