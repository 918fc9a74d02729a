"""What other servers' words are made of in tests: a frame, its device, what happens to them, any reading at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from gateway.model import (
    Crc,
    Decoded,
    DevAddr,
    DevEui,
    Device,
    DownlinkMoved,
    DownlinkState,
    Fsk,
    GatewayEui,
    JoinEui,
    Lora,
    LrFhss,
    Measurement,
    QueuedDownlink,
    RadioFrame,
    Reading,
    Record,
    Stamp,
    TimeQuality,
    frame_id,
)

GATEWAY_EUI = GatewayEui.parse("0016c001f1500812")
DEV_EUI = DevEui.parse("0102030405060708")
HEARD = Stamp(1_795_428_000_123_456, TimeQuality.GPS, 1, "boot", 77)  # `date -u -d 2026-11-23T10:00:00.123456Z +%s%6N`
PHY = bytes.fromhex("40040302018001000a5a0b11223344")
DEVICE = Device(DEV_EUI, "well-07", "acme/probe", join_eui=JoinEui.parse("70B3D57ED0000000"), tags={"site": "north"})
FRAME = RadioFrame(
    phy=PHY, heard=HEARD, frequency_hz=868_100_000, modulation=Lora(7, 125_000, "4/5"), rssi_dbm=-87.0, snr_db=9.5,
    channel=2, rf_chain=1, counter_us=3_512_348_611, crc=Crc.OK, receiver="",
)  # fmt: skip
READING = Reading(
    frame_id=frame_id(PHY), phy=PHY, heard=HEARD, dev_eui=DEV_EUI, dev_addr=DevAddr.parse("01020304"), name="well-07",
    tags={"site": "north"}, f_cnt=1, f_port=10, confirmed=False, adr=True, payload=b"\x01\x00", gap_before=0,
    decoded=Decoded("acme/probe@2", {"level_m": 2.56, "count": 12}, (Measurement("distance", 2560, "mm"),)),
    frequency_hz=868_100_000, modulation=Lora(7, 125_000, "4/5"), rssi_dbm=-87.0, snr_db=9.5, channel=2, rf_chain=1,
    counter_us=3_512_348_611, device_class="A", join_eui=DEVICE.join_eui,
)  # fmt: skip


def record(*, late: bool = False, position: int = 7, **changes: Any) -> Record:
    """The sample, with fields of the reading changed."""
    return Record(GATEWAY_EUI, "0badcafe", position, replace(READING, **changes), late)


def moved(state: DownlinkState, *, ref: str = "a1b2", **changes: Any) -> DownlinkMoved:
    """A downlink for the device that has come to a state."""
    entry = QueuedDownlink(
        ref=ref, dev_eui=DEV_EUI, f_port=10, payload=b"\x01", confirmed=False, asked=HEARD, origin="centre", state=state
    )
    return DownlinkMoved(DEVICE, replace(entry, **changes), HEARD)


_text = st.text(st.characters(), max_size=12)  # with lone surrogates, as scripts return them
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_modulations = st.one_of(
    st.builds(Lora, st.integers(5, 12), st.sampled_from([125_000, 500_000]), st.sampled_from([None, "4/5", "4/8LI"])),
    st.builds(Fsk, st.integers(500, 250_000), st.none() | st.integers(0, 200_000)),
    st.builds(LrFhss, st.integers(39_000, 1_574_000), st.sampled_from(["1/3", "2/3"]), st.none() | st.integers(1, 99)),
)
any_reading = st.builds(
    replace,
    st.just(READING),
    phy=st.binary(max_size=40),
    frame_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    heard=st.builds(
        Stamp, st.integers(-(2**62), 2**62), st.sampled_from(TimeQuality), st.none(), st.just("b"), st.just(0)
    ),
    name=_text,
    tags=st.dictionaries(_text | st.sampled_from(["latitude", "longitude"]), _text, max_size=3),
    f_cnt=st.integers(0, 2**32 - 1),
    f_port=st.none() | st.integers(0, 255),
    payload=st.binary(max_size=12),
    decoded=st.builds(
        Decoded,
        codec=st.none() | _text,
        data=st.none() | st.dictionaries(_text, _json, max_size=4),
        measurements=st.lists(
            st.builds(
                Measurement,
                st.sampled_from(["battery", "link_margin", "external_power", "fill_level", "we're"]),
                st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False) | _text,
                st.sampled_from(["", "%", "dB", "m3"]),
                st.none() | st.integers(0, 2**53),
            ),
            max_size=3,
        ).map(tuple),
        warnings=st.lists(_text, max_size=2).map(tuple),
        problem=st.none() | _text,
    ),
    frequency_hz=st.integers(1, 2**32 - 1),
    modulation=_modulations,
    rssi_dbm=st.integers(-1500, 1500).map(lambda tenths: tenths / 10),
    snr_db=st.none() | st.integers(-300, 300).map(lambda tenths: tenths / 10),
    counter_us=st.none() | st.integers(0, 2**32 - 1),
    device_class=st.sampled_from("ABC"),
    join_eui=st.none() | st.just(DEVICE.join_eui),
)
"""Whatever a frame can be, and whatever a codec can say of it."""
