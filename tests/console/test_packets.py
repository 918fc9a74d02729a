"""`tail --raw` as a person reads it: each packet on lines that fit, and what became of it where it belongs."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.console.packets import PacketLines
from gateway.console.wording import MINUS


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    os.environ.pop("TZ", None)
    time.tzset()


RADIO = {
    "frequency_hz": 868_100_000, "modulation": "LORA", "spreading_factor": 7, "bandwidth_hz": 125_000, "rssi_dbm": -97,
    "snr_db": 5.2, "channel": 2, "crc": "ok", "receiver": "0016c001f1500812",
}  # fmt: skip
HEARD = {
    "event": "heard", "id": "aa", "time": "2026-11-23T09:31:55.695Z", "dev_eui": "0200000000000001", "size": 17,
    "dev_addr": "49be7df1", "name": "PAV Antigone 12", "m_type": "unconfirmed_up", "f_cnt": 2, "f_port": 1,
    "radio": RADIO,
}  # fmt: skip
STRANGER = {
    **HEARD, "event": "refused", "id": "bb", "time": "2026-11-23T09:31:56.070Z", "name": None, "dev_addr": "26030201",
    "reason": "unknown_device", "problem": "no session has DevAddr 26030201", "f_cnt": None, "f_cnt16": 7,
    "radio": {**RADIO, "spreading_factor": 12, "rssi_dbm": -118, "snr_db": -17.5},
}  # fmt: skip
STRANGER.pop("f_cnt")


def at_server(event: str, **more):
    return {"event": event, "lns": "city", "frame": "bb", "after_ms": 23.4, "reason": None, "final": True, **more}


DOWNLINK = {
    "event": "downlink", "time": "2026-11-23T09:31:56.123Z", "downlink": "3", "lns": "city", "frame": "bb",
    "after_ms": 51.7, "window": "RX1", "delay_ms": 1000.0, "early_ms": 948.3, "m_type": "unconfirmed_down",
    "to_dev_addr": "26030201", "f_cnt16": 4, "size": 17,
    "radio": {"frequency_hz": 868_100_000, "modulation": "LORA", "spreading_factor": 7, "bandwidth_hz": 125_000,
              "power_dbm_eirp": 14.0, "receiver": "0016c001f1500812"},
}  # fmt: skip
RESULT = {
    "event": "downlink_result", "time": "2026-11-23T09:31:56.124Z", "downlink": "3", "lns": "city", "frame": "bb",
    "after_ms": 52.9, "result": "SENT", "detail": None, "on_air": True, "lost_to": None,
}  # fmt: skip


def shown(*events, width: int = 80) -> list[str]:
    packets = PacketLines(width)
    return [line.replace(MINUS, "-") for event in events for line in packets.of(event)]


def test_a_packet_and_what_became_of_it_stand_under_each_other():
    kept = {**HEARD, "event": "kept", "after_ms": 53.0, "measurements": [
        {"quantity": "fill_level", "value": 83.3, "unit": "%"}, {"quantity": "distance", "value": 500, "unit": "mm"},
    ]}  # fmt: skip
    lines = shown(
        HEARD, kept, STRANGER, at_server("forwarded", final=False), at_server("forwarded", lns="ttn", after_ms=1.5),
        at_server("acknowledged"), DOWNLINK, RESULT, at_server("missed", lns="absent", reason="away", after_ms=3001.2),
    )  # fmt: skip
    assert lines == [
        "09:31:55.695 unconfirmed 49be7df1 #2      868.100 SF7/125   -97 dBm   5.2 dB",
        "             PAV Antigone 12, port 1, 17 bytes, channel 2, by 0016c001f1500812",
        "      +53 ms kept: Fill level 83.3 %, Distance 500 mm",
        "09:31:56.070 unconfirmed 26030201 #7      868.100 SF12/125 -118 dBm -17.5 dB",
        "             Device not added here, port 1, 17 bytes, channel 2",
        "     +1.5 ms ttn: sent to it",
        "      +23 ms city: acknowledged",
        "      +52 ms ← city asks for RX1 after 1 s, 868.100 SF7/125 14 dBm, 948 ms",
        "               before it opens: unconfirmed downlink to 26030201 #4, 17 bytes",
        "      +53 ms ← city: SENT",
        "     +3.00 s absent: not sent: the server was away",
    ]


def test_what_comes_after_another_packet_says_whose_it_is():
    lines = shown(STRANGER, HEARD, at_server("acknowledged"), RESULT, STRANGER, at_server("unanswered"))
    assert "      +23 ms (26030201 #7) city: acknowledged" in lines
    assert "      +53 ms (26030201 #7) ← city: SENT" in lines
    assert lines[-1] == "      +23 ms city: not acknowledged"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({**STRANGER, "radio": {**RADIO, "crc": "bad"}, "reason": "crc_bad", "dev_addr": None, "dev_eui": None},
         "damaged                      868.100"),
        ({**STRANGER, "m_type": "join_request", "join_eui": "70b3d57ed00000dc", "dev_nonce": 3, "dev_addr": None},
         "join        0200000000000001 868.100"),
        ({**STRANGER, "reason": "malformed", "problem": "Major 3", "m_type": None}, "Not LoRaWAN: Major 3"),
        ({**STRANGER, "radio": {**RADIO, "modulation": "FSK", "bit_rate": 50_000, "snr_db": None}},
         "FSK 50k   -97 dBm"),
        ({**DOWNLINK, "lns": None}, "this gateway answers in RX1 after 1 s"),
        ({**DOWNLINK, "frame": None, "window": None, "delay_ms": None, "early_ms": None},
         "09:31:56.123 ← city asks for a window of no known uplink"),
        ({**DOWNLINK, "window": "immediately", "delay_ms": None, "early_ms": None}, "city asks for at once"),
        ({**DOWNLINK, "early_ms": -12.0}, "12 ms too late"),
        ({**RESULT, "result": "UNKNOWN", "on_air": None, "detail": "no TX_ACK"},
         "UNKNOWN, nobody can say whether it was on the air, no TX_ACK"),
        ({**RESULT, "result": "COLLISION_PACKET", "on_air": False, "detail": "5.0 ms after another; one of ttn"},
         "COLLISION_PACKET, 5.0 ms after another; one of ttn"),
        (at_server("acknowledged", reason="nobody_subscribed"), "the broker has it, and nobody is subscribed"),
        (at_server("missed", reason="no_word"), "the protocol has no words for how it was sent"),
        (at_server("missed", reason="made_up"), "not sent: made_up"),
        ({"missed": 12}, "12 readings went by faster than they could be shown"),
        ({"event": "of another version"}, "unknown"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("width", [80, 100, 200])
def test_each_kind_of_news_is_said(event, words, width):
    lines = shown(event, width=width)
    assert words in " ".join(" ".join(line.split()) if number else line for number, line in enumerate(lines))
    assert max(map(len, lines)) < max(width, 80)


TEXTS = st.one_of(st.none(), st.text(max_size=300), st.integers(), st.just("\x1b[2J"), st.just("a\nb"))


@settings(deadline=None, max_examples=300)
@given(
    event=st.sampled_from([HEARD, STRANGER, DOWNLINK, RESULT, at_server("missed"), at_server("acknowledged")]),
    changes=st.dictionaries(st.sampled_from(["name", "lns", "detail", "problem", "reason", "result", "m_type"]), TEXTS),
    width=st.integers(0, 300),
)
def test_foreign_text_changes_no_terminal(event, changes, width):
    for line in shown(event, {**event, **changes}, width=width):
        assert line.isprintable()
        assert len(line) <= 120 or "\x1b" not in line
