"""`codec …`: the shipped catalogue and a site's own, codecs run by hand, the contract's JSON and exit codes."""

from __future__ import annotations

import json

import pytest
from cli_site import EXAMPLES, Site


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


def test_list_has_the_shipped_codecs_and_the_sites_own(site):
    listed = {codec["name"]: codec for codec in site.type("codec", "list", "--json").json}
    assert listed.keys() >= {"acme/probe", "heyliot/heywaste"}
    probe = listed["acme/probe"]
    assert {key: probe[key] for key in ("kind", "languages", "firmware", "examples")} == {
        "kind": "cellar",
        "languages": ["python"],
        "firmware": [],
        "examples": 1,
    }
    lines = site.type("codec", "list").out.splitlines()
    assert lines[0].split() == ["CODEC", "KIND", "LANGUAGES", "EXAMPLES"]
    assert len(lines) == 1 + len(listed)
    assert max(map(len, lines)) <= 100


def test_a_site_without_settings_has_the_shipped_codecs(site):
    assert site.type("codec", "list", "--json", config=False).code == 0


def test_the_first_folder_of_a_site_wins_over_the_others(site):
    other = site.folder / "second" / "acme" / "probe"
    other.mkdir(parents=True)
    (other / "device.toml").write_text('model = "Probe"\nkind = "attic"\n')
    (other / "probe.py").write_text("def decode(payload, port, variables):\n    return {}\n")
    for path, kind in (('["codecs", "second"]', "cellar"), ('["second", "codecs"]', "attic")):
        site.config.write_text(f"codecs.path = {path}\n")
        assert site.type("codec", "show", "acme/probe", "--json").json["kind"] == kind


def test_show_has_the_variables_with_their_defaults(site):
    facts = site.type("codec", "show", "acme/probe", "--json").json
    (variable,) = facts["variables"]
    assert (variable["name"], variable["default"]) == ("scale", "10")
    shown = site.type("codec", "show", "acme/probe").out
    assert "variables\n  scale  10\n" in shown
    assert "examples\n  a cool cellar  made for this test\n" in shown


def test_test_runs_the_examples_and_fails_with_them(site):
    typed = site.type("codec", "test", "acme/probe", "--json")
    assert typed.code == 0
    assert typed.json == {
        "passed": 1,
        "failed": 0,
        "results": [{"codec": "acme/probe", "example": "a cool cellar", "ok": True, "problem": None}],
    }
    wrong = [{**EXAMPLES[0], "output": {"data": {"temperature": 14}}}]
    (site.folder / "codecs" / "acme" / "probe" / "examples.json").write_text(json.dumps(wrong))
    typed = site.type("codec", "test", "acme/probe", "--json")
    assert (typed.code, typed.json["failed"], typed.json["results"][0]["ok"]) == (1, 1, False)
    typed = site.type("codec", "test", "acme/probe")
    assert typed.code == 1
    assert typed.out.startswith("failed  acme/probe  a cool cellar: ")
    assert typed.out.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize("codec", ["acme/probe", "codecs/acme/probe/probe.py"])
def test_decode(site, codec, monkeypatch):
    monkeypatch.chdir(site.folder)
    typed = site.type("codec", "decode", codec, "--port", 1, "--hex", "00 83", "--json")
    assert (typed.code, typed.err) == (0, "")
    assert typed.json["data"] == {"temperature": 13.1}
    assert typed.json["measurements"] == [{"quantity": "temperature", "value": 13.1, "unit": "°C"}]
    assert (typed.json["warnings"], typed.json["errors"]) == ([], [])
    typed = site.type("codec", "decode", codec, "--port", 1, "--hex", "FF:7D", "--var", "scale=100")
    assert typed.code == 0
    assert typed.out.splitlines()[0].split() == ["temperature", "-1.31", "°C"]


def test_a_codec_that_fails_is_an_error_in_the_answer(site):
    typed = site.type("codec", "decode", "acme/probe", "--port", 1, "--hex", "0083", "--var", "scale=x", "--json")
    assert typed.code == 1
    assert typed.json["errors"]
    typed = site.type("codec", "decode", "acme/probe", "--port", 1, "--hex", "0083", "--var", "scale=x")
    assert (typed.code, typed.err.startswith("error: ")) == (1, True)
    assert "Traceback" not in typed.err


def test_an_empty_payload_is_legal(site):
    typed = site.type("codec", "decode", "acme/probe", "--port", 1, "--hex", "", "--json")
    assert (typed.code, typed.json["data"]) == (0, {"temperature": 0})


def test_encode(site):
    typed = site.type("codec", "encode", "acme/probe", "--data", '{"interval": 15}', "--json")
    assert typed.code == 0
    assert typed.json == {"bytes": [15], "hex": "0f", "f_port": 3, "warnings": [], "errors": []}
    assert site.type("codec", "encode", "acme/probe", "--data", '{"interval": 15}').out == "port 3  0f\n"
    typed = site.type("codec", "encode", "acme/probe", "--data", '{"interval": 256}', "--json")
    assert typed.code == 1
    assert typed.json["errors"]


@pytest.mark.parametrize(
    "words",
    [
        ["show", "acme/prob"],
        ["test", "acme/prob"],
        ["decode", "acme/prob", "--port", "1", "--hex", ""],
        ["decode", "none.py", "--port", "1", "--hex", ""],
        ["decode", "acme/probe", "--port", "1", "--hex", "", "--recv-time", "yesterday"],
        ["encode", "none.js", "--data", "{}"],
    ],
)
def test_what_is_not_there_is_exit_2(site, words):
    typed = site.type("codec", *words, "--json")
    assert (typed.code, typed.out) == (2, "")
    assert "Traceback" not in typed.err


def test_a_broken_description_is_a_note_and_the_others_work(site):
    (site.folder / "codecs" / "acme" / "broken").mkdir()
    (site.folder / "codecs" / "acme" / "broken" / "device.toml").write_text("model = \n")
    typed = site.type("codec", "show", "acme/probe", "--json")
    assert typed.code == 0
    assert "note: " in typed.err
    assert "broken/device.toml:1" in typed.err


SCRIPT = """
function decodeUplink(input) {
  console.log("payload of", input.bytes.length);
  return { data: { t: input.bytes[0], year: input.recvTime.getUTCFullYear() } };
}
function encodeDownlink(input) { return { bytes: [input.data.n, input.extra || 0], fPort: input.fPort }; }
function decodeDownlink(input) { return { data: { n: input.bytes[0], port: input.fPort } }; }
"""


@pytest.fixture
def script(site, monkeypatch):
    (site.folder / "thing.js").write_text(SCRIPT)
    monkeypatch.chdir(site.folder)
    return "thing.js"


def test_a_script_is_run_as_it_lies_there_and_what_it_says_goes_to_stderr(site, script):
    words = ("codec", "decode", script, "--port", 1, "--hex", "15", "--recv-time", "2026-03-14T06:00:00Z", "--json")
    typed = site.type(*words)
    assert typed.code == 0
    assert typed.json == {"data": {"t": 21, "year": 2026}, "warnings": [], "errors": [], "measurements": []}
    assert typed.err == "console: payload of 1\n"
    without = site.type("codec", "decode", script, "--port", 1, "--hex", "15", "--json")
    assert without.json["data"]["year"] >= 2026  # scripts rely on a time of reception: it is now


def test_a_downlink_is_read_back_and_made_of_a_whole_input(site, script):
    back = site.type("codec", "decode", script, "--port", 85, "--hex", "3c", "--downlink", "--json")
    assert (back.code, back.json["data"]) == (0, {"n": 60, "port": 85})
    made = site.type("codec", "encode", script, "--input", '{"data": {"n": 7}, "fPort": 9, "extra": 5}', "--json")
    assert made.json == {"bytes": [7, 5], "hex": "0705", "f_port": 9, "warnings": [], "errors": []}
    asked = site.type("codec", "encode", script, "--data", '{"n": 7}', "--port", 12, "--json")
    assert (asked.json["hex"], asked.json["f_port"]) == ("0700", 12)
    assert site.type("codec", "encode", script, "--input", "{}").code == 2
    assert site.type("codec", "encode", script, "--input", "{}", "--data", "{}").code == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("while (true) {}", "processor time"),
        ("const a = []; for (;;) a.push(Array(1000).fill(0));", "more memory"),
        ("throw 'boom';", "boom"),
        ("}", "SyntaxError"),
    ],
)
def test_a_script_that_means_harm_is_an_error_in_the_answer(site, script, body, said):
    (site.folder / script).write_text(f"function decodeUplink(input) {{ {body} }}")
    typed = site.type("codec", "decode", script, "--port", 1, "--hex", "15", "--json")
    assert (typed.code, typed.json["data"]) == (1, None)
    assert said in typed.json["errors"][0]


def test_add_takes_a_device_into_the_site_s_first_folder(site):
    vendor = site.folder / "vendors" / "other"
    for name in ("codecs", "devices"):
        (vendor / name).mkdir(parents=True)
    (vendor / "devices" / "thing.toml").write_text(
        '[device]\nname = "Thing"\n[[device.firmware]]\nversion = "1"\ncodec = "thing.js"\n'
    )
    (vendor / "codecs" / "thing.js").write_text(SCRIPT)
    typed = site.type("codec", "add", str(vendor), "--kind", "cellar", "--json")
    assert typed.code == 0
    assert (typed.json["name"], typed.json["examples"]) == ("other/thing", 0)
    assert site.type("codec", "show", "other/thing", "--json").json["languages"] == ["javascript"]
    again = site.type("codec", "add", str(vendor))
    assert again.code == 2
    assert "is there already" in again.err
