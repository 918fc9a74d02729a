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
