"""Downlinks that our codecs make, against the bytes that makers' manuals and encoders give."""

from __future__ import annotations

import pytest

from gateway.decoding.catalogue import Catalogue, shipped_folder

CATALOGUE = Catalogue.load([shipped_folder()])


def encoder(name):
    """The codec's encode with its own defaults, in this process: what it may do is tested elsewhere."""
    entry = CATALOGUE.entries[name]
    module = {"__name__": "codec"}
    exec(entry.script.read(), module)
    encode = module.get("encode")
    if encode is None or "variables" not in encode.__code__.co_varnames[: encode.__code__.co_argcount]:
        return encode
    return lambda command: encode(command, entry.defaults)


ENCODERS = {name: encoder(name) for name in CATALOGUE.entries if encoder(name) is not None}

COMMANDS = [
    # github.com/Milesight-IoT/SensorDecoders, *-encoder.js; the first also vendor/milesight-iot/em400-udl-codec.yaml of
    # The Things Network's device repository.
    ("milesight/em400_udl", {"report_interval_s": 300}, "ff032c01", 85),
    ("milesight/em310_udl", {"reboot": True, "collection_interval_s": 60}, "ff10ffff023c00", 85),
    ("milesight/em300_th", {"history": True, "retransmit": 0}, "ff6801ff6900", 85),
    ("milesight/em300_th", {"retransmit_interval_s": 600, "resend_interval_s": 1200}, "ff6a005802ff6a01b004", 85),
    ("milesight/em300_th", {"fetch_history": 1665561758}, "fd6b9e744663", 85),
    ("milesight/am307", {"fetch_history": [1665561758, 1665561759]}, "fd6c9e7446639f744663", 85),
    ("milesight/am319", {"clear_history": True, "stop_transmit": True}, "ff2701fd6dff", 85),
    ("milesight/em300_di", {"clear_counter": True}, "ff4e0100", 85),
    # The maker's wiki: LDDS75 and LHT65N user manuals, the examples of their downlinks.
    ("dragino/ldds75", {"report_interval_s": 30}, "0100001e", 2),
    ("dragino/ldds75", {"reboot": True}, "04ff", 2),
    ("dragino/lht65n", {"device_status": True}, "2601", 2),
    ("dragino/lht65n", {"fetch_history": [1606808400, 1606812000]}, "315fc5f3505fc6016005", 2),
    # github.com/Watteco/Codec-API-LoRaWAN, devices/th/examples.json.
    ("watteco/th", {"read": "firmware"}, "110000000002", 125),
    ("watteco/th", {"confirmed": True}, "1105800400000801", 125),
    ("watteco/th", {"reboot": True}, "1150005000", 125),
    ("watteco/th", {"retries": 3}, "1105800400012003", 125),
    ("watteco/pulse_senso", {"rejoin_min": 60}, "1150800400003c", 125),
    # The maker's technical reference manuals: MOTION V2, page 15, and PULSE V3, page 20.
    ("adeunis/temp", {"read_registers": [300, 320, 332]}, "40001420", 1),
    ("adeunis/comfort", {"read": "configuration"}, "01", 1),
    ("adeunis/comfort", {"write_registers": {"320": "00aa"}}, "411400aa", 1),
    ("adeunis/pulse", {"add_pulses": 80, "channel": "b"}, "0400000050", 1),
    # ChirpStack's device profiles, vendors/decentlab/codecs/test_encode_dl-rhc.json.
    ("decentlab/dl_sht35", {"sampling_period_s": 3600}, "00020e1048a4", 1),
    # The Things Network's device repository, vendor/dingtek/df702-codec.yaml and dc410-codec.yaml.
    ("dingtek/df702", {"report_interval_h": 4}, b"80029999010481".hex(), 3),
    ("dingtek/df702", {"detection_interval_min": 10}, b"80029999080A81".hex(), 3),
    ("dingtek/df702", {"full_alarm_cm": 35}, b"80029999022381".hex(), 3),
    ("dingtek/df702", {"fire_alarm_celsius": 70}, b"80029999034681".hex(), 3),
    ("dingtek/df702", {"tilt_alarm_degrees": 45}, b"80029999042D81".hex(), 3),
    ("dingtek/dc410", {"tilt_alarm": True}, b"80029999090A81".hex(), 3),
    ("dingtek/dc410", {"range_m": 5}, b"80029999091381".hex(), 3),
    # The maker's manual of the IWM-LR3, page 21.
    ("bmeters/iwm_lr3", {"read": "firmware"}, "0700000000", 1),
    ("bmeters/iwm_lr3", {"reboot": True}, "0a0000000104", 1),
    ("bmeters/iwm_lr3", {"set_counter": 864}, "1600000006040000036000", 1),
    ("bmeters/iwm_lr3", {"clear_alarms": True}, "29000000050400000000", 1),
    # The maker's manual CMi4110 v1.3, table 13 and its example.
    ("elvaco/cmi4100", {"most_transmissions_a_day": 24}, "00210118", 2),
    ("elvaco/cmi4100", {"transmit_interval_min": 60}, "0006023c00", 2),
    ("elvaco/cmi4100", {"eco_mode": True}, "000f0101", 2),
]


@pytest.mark.parametrize(("name", "command", "payload", "port"), COMMANDS)
def test_a_command_becomes_the_maker_s_bytes(name, command, payload, port):
    found = ENCODERS[name](command)
    assert (found.get("errors"), bytes(found["bytes"]).hex(), found["f_port"]) == (None, payload, port)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    "command",
    [{}, {"self_destruct": True}, [], None, "reboot", 7, {"report_interval_s": "600"}, {"report_interval_s": -1},
     {"report_interval_min": 1e9}, {"reboot": None}, {"fetch_history": [2, 1]}, {"transmit_interval_min": True}],
)  # fmt: skip
def test_what_is_no_command_is_an_error_in_words(name, command):
    found = ENCODERS[name](command)
    (error,) = found["errors"]
    assert error
    assert "bytes" not in found


def test_every_encoder_has_a_command_here():
    known = {name for name, *_ in COMMANDS}
    silent = {"kamstrup/flowiq_2200", "mbus/meter", "sensus/iperl"}  # no downlink of theirs is known
    assert set(ENCODERS) - silent == known
