"""The example reading of the outside contract: as JSON, and as the record that must come out as that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.model import (
    Decoded,
    DevAddr,
    DevEui,
    GatewayEui,
    Lora,
    Measurement,
    Reading,
    Record,
    Stamp,
    TimeQuality,
)

# The example of the outside contract, section 4, as it is printed there.
EXAMPLE = """
{
  "id": "6f1c…",                       "record_id": "0016c001ff10a235-5be1-1042",
  "gateway_eui": "0016c001ff10a235",   "time": "2026-11-23T08:15:02.123Z",
  "time_quality": "ntp",               "time_uncertainty_ms": 50,
  "dev_eui": "70b3d57ed0000001",       "dev_addr": "26011bda",
  "name": "PAV Antigone 12",           "tags": {"kind": "glass"},
  "codec": "heyliot/heywaste@1",       "f_cnt": 42, "f_port": 2,
  "confirmed": false,                  "adr": true,
  "payload": "1101f4",
  "data": {"…": "what the codec returned"},
  "measurements": [{"quantity": "fill_level", "value": 83.3, "unit": "%"}],
  "warnings": [],                      "problem": null,
  "late": false,                       "gap_before": 0,
  "radio": {"frequency_hz": 868100000, "modulation": "LORA", "spreading_factor": 7, "bandwidth_hz": 125000,
            "coding_rate": "4/5", "rssi_dbm": -97, "snr_db": 5.2, "channel": 2, "rf_chain": 0}
}
"""

GATEWAY_EUI = GatewayEui.parse("0016c001ff10a235")
HEARD = Stamp(1_795_421_702_123_000, TimeQuality.NTP, 50, "boot", 77)  # `date -u -d 2026-11-23T08:15:02.123Z +%s%6N`

READING = Reading(
    frame_id="6f1c…",
    phy=bytes.fromhex("402ada1b2600"),
    heard=HEARD,
    dev_eui=DevEui.parse("70b3d57ed0000001"),
    dev_addr=DevAddr.parse("26011bda"),
    name="PAV Antigone 12",
    tags={"kind": "glass"},
    f_cnt=42,
    f_port=2,
    confirmed=False,
    adr=True,
    payload=bytes.fromhex("1101f4"),
    gap_before=0,
    decoded=Decoded(
        "heyliot/heywaste@1", {"…": "what the codec returned"}, (Measurement("fill_level", 83.3, "%"),), (), None
    ),
    frequency_hz=868_100_000,
    modulation=Lora(7, 125_000, "4/5"),
    rssi_dbm=-97,
    snr_db=5.2,
    channel=2,
    rf_chain=0,
)


def record(position: int = 1042, *, late: bool = False, **changes: Any) -> Record:
    """The example at a position of its own, with fields of the reading changed."""
    return Record(GATEWAY_EUI, "5be1", position, replace(READING, **changes), late)


def records(count: int, first: int = 1, **changes: Any) -> list[Record]:
    """Records at ascending positions, each with a frame counter and a frame id of its own."""
    return [
        record(position, f_cnt=position, frame_id=f"{position:032x}", **changes)
        for position in range(first, first + count)
    ]
