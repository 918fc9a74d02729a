"""Watteco's compressed batches against the tests of the maker's own reader."""

from __future__ import annotations

import pytest

from gateway.decoding import workbench
from gateway.decoding.catalogue import Catalogue, shipped_folder

CATALOGUE = Catalogue.load([shipped_folder()])
TH = "watteco/th"
U1, U16, I16, U32 = (1, False), (16, False), (16, True), (32, False)


def reader():
    module = {"__name__": "codec"}
    exec(CATALOGUE.entries[TH].script.read(), module)
    return module


@pytest.mark.parametrize(
    ("tag_bits", "tags", "payload", "expected"),
    [
        # github.com/Watteco/Codec-Report-Batch-Python, test_br_uncompress.py: age in s, tag, value
        (
            1,
            {0: (1, U32), 1: (1, U1)},
            "20100000a020a8010000004401e297ad40871b770e377b",
            [
                (50, 0, 0),
                (40, 0, 0),
                (30, 0, 3),
                (20, 0, 7),
                (10, 0, 7),
                (0, 0, 10),
                (94, 1, 1),
                (32, 1, 0),
                (30, 1, 1),
            ],
        ),
        (
            1,
            {0: (1, U32), 1: (1, U1)},
            "201600206018180000007ae201726c922d59920520ad",
            [
                (50, 0, 61),
                (49, 0, 62),
                (53, 1, 0),
                (52, 1, 1),
                (8, 1, 0),
                (7, 1, 1),
                (5, 1, 0),
                (4, 1, 1),
                (3, 1, 0),
                (2, 1, 1),
            ],
        ),
        (
            3,
            {0: (1, U32), 1: (1, U32), 2: (1, I16), 3: (1, I16), 4: (1, U16)},
            "523000800310050ae1dec124b41f680fec01003802237b00008ec01080009db08c8819af126440382419100ed903",
            [
                (1800, 0, 7297),
                (0, 0, 14497),
                (1800, 1, 7297),
                (0, 1, 14497),
                (1800, 2, 1005),
                (0, 2, 1005),
                (1800, 3, 2580),
                (0, 3, 2541),
                (1800, 4, 3622),
                (0, 4, 3676),
            ],
        ),
        (
            2,
            {0: (10, I16), 1: (100, U16), 2: (1, U16)},
            "322040c884854308b04f308df611942100f90649c908",
            [(35, 0, 2470), (5, 0, 2470), (35, 1, 4500), (5, 1, 4500), (35, 2, 3617)],
        ),
    ],
)
def test_a_batch_unpacks_as_in_the_maker_s_tests(tag_bits, tags, payload, expected):
    module = reader()
    module["BATCHES"]["th"] = (tag_bits, {tag: (str(tag), step, *form, 1) for tag, (step, form) in tags.items()})
    rows = module["batch"](bytes.fromhex(payload), "th")["samples"]
    found = [(row["age_s"], int(name), int(row[name])) for row in rows for name in row if name != "age_s"]
    assert sorted(found) == sorted(expected)


def test_the_samples_of_a_batch_are_as_old_as_they_say():
    payload = bytes.fromhex("322040c884854308b04f308df611942100f90649c908")
    found = workbench.decode(CATALOGUE, TH, payload, 125, {}, "2026-03-14T06:00:00Z")["measurements"]
    assert [(item["time"][11:], item["quantity"], item["value"]) for item in found] == [
        ("05:59:25Z", "battery_voltage", 3.617),
        ("05:59:25Z", "temperature", 24.7),
        ("05:59:25Z", "humidity", 45.0),
        ("05:59:55Z", "temperature", 24.7),
        ("05:59:55Z", "humidity", 45.0),
    ]
    timeless = workbench.decode(CATALOGUE, TH, payload, 125, {})
    assert timeless["measurements"] == []
    assert timeless["data"]["samples"][0]["age_s"] == 35


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", "the payload is empty"),
        ("36", "offset 1: the batch ends, 3 more bits are needed"),
        ("362100", "offset 3: the batch ends, 32 more bits are needed"),
        ("201e" + "ff" * 20, "offset 11: Huffman code 3 is not known"),
        ("11", "offset 1: a report begins with frame control, command and cluster"),
        ("110b0402000029", "offset 1: command 0x0b is not known"),
        ("110a04020000", "offset 6: the report ends before its value"),
        ("110a0402000077", "offset 6: type 0x77 is not known"),
        ("110a040200002901", "offset 7: a value of type 0x29 has 2 bytes, 1 are left"),
        ("118a0402000029075530b0", "offset 9: causes of type 3 are not known"),
        ("118a040200002907 55a0b008", "offset 11: the value of a cause has 2 bytes, 1 are left"),
        ("118a0402000029010ea0b008fc0000", "offset 15: the occurrences of a cause are cut off"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(payload, error):
    found = workbench.decode(CATALOGUE, TH, bytes.fromhex(payload), 125, {})
    (told,) = found["errors"]
    assert told.startswith(error)
    assert found["measurements"] == []
