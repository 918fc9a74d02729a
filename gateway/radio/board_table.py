"""The boards that carry an SX1302 or SX1303, as their makers configure them.

Sources: the vendor configurations of ChirpStack Concentratord 4.7.1 (`config/vendor`, which names the makers' own
files), and the sample configurations of Semtech's sx1302_hal 2.1.0. Common to all: two SX1250, the first one clocks
the chip and sends, RSSI compensation c = 20.41 and d = 2162.56. Lines are those of the Raspberry Pi's header (BCM).

A power is written DBM:PA/INDEX, what `tx_gains` of the settings takes too.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.radio.board import Board, Bus, GainTable, Pin, TxGain

if TYPE_CHECKING:
    from collections.abc import Mapping

_EUROPE: Final = frozenset({"EU868", "IN865", "RU864"})
_AMERICA: Final = frozenset({"US915", "AU915"})
_ASIA: Final = frozenset({"AS923"})
_LOW: Final = frozenset({"CN470", "EU433"})
_HIGH: Final = _EUROPE | _AMERICA | _ASIA | {"KR920"}

_SPI, _USB, _EITHER = (Bus.SPI,), (Bus.USB,), (Bus.SPI, Bus.USB)


def _gains(text: str) -> tuple[TxGain, ...]:
    return tuple(map(TxGain.parse, text.split()))


REFERENCE: Final = _gains(
    "12:0/15 13:0/16 14:0/17 15:0/19 16:0/20 17:0/22 18:1/1 19:1/2 20:1/3 21:1/4 22:1/5 23:1/6 24:1/7 25:1/9 26:1/11"
    " 27:1/14"
)
"""Semtech's reference designs for 868 and 915 MHz, and the boards that follow them."""

REFERENCE_LOW: Final = _gains(
    "-6:0/0 -3:0/1 0:0/2 3:1/3 6:1/4 10:1/5 11:1/6 12:1/7 13:1/8 14:1/9 16:1/10 20:1/11 23:1/12 25:1/13 26:1/14 27:1/15"
)
"""Semtech's reference design for 490 MHz."""

CSS923: Final = _gains(
    "0:0/0 12:0/15 13:0/16 14:0/17 15:0/19 16:0/20 17:0/22 18:1/1 19:1/2 20:1/3 21:1/4 22:1/5 23:1/6 24:1/7 26:1/8"
    " 27:1/9"
)

PG1302: Final = _gains(
    "12:0/16 13:0/17 14:0/18 15:0/19 16:0/21 17:0/22 18:1/3 19:1/4 20:1/5 21:1/6 22:1/7 23:1/8 24:1/9 25:1/11 26:1/13"
    " 27:1/17"
)

RAK_EUROPE: Final = _gains(
    "12:1/4 13:1/5 14:1/6 15:1/7 16:1/8 17:1/9 18:1/10 19:1/11 20:1/12 21:1/13 22:1/14 23:1/16 24:1/17 25:1/18 26:1/19"
    " 27:1/22"
)
RAK_AMERICA: Final = _gains(
    "12:1/6 13:1/7 14:1/8 15:1/9 16:1/10 17:1/11 18:1/12 19:1/13 20:1/14 21:1/15 22:1/16 23:1/17 24:1/18 25:1/19"
    " 26:1/21 27:1/22"
)
RAK2287_ASIA: Final = _gains(
    # As published, 19 dBm has index 13 and 21 dBm has 15, which are 23 dBm and more beside their neighbours (20 dBm is
    # 10, 22 dBm is 12). They are left out: what asks for 19 dBm is sent with 18.
    "12:1/1 13:1/2 14:1/3 15:1/4 16:1/5 17:1/6 18:1/8 20:1/10 22:1/12 23:1/13 24:1/14 25:1/16 26:1/17 27:1/19"
)

MULTITECH_EUROPE: Final = _gains(
    "10:0/12 11:0/13 12:0/14 13:0/15 14:0/16 16:0/17 17:1/0 18:1/1 19:1/2 21:1/4 22:1/5 23:1/6 24:1/7 25:1/8 26:1/11"
    " 27:1/14"
)
MULTITECH_AMERICA: Final = _gains(
    "11:0/14 12:0/15 13:0/16 15:0/17 16:0/18 17:0/19 18:0/20 19:1/3 20:1/4 21:1/5 22:1/6 23:1/7 24:1/8 25:1/10 26:1/12"
    " 27:1/15"
)

_FOR_ALL = (GainTable(REFERENCE),)
_RAK5146_TABLES = (
    GainTable(RAK_EUROPE, _EUROPE),
    GainTable(RAK_AMERICA, _AMERICA | _ASIA | {"KR920"}),
    GainTable(REFERENCE_LOW, _LOW),
)
_RAK2287_TABLES = (GainTable(RAK2287_ASIA, _ASIA), *_RAK5146_TABLES)

_CONCENTRATORD = "ChirpStack Concentratord 4.7.1, config/vendor/"
_SERIAL_GNSS = "/dev/ttyAMA0"


def _multitech(*steps: tuple[str, str]) -> tuple[tuple[str, ...], ...]:
    """The Conduit's lines belong to its own program."""
    return tuple(("mts-io-sysfs", "store", line, value) for line, value in steps)


def _card(slot: str) -> tuple[tuple[str, ...], ...]:
    """The reset of an MTAC-003 in slot ap1 or ap2."""
    lines = (("creset", "1"), ("creset", "0"), ("lbtreset", "0"), ("lbtreset", "1"), ("reset", "0"), ("reset", "1"))
    return _multitech(*((f"{slot}/{line}", value) for line, value in lines))


def _multitech_card(
    band: str, regions: frozenset[str], gains: tuple[TxGain, ...], slot: str = "ap1", spi: str = "/dev/spidev0.0"
) -> Board:
    second = slot == "ap2"
    return Board(
        name=f"mtac-003{band}00{'-ap2' if second else ''}",
        product=f"MultiTech MTAC-003{band.upper()}00{' in slot AP2' if second else ''}",
        aliases=() if second else (f"multitech_mtac_003{band}00",),
        regions=regions,
        tables=(GainTable(gains),),
        spi=spi,
        has_sx1261=True,
        reset_commands=_card(slot),
        temperature_sensor=0x49 if second else 0x48,
        gnss="gpsd://localhost:2947",
        source=f"{_CONCENTRATORD}multitech/mtac_003{band}00.rs",
    )


def _multitech_access_point(band: str, regions: frozenset[str], gains: tuple[TxGain, ...]) -> Board:
    return Board(
        name=f"mtcap3-003{band}00",
        product=f"MultiTech MTCAP3-003{band.upper()}00",
        aliases=(f"multitech_mtcap3_003{band}00",),
        regions=regions,
        tables=(GainTable(gains),),
        spi="/dev/spidev1.0",
        reset_commands=_multitech(("lora/reset", "0"), ("lora/reset", "1")),
        source=f"{_CONCENTRATORD}multitech/mtcap3_003{band}00.rs",
    )


def _corecell(name: str, regions: frozenset[str], *, low: bool = False) -> Board:
    return Board(
        name=name,
        product=f"Semtech {name.upper()} (Corecell)",
        aliases=(f"semtech_{name}", "corecell" if name == "sx1302c868gw1" else f"corecell-{name[7:10]}"),
        regions=regions,
        tables=(GainTable(REFERENCE_LOW if low else REFERENCE),),
        reset=Pin(23),
        power=Pin(18),
        temperature_sensor=0x3B,
        gnss=_SERIAL_GNSS,
        gnss_family="ublox",
        source=f"{_CONCENTRATORD}semtech/{name}.rs",
    )


def _corecell_usb(name: str, regions: frozenset[str], gains: tuple[TxGain, ...]) -> Board:
    return Board(
        name=name,
        product=f"Semtech {name.upper()} (Corecell USB)",
        aliases=(f"semtech_{name}", f"corecell-usb-{name[9:12]}"),
        regions=regions,
        tables=(GainTable(gains),),
        buses=_USB,
        has_sx1261=True,
        gnss=_SERIAL_GNSS,
        gnss_family="ublox",
        source=f"{_CONCENTRATORD}semtech/{name}.rs",
    )


def _miromico(band: str, regions: frozenset[str]) -> Board:
    return Board(
        name=f"gwc-02-lw-{band}",
        product=f"Miromico GWC-02-LW-{band}",
        aliases=(f"miromico_gwc_02_lw_{band}",),
        regions=regions,
        tables=_FOR_ALL,
        buses=_USB,
        has_sx1261=True,
        source=f"{_CONCENTRATORD}miromico/gwc_02_lw_{band}.rs",
    )


_ALL: Final = (
    Board(
        name="pg1302",
        product="Dragino PG1302",
        aliases=("dragino_pg1302",),
        regions=frozenset({"EU868", "US915"}),
        tables=(GainTable(PG1302),),
        reset=Pin(23),
        gnss=_SERIAL_GNSS,
        source=f"{_CONCENTRATORD}dragino/pg1302.rs",
    ),
    Board(
        name="lr1302",
        product="Elecrow LR1302",
        aliases=("elecrow_lr1302",),
        regions=_HIGH,
        tables=_FOR_ALL,
        buses=_EITHER,
        reset=Pin(17),
        power=Pin(18),
        sx1261_reset=Pin(5),
        temperature_sensor=0x39,
        gnss=_SERIAL_GNSS,
        source=f"{_CONCENTRATORD}elecrow/lr1302.rs",
    ),
    Board(
        name="emb-lr1302",
        product="Embit EMB-LR1302-mPCIe",
        aliases=("embit_emb_lr1302_mpcie", "emb-lr1302-mpcie"),
        regions=_HIGH - _ASIA,
        tables=_FOR_ALL,
        buses=_EITHER,
        reset=Pin(4),
        power=Pin(17),
        temperature_sensor=0x3B,
        source=f"{_CONCENTRATORD}embit/emb_lr1302_mpcie.rs",
    ),
    _miromico("868", _EUROPE),
    _miromico("915", _AMERICA | _ASIA | {"KR920"}),
    _multitech_card("e", frozenset({"EU868"}), MULTITECH_EUROPE),
    _multitech_card("e", frozenset({"EU868"}), MULTITECH_EUROPE, slot="ap2", spi="/dev/spidev1.0"),
    _multitech_card("u", frozenset({"US915"}), MULTITECH_AMERICA),
    _multitech_card("u", frozenset({"US915"}), MULTITECH_AMERICA, slot="ap2", spi="/dev/spidev1.0"),
    _multitech_access_point("e", frozenset({"EU868"}), MULTITECH_EUROPE),
    _multitech_access_point("u", frozenset({"US915"}), MULTITECH_AMERICA),
    Board(
        name="rak2287",
        product="RAK2287",
        aliases=("rak7248",),  # the developer gateway that carries it
        regions=_HIGH | _LOW,
        tables=_RAK2287_TABLES,
        buses=_EITHER,
        reset=Pin(17),
        gnss=_SERIAL_GNSS,
        gnss_family="ublox",
        source=f"{_CONCENTRATORD}rak/rak2287.rs",
    ),
    Board(
        name="rak5146",
        product="RAK5146",
        regions=_HIGH | _LOW,
        tables=_RAK5146_TABLES,
        chip="SX1303",
        buses=_EITHER,
        reset=Pin(17),
        single_input=(False, False),
        gnss=_SERIAL_GNSS,
        gnss_family="ublox",
        source=f"{_CONCENTRATORD}rak/rak5146.rs",
    ),
    Board(
        name="wm1302",
        product="Seeed WM1302",
        aliases=("seeed_wm1302",),
        regions=_HIGH,
        tables=_FOR_ALL,
        buses=_EITHER,
        reset=Pin(17),
        power=Pin(18),
        sx1261_reset=Pin(5),
        temperature_sensor=0x39,
        gnss=_SERIAL_GNSS,
        source=f"{_CONCENTRATORD}seeed/wm1302.rs",
    ),
    _corecell("sx1302c490gw1", _LOW, low=True),
    _corecell("sx1302c868gw1", _EUROPE),
    _corecell("sx1302c915gw1", _AMERICA),
    _corecell_usb("sx1302css868gw1", _EUROPE, REFERENCE),
    _corecell_usb("sx1302css915gw1", _AMERICA, REFERENCE),
    _corecell_usb("sx1302css923gw1", _ASIA, CSS923),
    Board(
        name="waveshare-sx1302",
        product="Waveshare SX1302 LoRaWAN Gateway HAT",
        aliases=("waveshare_sx1302_lorawan_gateway_hat", "waveshare-sx1302-hat"),
        regions=_HIGH,
        tables=_FOR_ALL,
        reset=Pin(23),
        power=Pin(18),
        temperature_sensor=0x39,
        gnss=_SERIAL_GNSS,
        source=f"{_CONCENTRATORD}waveshare/sx1302_lorawan_gateway_hat.rs",
    ),
)

BOARDS: Final[Mapping[str, Board]] = MappingProxyType({board.name: board for board in _ALL})
"""By the name that `board = …` takes."""

GENERIC: Final = Board(
    name="generic",
    product="a board after Semtech's reference design",
    regions=_HIGH | _LOW,
    tables=(GainTable(REFERENCE_LOW, _LOW), GainTable(REFERENCE)),
    buses=_EITHER,
    source="sx1302_hal 2.1.0, global_conf.json.sx1250.*",
)
"""What is taken for a board that the settings describe by bus and pin alone."""
