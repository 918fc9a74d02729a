"""The messages between a gateway and ChirpStack, as tables: gw.proto and common.proto of chirpstack-api 4.20.

Fields that this gateway neither writes nor needs are left out (legacy ones, the mesh); readers pass them over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.wire.protobuf import Field, Kind, Message, map_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def _words(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


CODE_RATES: Final = _words(
    (
        *("CR_UNDEFINED", "CR_4_5", "CR_4_6", "CR_4_7", "CR_4_8", "CR_3_8", "CR_2_6", "CR_1_4", "CR_1_6", "CR_5_6"),
        *("CR_LI_4_5", "CR_LI_4_6", "CR_LI_4_8"),
    )
)
TX_ACK_STATUSES: Final = _words(
    (
        *("IGNORED", "OK", "TOO_LATE", "TOO_EARLY", "COLLISION_PACKET", "COLLISION_BEACON", "TX_FREQ", "TX_POWER"),
        *("GPS_UNLOCKED", "QUEUE_FULL", "INTERNAL_ERROR", "DUTY_CYCLE_OVERFLOW"),
    )
)

_LORA: Final = Message(
    Field("bandwidth", 1, Kind.UINT32),  # Hz
    Field("spreading_factor", 2, Kind.UINT32),
    Field("polarization_inversion", 4, Kind.BOOL),
    Field("code_rate", 5, Kind.ENUM, words=CODE_RATES),
    Field("preamble", 6, Kind.UINT32),
    Field("no_crc", 7, Kind.BOOL),
)
_FSK: Final = Message(Field("frequency_deviation", 1, Kind.UINT32), Field("datarate", 2, Kind.UINT32))
_LR_FHSS: Final = Message(
    Field("operating_channel_width", 1, Kind.UINT32),
    Field("grid_steps", 3, Kind.UINT32),
    Field("code_rate", 4, Kind.ENUM, words=CODE_RATES),
)
_MODULATION: Final = Message(
    Field("lora", 3, Kind.MESSAGE, _LORA, one_of=True),
    Field("fsk", 4, Kind.MESSAGE, _FSK, one_of=True),
    Field("lr_fhss", 5, Kind.MESSAGE, _LR_FHSS, one_of=True),
)
_LOCATION: Final = Message(
    Field("latitude", 1, Kind.DOUBLE),
    Field("longitude", 2, Kind.DOUBLE),
    Field("altitude", 3, Kind.DOUBLE),
    Field("source", 4, Kind.ENUM, words=_words(("UNKNOWN", "GPS", "CONFIG"))),
    Field("accuracy", 5, Kind.FLOAT),
)

# --- up -------------------------------------------------------------------------------------------------------------

_UPLINK_RX_INFO: Final = Message(
    Field("gateway_id", 1, Kind.STRING),
    Field("uplink_id", 2, Kind.UINT32),
    Field("gw_time", 3, Kind.TIMESTAMP),
    Field("time_since_gps_epoch", 4, Kind.DURATION),
    Field("fine_time_since_gps_epoch", 5, Kind.DURATION),
    Field("rssi", 6, Kind.INT32),
    Field("snr", 7, Kind.FLOAT),
    Field("channel", 8, Kind.UINT32),
    Field("rf_chain", 9, Kind.UINT32),
    Field("board", 10, Kind.UINT32),
    Field("antenna", 11, Kind.UINT32),
    Field("location", 12, Kind.MESSAGE, _LOCATION),
    Field("context", 13, Kind.BYTES),
    map_of("metadata", 15, Kind.STRING, Kind.STRING),
    Field("crc_status", 16, Kind.ENUM, words=_words(("NO_CRC", "BAD_CRC", "CRC_OK"))),
)
UPLINK_TX_INFO: Final = Message(Field("frequency", 1, Kind.UINT32), Field("modulation", 2, Kind.MESSAGE, _MODULATION))
UPLINK_FRAME: Final = Message(
    Field("phy_payload", 1, Kind.BYTES),
    Field("tx_info", 4, Kind.MESSAGE, UPLINK_TX_INFO),
    Field("rx_info", 5, Kind.MESSAGE, _UPLINK_RX_INFO),
)

_PER_MODULATION: Final = Message(Field("modulation", 1, Kind.MESSAGE, _MODULATION), Field("count", 2, Kind.UINT32))
_DUTY_CYCLE_BAND: Final = Message(
    Field("name", 1, Kind.STRING),
    Field("frequency_min", 2, Kind.UINT32),
    Field("frequency_max", 3, Kind.UINT32),
    Field("load_max", 4, Kind.DURATION),
    Field("load_tracked", 5, Kind.DURATION),
)
_DUTY_CYCLE_STATS: Final = Message(
    Field("regulation", 1, Kind.ENUM, words=_words(("REGULATION_UNKNOWN", "ETSI_EN_300_220"))),
    Field("window", 2, Kind.DURATION),
    Field("bands", 3, Kind.MESSAGE, _DUTY_CYCLE_BAND, repeated=True),
)
GATEWAY_STATS: Final = Message(
    Field("time", 2, Kind.TIMESTAMP),
    Field("location", 3, Kind.MESSAGE, _LOCATION),
    Field("config_version", 4, Kind.STRING),
    Field("rx_packets_received", 5, Kind.UINT32),
    Field("rx_packets_received_ok", 6, Kind.UINT32),
    Field("tx_packets_received", 7, Kind.UINT32),
    Field("tx_packets_emitted", 8, Kind.UINT32),
    map_of("metadata", 10, Kind.STRING, Kind.STRING),
    map_of("tx_packets_per_frequency", 12, Kind.UINT32, Kind.UINT32),
    map_of("rx_packets_per_frequency", 13, Kind.UINT32, Kind.UINT32),
    Field("tx_packets_per_modulation", 14, Kind.MESSAGE, _PER_MODULATION, repeated=True),
    Field("rx_packets_per_modulation", 15, Kind.MESSAGE, _PER_MODULATION, repeated=True),
    map_of("tx_packets_per_status", 16, Kind.STRING, Kind.UINT32),
    Field("gateway_id", 17, Kind.STRING),
    Field("duty_cycle_stats", 18, Kind.MESSAGE, _DUTY_CYCLE_STATS),
)
CONN_STATE: Final = Message(
    Field("state", 2, Kind.ENUM, words=_words(("OFFLINE", "ONLINE"))), Field("gateway_id", 3, Kind.STRING)
)

# --- down -----------------------------------------------------------------------------------------------------------

_TIMING: Final = Message(
    Field("immediately", 1, Kind.MESSAGE, Message(), one_of=True),
    Field("delay", 2, Kind.MESSAGE, Message(Field("delay", 1, Kind.DURATION)), one_of=True),
    Field("gps_epoch", 3, Kind.MESSAGE, Message(Field("time_since_gps_epoch", 1, Kind.DURATION)), one_of=True),
)
_DOWNLINK_TX_INFO: Final = Message(
    Field("frequency", 1, Kind.UINT32),
    Field("power", 2, Kind.INT32),  # dBm EIRP
    Field("modulation", 3, Kind.MESSAGE, _MODULATION),
    Field("board", 4, Kind.UINT32),
    Field("antenna", 5, Kind.UINT32),
    Field("timing", 6, Kind.MESSAGE, _TIMING),
    Field("context", 7, Kind.BYTES),
)
DOWNLINK_FRAME: Final = Message(
    Field("downlink_id", 3, Kind.UINT32),
    Field(
        "items",
        5,
        Kind.MESSAGE,
        Message(Field("phy_payload", 1, Kind.BYTES), Field("tx_info", 3, Kind.MESSAGE, _DOWNLINK_TX_INFO)),
        repeated=True,
    ),
    Field("gateway_id", 7, Kind.STRING),
)
DOWNLINK_TX_ACK: Final = Message(
    Field("downlink_id", 2, Kind.UINT32),
    Field("items", 5, Kind.MESSAGE, Message(Field("status", 1, Kind.ENUM, words=TX_ACK_STATUSES)), repeated=True),
    Field("gateway_id", 6, Kind.STRING),
)

_CHANNEL: Final = Message(
    Field("frequency", 1, Kind.UINT32),
    Field(
        "lora_modulation_config",
        3,
        Kind.MESSAGE,
        Message(Field("spreading_factors", 2, Kind.UINT32, repeated=True), Field("bandwidth", 3, Kind.UINT32)),
        one_of=True,
    ),
    Field(
        "fsk_modulation_config",
        4,
        Kind.MESSAGE,
        Message(Field("bitrate", 2, Kind.UINT32), Field("bandwidth", 3, Kind.UINT32)),
        one_of=True,
    ),
    Field("board", 5, Kind.UINT32),
    Field("demodulator", 6, Kind.UINT32),
)
GATEWAY_CONFIGURATION: Final = Message(
    Field("version", 2, Kind.STRING),
    Field("channels", 3, Kind.MESSAGE, _CHANNEL, repeated=True),
    Field("stats_interval", 4, Kind.DURATION),
    Field("gateway_id", 5, Kind.STRING),
)
EXEC_REQUEST: Final = Message(
    Field("command", 2, Kind.STRING), Field("gateway_id", 6, Kind.STRING), Field("exec_id", 7, Kind.UINT32)
)
EXEC_RESPONSE: Final = Message(
    Field("error", 5, Kind.STRING), Field("gateway_id", 6, Kind.STRING), Field("exec_id", 7, Kind.UINT32)
)

# --- integration.proto ----------------------------------------------------------------------------------------------

DOWNLINK_COMMAND: Final = Message(  # without `object`, a google.protobuf.Struct
    Field("id", 1, Kind.STRING),
    Field("dev_eui", 2, Kind.STRING),
    Field("confirmed", 3, Kind.BOOL),
    Field("f_port", 4, Kind.UINT32),
    Field("data", 5, Kind.BYTES),
    Field("expires_at", 7, Kind.TIMESTAMP),
)
