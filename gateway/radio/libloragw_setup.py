"""What Semtech's library is told and what it says, as our types and its structures.

Everything is judged here first: the library refuses with a bare -1, and some of what it takes it takes wrongly (a power
below its table is sent stronger, a 17th channel to listen on overwrites memory).

Sources of the limits: sx1302_hal 2.1.0, `loragw_hal.c` and `loragw_lbt.c`; the sample configurations of its packet
forwarder for what to listen for before talk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.model import AtCounter, Crc, Fsk, Immediately, Lora, TxResult
from gateway.radio import libloragw_abi as abi
from gateway.radio.airtime import airtime_us
from gateway.radio.board import Bus
from gateway.radio.chip import ChipTrouble, RawFrame, TroubleKind, Unsent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.radio.board import BoardSettings, TxGain
    from gateway.radio.chip import ChipPlan, ChipTx, RadioChannel
    from gateway.regions.region import Listening, Region

REACH_HZ: Final = 800_000
"""How far the edge of a channel may be from the centre of its radio."""

LOWEST_RADIO_HZ, HIGHEST_RADIO_HZ = 100_000_000, 1_000_000_000

MIX_GAIN: Final = 5
"""An SX1250 has no mixer to set, but `lgw_txgain_setconf` refuses less."""

FSK_BIT_RATES: Final = range(500, 250_001)
FSK_DEVIATION_HZ: Final = 25_000  # LoRaWAN's, where nobody says otherwise
FSK_DEVIATIONS_KHZ: Final = range(1, 201)

LBT_SCAN_US: Final = (128, 5000)
LBT_LONGEST_MS: Final = 4000
"""The longest transmission after listening for 5 ms, in Semtech's samples and in the law of Japan."""

LBT_OFF_BY_HZ: Final = 10_000
_LBT_SPARE_US: Final = 1_500

_CRC: Final = {abi.STAT_CRC_OK: Crc.OK, abi.STAT_CRC_BAD: Crc.BAD, abi.STAT_NO_CRC: Crc.NONE}
_BANDWIDTH_HZ: Final = {code: hertz for hertz, code in abi.BANDWIDTHS.items()}
_CODE_RATE: Final = {code: text for text, code in abi.CODE_RATES.items()}


@dataclass(frozen=True, slots=True)
class LbtPlan:
    """Where the second radio listens before the first one talks."""

    threshold_dbm: int
    scan_us: int
    channels: tuple[tuple[int, int], ...]  # frequency, width

    def listens_at(self, frequency_hz: int, bandwidth_hz: int) -> bool:
        """Whether a transmission there can be listened for."""
        return any(
            bandwidth_hz == width and abs(frequency_hz - channel_hz) <= LBT_OFF_BY_HZ
            for channel_hz, width in self.channels
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """The structures of one configuration."""

    board: abi.ConfBoard
    radios: tuple[abi.ConfRxrf, abi.ConfRxrf]
    channels: tuple[abi.ConfRxif, ...]  # ten, disabled ones included
    ftime: abi.ConfFtime
    sx1261: abi.ConfSx1261
    lbt: LbtPlan | None


def setup(plan: ChipPlan, board: BoardSettings, region: Region) -> Setup:
    """The plan on this board. ChipTrouble (BAD_PLAN) for what the library or the board cannot."""
    if plan.radios_hz[board.clock_source] is None:
        raise _bad("the radio that clocks the chip has no channel", "Put channels on the first radio too")
    lbt = lbt_plan(plan, board, region)
    return Setup(
        board=abi.ConfBoard(
            lorawan_public=plan.public,
            clksrc=board.clock_source,
            full_duplex=board.full_duplex,
            com_type=abi.COM_USB if board.bus is Bus.USB else abi.COM_SPI,
            com_path=board.path.encode(),
        ),
        radios=(_radio(plan, board, 0), _radio(plan, board, 1)),
        channels=_channels(plan),
        ftime=abi.ConfFtime(enable=plan.fine_time, mode=abi.FTIME_ALL_SF),
        sx1261=_sx1261(board, lbt),
        lbt=lbt,
    )


def lbt_plan(plan: ChipPlan, board: BoardSettings, region: Region) -> LbtPlan | None:
    """Where the law asks to listen before talking and the board has the radio for it; else None."""
    asked = next((band.listening for band in region.sub_bands if band.listening is not None), None)
    if asked is None or not board.has_sx1261:
        return None
    rx2 = region.downlink_data_rates.get(region.rx2.data_rate)
    wanted = [(channel.frequency_hz, 125_000) for channel in plan.channels]
    if isinstance(rx2, Lora):
        wanted.append((region.rx2.frequency_hz, rx2.bandwidth_hz))
    if plan.service is not None:
        wanted.append((plan.service.frequency_hz, plan.service.bandwidth_hz))
    narrow = [(hertz, width) for hertz, width in dict.fromkeys(wanted) if width <= 250_000]
    return LbtPlan(round(asked.threshold_dbm), _scan_us(asked), tuple(narrow[: abi.LBT_CHANNELS]))


def _scan_us(asked: Listening) -> int:
    """The shortest scan of the two there are that is long enough for the law."""
    return next((scan for scan in LBT_SCAN_US if scan >= asked.duration_us), LBT_SCAN_US[-1])


def _radio(plan: ChipPlan, board: BoardSettings, number: int) -> abi.ConfRxrf:
    centre_hz = plan.radios_hz[number]
    if centre_hz is None:
        return abi.ConfRxrf()
    if not LOWEST_RADIO_HZ <= centre_hz <= HIGHEST_RADIO_HZ:
        raise _bad(f"no radio can be centred at {centre_hz / 1e6:g} MHz", "See gateway.region")
    compensation = board.compensation
    return abi.ConfRxrf(
        enable=True,
        freq_hz=centre_hz,
        rssi_offset=board.rssi_offset_db,
        rssi_tcomp=abi.RssiTcomp(compensation.a, compensation.b, compensation.c, compensation.d, compensation.e),
        type=abi.RADIO_SX1250,
        tx_enable=board.tx_chains[number],
        single_input_mode=board.single_input[number],
    )


def _channels(plan: ChipPlan) -> tuple[abi.ConfRxif, ...]:
    channels = [abi.ConfRxif() for _ in range(abi.IF_CHAINS)]
    if len(plan.channels) > abi.SERVICE_CHAIN:
        raise _bad(f"{len(plan.channels)} channels: the chip hears {abi.SERVICE_CHAIN}", "Name fewer channels")
    for number, channel in enumerate(plan.channels):
        channels[number] = _channel(plan, channel, 125_000)
    if plan.service is not None:
        service = plan.service.modulation
        if not isinstance(service, Lora) or service.bandwidth_hz not in abi.BANDWIDTHS:
            raise _bad("the service channel hears one LoRa data rate", "See the plan of the region")
        made = _channel(plan, plan.service, service.bandwidth_hz)
        made.bandwidth, made.datarate = abi.BANDWIDTHS[service.bandwidth_hz], service.spreading_factor
        channels[abi.SERVICE_CHAIN] = made
    if plan.fsk is not None:
        fsk = plan.fsk.modulation
        if not isinstance(fsk, Fsk) or fsk.bit_rate not in FSK_BIT_RATES:
            raise _bad("the FSK channel hears one bit rate of 500 to 250000 bit/s", "See the plan of the region")
        made = _channel(plan, plan.fsk, 125_000)
        made.bandwidth, made.datarate = abi.BANDWIDTHS[125_000], fsk.bit_rate
        channels[abi.FSK_CHAIN] = made
    return tuple(channels)


def _channel(plan: ChipPlan, channel: RadioChannel, width_hz: int) -> abi.ConfRxif:
    if channel.radio not in range(abi.RF_CHAINS) or plan.radios_hz[channel.radio] is None:
        raise _bad(f"{channel.frequency_hz / 1e6:g} MHz lies on a radio that is off", "See the plan of the region")
    if abs(channel.if_hz) + width_hz // 2 > REACH_HZ:
        raise _bad(
            f"{channel.frequency_hz / 1e6:g} MHz is {abs(channel.if_hz) / 1e3:g} kHz from the centre of its radio",
            "Choose channels within two groups of 800 kHz",
        )
    return abi.ConfRxif(enable=True, rf_chain=channel.radio, freq_hz=channel.if_hz)


def _sx1261(board: BoardSettings, lbt: LbtPlan | None) -> abi.ConfSx1261:
    if not board.has_sx1261:
        return abi.ConfSx1261()
    made = abi.ConfSx1261(
        enable=True, spi_path=(board.sx1261_spi or "").encode(), rssi_offset=board.sx1261_rssi_offset_db
    )
    if lbt is not None:
        made.lbt_conf.enable = True
        made.lbt_conf.rssi_target = lbt.threshold_dbm
        made.lbt_conf.nb_channel = len(lbt.channels)
        for number, (frequency_hz, width_hz) in enumerate(lbt.channels):
            made.lbt_conf.channels[number] = abi.ConfChanLbt(
                frequency_hz, abi.BANDWIDTHS[width_hz], lbt.scan_us, LBT_LONGEST_MS
            )
    return made


def _bad(problem: str, cure: str) -> ChipTrouble:
    return ChipTrouble(TroubleKind.BAD_PLAN, problem, hint=cure)


# --- what is sent ---------------------------------------------------------------------------------------------------


def gain_table(gain: TxGain) -> abi.TxGainLut:
    """A table with one entry: the one that is to be used. From a longer one the library would choose by itself."""
    table = abi.TxGainLut(size=1)
    table.lut[0] = abi.TxGainEntry(
        rf_power=gain.power_dbm, pa_gain=gain.pa_gain, pwr_idx=gain.pwr_idx, mix_gain=MIX_GAIN
    )
    return table


def transmission(tx: ChipTx, gain: TxGain, plan: ChipPlan, lbt: LbtPlan | None) -> abi.PktTx | Unsent:
    """The structure of a transmission, or why there is none."""
    if not plan.lowest_tx_hz <= tx.frequency_hz <= plan.highest_tx_hz:
        return Unsent(TxResult.TX_FREQ, f"{tx.frequency_hz / 1e6:g} MHz is outside of {plan.region}")
    if not 1 <= len(tx.phy) <= 255:
        return Unsent(TxResult.UNKNOWN, f"a frame of {len(tx.phy)} bytes; a chip sends 1 to 255")
    packet = abi.PktTx(
        freq_hz=tx.frequency_hz,
        tx_mode=abi.ON_GPS,
        rf_power=gain.power_dbm,
        invert_pol=tx.invert_polarity,
        no_crc=not tx.payload_crc,
        no_header=tx.implicit_header,
        size=len(tx.phy),
    )
    packet.payload[: len(tx.phy)] = tx.phy
    match tx.when:
        case AtCounter(counter_us):
            packet.tx_mode, packet.count_us = abi.TIMESTAMPED, counter_us & 0xFFFF_FFFF
        case Immediately():
            packet.tx_mode = abi.IMMEDIATE
    refused = _modulate(packet, tx) or _unheard(packet, tx, lbt)
    return packet if refused is None else Unsent(TxResult.UNKNOWN, refused)


def carrier(frequency_hz: int, gain: TxGain) -> abi.PktTx:
    """An unmodulated carrier, at once and until it is stopped. For the laboratory."""
    return abi.PktTx(
        freq_hz=frequency_hz,
        tx_mode=abi.IMMEDIATE,
        rf_power=gain.power_dbm,
        modulation=abi.MOD_CW,
        size=1,  # nothing of it is sent, but the library refuses to write a payload of none
    )


def _modulate(packet: abi.PktTx, tx: ChipTx) -> str | None:
    """Fill in how it is modulated; what is wrong with that, or None."""
    match tx.modulation:
        case Lora(spreading_factor, bandwidth_hz, coding_rate):
            rate = abi.CODE_RATES.get(coding_rate or "4/5")
            if bandwidth_hz not in abi.BANDWIDTHS or not 5 <= spreading_factor <= 12 or rate is None:
                return f"no SX1302 sends SF{spreading_factor}, {bandwidth_hz / 1e3:g} kHz, {coding_rate}"
            packet.modulation, packet.bandwidth = abi.MOD_LORA, abi.BANDWIDTHS[bandwidth_hz]
            packet.datarate, packet.coderate = spreading_factor, rate
            # The library takes 8 for all; modems of SF5 and SF6 wait for 12.
            packet.preamble = tx.preamble_symbols or (12 if spreading_factor < 7 else 8)
        case Fsk(bit_rate, deviation_hz):
            deviation_khz = round((deviation_hz or FSK_DEVIATION_HZ) / 1000)
            if bit_rate not in FSK_BIT_RATES or deviation_khz not in FSK_DEVIATIONS_KHZ:
                return f"no SX1302 sends FSK with {bit_rate} bit/s and {deviation_khz} kHz of deviation"
            packet.modulation, packet.datarate, packet.f_dev = abi.MOD_FSK, bit_rate, deviation_khz
            packet.preamble = tx.preamble_symbols or 0
    return None


def _unheard(packet: abi.PktTx, tx: ChipTx, lbt: LbtPlan | None) -> str | None:
    """Why this cannot be listened for before it is sent; None when it can, or need not."""
    if lbt is None:
        return None
    if not isinstance(tx.modulation, Lora) or not lbt.listens_at(tx.frequency_hz, tx.modulation.bandwidth_hz):
        return f"{tx.frequency_hz / 1e6:g} MHz is no channel that the second radio listens on before"
    duration_us = airtime_us(
        tx.modulation, packet.size, preamble=packet.preamble, crc=not packet.no_crc, implicit_header=packet.no_header
    )
    if duration_us > LBT_LONGEST_MS * 1000 - _LBT_SPARE_US:
        return f"{duration_us / 1e6:.2f} s on the air; after listening {LBT_LONGEST_MS / 1e3:g} s are allowed"
    return None


# --- what is heard --------------------------------------------------------------------------------------------------


def frames(packets: Iterator[abi.PktRx], correction_db: float = 0.0) -> Iterator[RawFrame | None]:
    """What each structure holds; None for one that no chip can have meant."""
    for packet in packets:
        yield frame(packet, correction_db)


def frame(packet: abi.PktRx, correction_db: float = 0.0) -> RawFrame | None:
    """What the structure holds. `correction_db` is added to what it says of loudness."""
    size, status, chain = packet.size, packet.status, packet.if_chain
    crc = _CRC.get(status)
    modulation = _modulation(packet)
    if crc is None or modulation is None or not 1 <= size <= 255 or chain >= abi.IF_CHAINS:
        return None
    is_lora = isinstance(modulation, Lora)
    return RawFrame(
        phy=bytes(packet.payload[:size]),
        counter_us=packet.count_us,
        frequency_hz=packet.freq_hz,
        modulation=modulation,
        rssi_dbm=packet.rssic + correction_db,
        snr_db=packet.snr if is_lora else None,
        channel=chain,
        rf_chain=packet.rf_chain,
        crc=crc,
        signal_rssi_dbm=packet.rssis + correction_db if is_lora else None,  # of FSK the library makes no sense
        fine_time_ns=packet.ftime if packet.ftime_received else None,
        frequency_offset_hz=packet.freq_offset if is_lora else None,
    )


def _modulation(packet: abi.PktRx) -> Lora | Fsk | None:
    if packet.modulation == abi.MOD_FSK:
        return Fsk(packet.datarate) if packet.datarate in FSK_BIT_RATES else None
    bandwidth_hz = _BANDWIDTH_HZ.get(packet.bandwidth)
    if packet.modulation != abi.MOD_LORA or bandwidth_hz is None or not 5 <= packet.datarate <= 12:
        return None
    # 0 is a code rate the modem could not read: the checksum of such a frame is wrong, too.
    return Lora(packet.datarate, bandwidth_hz, _CODE_RATE.get(packet.coderate))
