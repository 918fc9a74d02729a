"""Devices of other catalogues, in folders laid out as theirs are. The scripts and values in here are ours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decoding import workbench
from gateway.decoding.adding import add
from gateway.decoding.catalogue import Catalogue
from gateway.decoding.chirpstack_devices import read_loose_json
from gateway.decoding.yaml_core import read_yaml
from gateway.errors import GatewayError, UsageError

SCRIPT = "function decodeUplink(input) {\r\n  return { data: { temperature: input.bytes[0], on: 'on' } };\r\n}\r\n"
ENCODER = "function encodeDownlink(input) { return { bytes: [input.data.n], fPort: 9 }; }"

CODEC = """
uplinkDecoder:
  fileName: thing.js
  examples:
    - description: Twenty-one
      input: { fPort: 012, bytes: [0x15] }
      output:
        data: { temperature: 21, on: on }
    - description: no input
      output: {}
downlinkEncoder:
  fileName: thing-down.js
  examples:
    - description: Nine
      input: { data: { n: 9 }, command: set }
      output: { bytes: [9], fPort: 9, warnings: [], errors: [] }
"""
DEVICE = """
name: Thing, "the" one
firmwareVersions:
  - version: '1.0'
    profiles: { EU863-870: { id: p, codec: thing-codec } }
  - version: '1.1'
    profiles: { EU863-870: { id: p, codec: thing-codec } }
"""


@pytest.fixture
def ttn(tmp_path):
    vendor = tmp_path / "vendor" / "acme"
    vendor.mkdir(parents=True)
    (tmp_path / "vendor" / "index.yaml").write_text("vendors:\n  - { id: acme, name: Acme Instruments }\n")
    (vendor / "index.yaml").write_text("endDevices: [thing]\n")
    (vendor / "thing.yaml").write_text(DEVICE)
    (vendor / "thing-codec.yaml").write_text(CODEC)
    (vendor / "thing.js").write_bytes(SCRIPT.encode())
    (vendor / "thing-down.js").write_text(ENCODER)
    return vendor


@pytest.fixture
def chirpstack(tmp_path):
    vendor = tmp_path / "vendors" / "acme"
    for name in ("codecs", "devices"):
        (vendor / name).mkdir(parents=True)
    (vendor / "vendor.toml").write_text('[vendor]\nname = "Acme Instruments"\n')
    (vendor / "devices" / "thing.toml").write_text(
        '[device]\nname = "The Thing"\n'
        '[[device.firmware]]\nversion = "1.1"\ncodec = "new.js"\n'
        '[[device.firmware]]\nversion = "1.0"\ncodec = "old.js"\n'
    )
    (vendor / "codecs" / "new.js").write_text(SCRIPT)
    (vendor / "codecs" / "old.js").write_text(SCRIPT.replace("bytes[0]", "bytes[1]"))
    (vendor / "codecs" / "test_decode_new.json").write_text(
        '[{ // as they are written\n  name: \'one\', "input": {"bytes": [0x15, 7,],},\n'
        '  "expected": {"data": {"temperature": 21, "on": "on"}}}]'
    )
    return vendor


def test_a_device_of_the_things_network_becomes_an_entry_whose_examples_pass(ttn, tmp_path):
    site = tmp_path / "site"
    made = add(ttn, site, kind="hygrometry")
    assert made == {
        "name": "acme/thing",
        "folder": str(site / "acme" / "thing"),
        "scripts": ["thing-down.js", "thing.js"],
        "firmware": [],
        "examples": 2,
        "skipped": ["thing-codec.yaml: an example of uplinkDecoder has no input or output"],
    }
    assert (site / "acme" / "thing" / "thing.js").read_bytes() == SCRIPT.encode()
    catalogue = Catalogue.load([site])
    assert catalogue.problems == ()
    entry = catalogue.entries["acme/thing"]
    assert (entry.vendor, entry.model, entry.kind) == ("Acme Instruments", 'Thing, "the" one', "hygrometry")
    results = workbench.test(catalogue, ["acme/thing"])
    assert [(result["example"], result["problem"]) for result in results["results"]] == [
        ("Twenty-one", None),
        ("Nine", None),
    ]
    examples = json.loads((site / "acme" / "thing" / "examples.json").read_text())
    assert examples[0]["input"] == {"fPort": 12, "bytes": [21]}
    assert examples[0]["output"]["data"]["on"] == "on"
    assert examples[0]["source"] == "The Things Network's device repository, vendor/acme/thing-codec.yaml"


def test_what_its_values_are_is_left_to_a_person_with_the_names_at_hand(ttn, tmp_path):
    add(ttn / "thing-codec.yaml", tmp_path / "site")
    text = (tmp_path / "site" / "acme" / "thing" / "device.toml").read_text()
    assert '# "temperature" = { quantity = "temperature", unit = "°C" }' in text
    said = text.replace("# [measurements]", "[measurements]").replace('# "temperature"', '"temperature"')
    (tmp_path / "site" / "acme" / "thing" / "device.toml").write_text(said)
    found = workbench.decode(Catalogue.load([tmp_path / "site"]), "acme/thing", b"\x15", 1)
    assert found["measurements"] == [{"quantity": "temperature", "value": 21, "unit": "°C"}]


def test_a_device_of_chirpstack_keeps_its_firmware_versions(chirpstack, tmp_path):
    made = add(chirpstack, tmp_path / "site", name="acme/probe")
    assert (made["name"], made["scripts"], made["firmware"]) == ("acme/probe", ["new.js", "old.js"], ["1.0", "1.1"])
    catalogue = Catalogue.load([tmp_path / "site"])
    assert workbench.test(catalogue, [])["failed"] == 0
    for firmware, value in (("", 5), ("1.1", 5), ("1.0", 6)):
        found = workbench.decode(catalogue, "acme/probe", b"\x05\x06", 1, {"firmware": firmware} if firmware else {})
        assert found["data"]["temperature"] == value


def test_what_cannot_be_added_is_said_in_words(ttn, chirpstack, tmp_path):
    def problem(*arguments, **named) -> str:
        with pytest.raises(UsageError) as raised:
            add(*arguments, **named)
        return str(raised.value)

    site = tmp_path / "site"
    add(ttn, site)
    assert "is there already" in problem(ttn, site)
    assert "has no device other" in problem(ttn, site, device="other")
    assert "neither a folder nor a .yaml or .toml" in problem(tmp_path / "x.js", site)
    assert "is no vendor's folder" in problem(tmp_path, site)
    assert "is no name of a codec" in problem(ttn, site, name="../x")
    (ttn / "index.yaml").write_text("endDevices: [thing, other]\n")
    assert "has 2 devices" in problem(ttn, site)
    assert "No such file" in problem(ttn, site, device="other")
    (ttn / "thing-codec.yaml").write_text(CODEC.replace("thing.js", "../../x.js"))
    assert "which is no script of its folder" in problem(ttn, site, device="thing")
    (ttn / "thing-codec.yaml").write_text(CODEC.replace("thing.js", "gone.js"))
    assert "which is not there" in problem(ttn, site, device="thing")
    (ttn / "thing-codec.yaml").write_text("a: [1\nb: 2\n")
    assert "thing-codec.yaml:2 is no YAML: " in problem(ttn, site, device="thing")
    (chirpstack / "devices" / "thing.toml").write_text("[device]\nname = 5\n")
    assert "names no codec" in problem(chirpstack, site)


@pytest.mark.parametrize(
    ("text", "value"),
    [  # chapter 10.3.2 of the YAML 1.2.2 specification
        ("on", "on"), ("NO", "NO"), ("y", "y"), ("true", True), ("False", False), ("~", None), ("", None),
        ("null", None),
        ("012", 12), ("0o14", 12), ("0xC", 12), ("-7", -7), ("1_000", "1_000"), ("1e3", 1000.0), (".5", 0.5),
        ("-.inf", float("-inf")), ("2026-03-14", "2026-03-14"), ("12:30:45", "12:30:45"), ("0b1", "0b1"), ("<<", "<<"),
    ],
)  # fmt: skip
def test_yaml_is_read_by_the_core_schema(text, value):
    found = read_yaml(f"a: {text}", "x.yaml")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    "text", ["a: &x [1]\nb: *x", "!!python/object/apply:os.system [id]", "a: !!binary x", "[" * 5000, "a: 1\n\tb", "\0"]
)
def test_yaml_that_is_none_or_wants_more_than_values_is_refused(text):
    with pytest.raises(UsageError, match=r"x.yaml(:\d+)? is no YAML"):
        read_yaml(text, "x.yaml")


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#,\n 01x~", max_size=40))
def test_whatever_is_in_a_yaml_file_is_read_or_refused(text):
    try:
        json.dumps(read_yaml(text, "x.yaml"), default=str, skipkeys=True)
    except GatewayError as error:
        assert "is no YAML" in str(error)  # noqa: PT017 - either is right


@settings(deadline=None, max_examples=100)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_json_is_loose_json(value):
    assert read_loose_json(json.dumps(value)) == value
    assert read_loose_json(json.dumps(value, ensure_ascii=False, indent=1)) == value
