"""The structures, numbers and functions of Semtech's libloragw, as its headers lay them out.

Source: sx1302_hal 2.1.0, `libloragw/inc/loragw_hal.h`, `loragw_com.h`, `loragw_sx1302_rx.h`,
`loragw_sx1302_timestamp.h`. The layouts are the same on x86-64, aarch64 and 32-bit ARM: nothing in them depends on the
width of a pointer. The fork brocaar/sx1302_hal keeps all of them.

Fields and functions have the names of the headers, so that one finds them there.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int16,
    c_int32,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
)
from typing import Any, ClassVar, Final

# --- numbers --------------------------------------------------------------------------------------------------------

SUCCESS: Final = 0
LBT_NOT_ALLOWED: Final = 1

COM_SPI, COM_USB = 0, 1
RADIO_SX1250: Final = 5

MOD_CW, MOD_LORA, MOD_FSK = 0x08, 0x10, 0x20
BANDWIDTHS: Final = {500_000: 0x06, 250_000: 0x05, 125_000: 0x04}
CODE_RATES: Final = {"4/5": 1, "4/6": 2, "4/7": 3, "4/8": 4}
STAT_NO_CRC, STAT_CRC_OK, STAT_CRC_BAD = 0x01, 0x10, 0x11
IMMEDIATE, TIMESTAMPED, ON_GPS = 0, 1, 2
TX_STATUS: Final = 1

RF_CHAINS: Final = 2
IF_CHAINS: Final = 10
SERVICE_CHAIN, FSK_CHAIN = 8, 9
MULTI_SF_ALL: Final = 0xFF
LUT_SIZE: Final = 16
LBT_CHANNELS: Final = 16
SCAN_LEVELS: Final = 33

FTIME_HIGH_CAPACITY, FTIME_ALL_SF = 0, 1
WRITE_MODE_SINGLE: Final = 0

FIFO_SIZE: Final = 4096
FIFO_ADDRESS: Final = 0x4000

REGISTER_VERSION: Final = 0x5606
REGISTER_AGC_CONTROL, REGISTER_AGC_STATUS = 0x5780, 0x5781
REGISTER_FIFO_COUNT: Final = 0x58C8
REGISTER_ARB_CONTROL, REGISTER_ARB_STATUS = 0x6080, 0x6081
PARITY_ERROR: Final = 0x01

# --- structures -----------------------------------------------------------------------------------------------------

Fields = list[tuple[str, Any]]


class ConfBoard(ctypes.Structure):
    """`lgw_conf_board_s`."""

    _fields_: ClassVar[Fields] = [
        ("lorawan_public", c_bool),
        ("clksrc", c_uint8),
        ("full_duplex", c_bool),
        ("com_type", c_int),
        ("com_path", c_char * 64),
    ]


class RssiTcomp(ctypes.Structure):
    """`lgw_rssi_tcomp_s`."""

    _fields_: ClassVar[Fields] = [(f"coeff_{letter}", c_float) for letter in "abcde"]


class ConfRxrf(ctypes.Structure):
    """`lgw_conf_rxrf_s`: one radio."""

    _fields_: ClassVar[Fields] = [
        ("enable", c_bool),
        ("freq_hz", c_uint32),
        ("rssi_offset", c_float),
        ("rssi_tcomp", RssiTcomp),
        ("type", c_int),
        ("tx_enable", c_bool),
        ("single_input_mode", c_bool),
    ]


class ConfRxif(ctypes.Structure):
    """`lgw_conf_rxif_s`: one channel and its modem."""

    _fields_: ClassVar[Fields] = [
        ("enable", c_bool),
        ("rf_chain", c_uint8),
        ("freq_hz", c_int32),
        ("bandwidth", c_uint8),
        ("datarate", c_uint32),
        ("sync_word_size", c_uint8),
        ("sync_word", c_uint64),
        ("implicit_hdr", c_bool),
        ("implicit_payload_length", c_uint8),
        ("implicit_crc_en", c_bool),
        ("implicit_coderate", c_uint8),
    ]


class ConfDemod(ctypes.Structure):
    """`lgw_conf_demod_s`."""

    _fields_: ClassVar[Fields] = [("multisf_datarate", c_uint8)]


class TxGainEntry(ctypes.Structure):
    """`lgw_tx_gain_s`."""

    _fields_: ClassVar[Fields] = [
        ("rf_power", c_int8),
        ("dig_gain", c_uint8),
        ("pa_gain", c_uint8),
        ("dac_gain", c_uint8),
        ("mix_gain", c_uint8),
        ("offset_i", c_int8),
        ("offset_q", c_int8),
        ("pwr_idx", c_uint8),
    ]


class TxGainLut(ctypes.Structure):
    """`lgw_tx_gain_lut_s`."""

    _fields_: ClassVar[Fields] = [("lut", TxGainEntry * LUT_SIZE), ("size", c_uint8)]


class ConfFtime(ctypes.Structure):
    """`lgw_conf_ftime_s`."""

    _fields_: ClassVar[Fields] = [("enable", c_bool), ("mode", c_int)]


class ConfChanLbt(ctypes.Structure):
    """`lgw_conf_chan_lbt_s`."""

    _fields_: ClassVar[Fields] = [
        ("freq_hz", c_uint32),
        ("bandwidth", c_uint8),
        ("scan_time_us", c_int),
        ("transmit_time_ms", c_uint16),
    ]


class ConfLbt(ctypes.Structure):
    """`lgw_conf_lbt_s`."""

    _fields_: ClassVar[Fields] = [
        ("enable", c_bool),
        ("rssi_target", c_int8),
        ("nb_channel", c_uint8),
        ("channels", ConfChanLbt * LBT_CHANNELS),
    ]


class ConfSx1261(ctypes.Structure):
    """`lgw_conf_sx1261_s`: the second radio, which listens before talk and scans."""

    _fields_: ClassVar[Fields] = [
        ("enable", c_bool),
        ("spi_path", c_char * 64),
        ("rssi_offset", c_int8),
        ("lbt_conf", ConfLbt),
    ]


class PktRx(ctypes.Structure):
    """`lgw_pkt_rx_s`."""

    _fields_: ClassVar[Fields] = [
        ("freq_hz", c_uint32),
        ("freq_offset", c_int32),
        ("if_chain", c_uint8),
        ("status", c_uint8),
        ("count_us", c_uint32),
        ("rf_chain", c_uint8),
        ("modem_id", c_uint8),
        ("modulation", c_uint8),
        ("bandwidth", c_uint8),
        ("datarate", c_uint32),
        ("coderate", c_uint8),
        ("rssic", c_float),
        ("rssis", c_float),
        ("snr", c_float),
        ("snr_min", c_float),
        ("snr_max", c_float),
        ("crc", c_uint16),
        ("size", c_uint16),
        ("payload", c_uint8 * 256),
        ("ftime_received", c_bool),
        ("ftime", c_uint32),
    ]


class PktTx(ctypes.Structure):
    """`lgw_pkt_tx_s`."""

    _fields_: ClassVar[Fields] = [
        ("freq_hz", c_uint32),
        ("tx_mode", c_uint8),
        ("count_us", c_uint32),
        ("rf_chain", c_uint8),
        ("rf_power", c_int8),
        ("modulation", c_uint8),
        ("freq_offset", c_int8),
        ("bandwidth", c_uint8),
        ("datarate", c_uint32),
        ("coderate", c_uint8),
        ("invert_pol", c_bool),
        ("f_dev", c_uint8),
        ("preamble", c_uint16),
        ("no_crc", c_bool),
        ("no_header", c_bool),
        ("size", c_uint16),
        ("payload", c_uint8 * 256),
    ]


class RxBuffer(ctypes.Structure):
    """`rx_buffer_s`: what was fetched from the chip and is not parsed yet; the variable `rx_buffer`."""

    _fields_: ClassVar[Fields] = [
        ("buffer", c_uint8 * FIFO_SIZE),
        ("buffer_size", c_uint16),
        ("buffer_index", c_int),
        ("buffer_pkt_nb", c_uint8),
    ]


SIZES: Final[dict[type[ctypes.Structure], int]] = {
    ConfBoard: 72, RssiTcomp: 20, ConfRxrf: 40, ConfRxif: 40, ConfDemod: 1, TxGainEntry: 8, TxGainLut: 129,
    ConfFtime: 8, ConfChanLbt: 16, ConfLbt: 260, ConfSx1261: 328, PktRx: 316, PktTx: 292, RxBuffer: 4108,
}  # fmt: skip
"""Bytes each takes in the library, measured with its own headers."""

# --- functions ------------------------------------------------------------------------------------------------------

Signature = tuple[Any, tuple[Any, ...]]

FUNCTIONS: Final[dict[str, Signature]] = {
    "lgw_version_info": (c_char_p, ()),
    "lgw_board_setconf": (c_int, (POINTER(ConfBoard),)),
    "lgw_rxrf_setconf": (c_int, (c_uint8, POINTER(ConfRxrf))),
    "lgw_rxif_setconf": (c_int, (c_uint8, POINTER(ConfRxif))),
    "lgw_demod_setconf": (c_int, (POINTER(ConfDemod),)),
    "lgw_txgain_setconf": (c_int, (c_uint8, POINTER(TxGainLut))),
    "lgw_ftime_setconf": (c_int, (POINTER(ConfFtime),)),
    "lgw_sx1261_setconf": (c_int, (POINTER(ConfSx1261),)),
    "lgw_start": (c_int, ()),
    "lgw_stop": (c_int, ()),
    "lgw_receive": (c_int, (c_uint8, POINTER(PktRx))),
    "lgw_send": (c_int, (POINTER(PktTx),)),
    "lgw_status": (c_int, (c_uint8, c_uint8, POINTER(c_uint8))),
    "lgw_abort_tx": (c_int, (c_uint8,)),
    "lgw_get_trigcnt": (c_int, (POINTER(c_uint32),)),
    "lgw_get_instcnt": (c_int, (POINTER(c_uint32),)),
    "lgw_get_eui": (c_int, (POINTER(c_uint64),)),
    "lgw_get_temperature": (c_int, (POINTER(c_float),)),
    "lgw_time_on_air": (c_uint32, (POINTER(PktTx),)),
    "lgw_spectral_scan_start": (c_int, (c_uint32, c_uint16)),
    "lgw_spectral_scan_get_status": (c_int, (POINTER(c_int),)),
    "lgw_spectral_scan_get_results": (c_int, (POINTER(c_int16), POINTER(c_uint16))),
    "lgw_spectral_scan_abort": (c_int, ()),
    "lgw_com_r": (c_int, (c_uint8, c_uint16, POINTER(c_uint8))),
    "lgw_com_rb": (c_int, (c_uint8, c_uint16, POINTER(c_uint8), c_uint16)),
}
"""What every libloragw of 2.1 has."""

INNER_FUNCTIONS: Final[dict[str, Signature]] = {
    "lgw_mem_rb": (c_int, (c_uint16, POINTER(c_uint8), c_uint16, c_bool)),
    "timestamp_counter_get": (c_int, (ctypes.c_void_p, POINTER(c_uint32), POINTER(c_uint32))),
}
INNER_VARIABLES: Final = ("rx_buffer", "counter_us")
"""Functions and variables that are no part of the interface, but that a shared object usually shows: with them the
receive buffer is fetched and cleaned by us, and a failed read of the counter is seen."""

OPTIONAL_FUNCTIONS: Final[dict[str, Signature]] = {
    "lgw_com_close": (c_int, ()),
    "lgw_com_flush": (c_int, ()),
    "sx1302_get_model_id": (c_int, (POINTER(c_int),)),
}

FORK_FUNCTIONS: Final[dict[str, Signature]] = {
    "lgw_i2c_set_path": (c_int, (c_char_p,)),
    "lgw_i2c_set_temp_sensor_addr": (c_int, (c_uint8,)),
}
"""What brocaar/sx1302_hal has beyond Semtech's."""
