"""`config import`: a gateway changes over in one step."""

from __future__ import annotations

import os
import stat
import tomllib
from typing import TYPE_CHECKING

import pytest
from cli_site import Site
from former_gateways import FORWARDER, SEMTECH, STATION

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


@pytest.fixture
def old(tmp_path):
    """The folder of the programs that ran so far."""
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


@pytest.fixture
def new(tmp_path):
    """Where the settings are to be written."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new" / "gateway.toml"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def line_of(word: str) -> int:
    return next(number for number, line in enumerate(SEMTECH.splitlines(), 1) if word in line)


def written(old: Path, name: str, text: str) -> Path:
    (old / name).write_text(text, encoding="utf-8")
    return old / name


PROGRAMS = {
    "global_conf.json": SEMTECH,
    "station.conf": STATION,
    "chirpstack-mqtt-forwarder.toml": FORWARDER,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_printed_is_a_whole_settings_file(site, old, name):
    typed = site.command("config", "import", written(old, name, PROGRAMS[name]))
    assert typed.code == 0
    region = "US915" if name.endswith(".toml") else "EU868"
    assert tomllib.loads(typed.out)["gateway"]["region"] == region
    assert f"# Taken over from {name}." in typed.out.splitlines()
    for table in ("[store]", "[codecs]", "[console]", "# --- sinks"):
        assert f"\n{table}" in typed.out
    assert typed.err.splitlines()[0].startswith(f"{old / name}:")


@pytest.mark.parametrize("name", PROGRAMS)
def test_check_accepts_what_was_written(site, old, new, name):
    text = PROGRAMS[name]
    for key in ("ca", "cert", "key"):
        text = text.replace(f"/etc/chirpstack/{key}.pem", str(written(old, f"{key}.pem", "-----BEGIN")))
    typed = site.type("config", "import", written(old, name, text), "--output", new)
    assert (typed.code, typed.out) == (0, "")
    assert typed.err.splitlines()[-1].endswith(f"{new} is written")
    assert site.type("check", "--config", new).code == 0


def test_as_json_every_key_is_taken_or_not(site, old):
    path = written(old, "global_conf.json", SEMTECH)
    answer = site.type("config", "import", path, "--json").json
    assert tomllib.loads(answer["settings"])["lns"]["lns-example-org"]["server"] == "lns.example.org:1700"
    taken = {"file": str(path), "line": line_of("server_address"), "key": "gateway_conf.server_address"}
    assert {**taken, "into": "lns.lns-example-org.server"} in answer["taken"]
    lost = {"file": str(path), "line": line_of("autoquit"), "key": "gateway_conf.autoquit_threshold"}
    why = "has no place here: a server that is silent is dialled again, and nothing quits"
    assert {**lost, "why": why} in answer["not_taken"]
    assert answer["files"] == [str(path)]
    assert answer["problems"] == []


def test_a_folder_will_do(site, old):
    written(old, "station.conf", STATION)
    written(old, "tc.uri", "wss://lns.example.org:8887\n")
    written(old, "tc.trust", "-----BEGIN")
    written(old, "notes.txt", "not ours")
    answer = site.type("config", "import", old, "--json").json
    assert answer["files"] == [str(old / name) for name in ("station.conf", "tc.trust", "tc.uri")]
    assert tomllib.loads(answer["settings"])["lns"]["lns-example-org"]["ca_file"] == str(old / "tc.trust")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_password_goes_to_a_file_of_its_own(site, old, new):
    typed = site.type("config", "import", written(old, "f.toml", FORWARDER), "--output", new, "--json")
    secret = new.parent / "secrets" / "chirpstack-password"
    assert secret.read_text(encoding="utf-8") == "correct horse"
    assert (mode(secret), mode(secret.parent)) == (0o600, 0o700)
    assert "correct horse" not in typed.out + typed.err + new.read_text(encoding="utf-8")
    assert f'password_file = "{secret}"' in new.read_text(encoding="utf-8")
    assert sorted(file.name for file in new.parent.rglob("*")) == ["chirpstack-password", "gateway.toml", "secrets"]


def test_a_password_is_never_printed(site, old):
    typed = site.type("config", "import", written(old, "f.toml", FORWARDER))
    assert "correct horse" not in typed.out + typed.err
    assert "mqtt.password is a secret, and those are not printed" in typed.err


def test_keys_are_copied_beside_the_settings_for_the_gateway_alone(site, old, new):
    key = written(old, "key.pem", "-----BEGIN PRIVATE KEY-----\n")
    text = FORWARDER.replace("/etc/chirpstack/key.pem", str(key)).replace(
        'ca_cert="/etc/chirpstack/ca.pem"', 'ca_cert=""'
    )
    text = text.replace("/etc/chirpstack/cert.pem", str(written(old, "cert.pem", "-----BEGIN")))
    typed = site.type("config", "import", written(old, "f.toml", text), "--output", new, "--copy-secrets")
    copy = new.parent / "secrets" / "chirpstack-key"
    assert typed.code == 0
    assert (copy.read_bytes(), mode(copy)) == (key.read_bytes(), 0o600)
    assert tomllib.loads(new.read_text())["lns"]["chirpstack"]["key_file"] == str(copy)


def test_a_key_that_is_not_there_is_not_copied_and_nothing_is_written(site, old, new):
    text = FORWARDER.replace("/etc/chirpstack", "/nowhere")
    typed = site.type("config", "import", written(old, "f.toml", text), "--output", new, "--copy-secrets")
    assert typed.code == 2
    assert "/nowhere/ca.pem cannot be copied: No such file or directory" in typed.err
    assert list(new.parent.iterdir()) == []


def test_keys_that_are_elsewhere_are_mentioned(site, old):
    typed = site.type("config", "import", written(old, "f.toml", FORWARDER.replace("/etc/chirpstack", "/nowhere")))
    assert "note: /nowhere/key.pem is not on this machine: the gateway needs it there" in typed.err.splitlines()


# --- writing ----------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_asked(site, old, new):
    source = written(old, "global_conf.json", SEMTECH)
    new.write_text("mine\n", encoding="utf-8")
    typed = site.type("config", "import", source, "--output", new)
    assert (typed.code, typed.err) == (2, f"{new} is there already\n→ --force overwrites it\n")
    assert new.read_text(encoding="utf-8") == "mine\n"
    assert site.type("config", "import", source, "--output", new, "--force").code == 0
    assert new.read_text(encoding="utf-8").startswith("# Settings of the LoRaWAN edge gateway.")


def test_a_secret_that_is_there_is_not_overwritten_either(site, old, new):
    (new.parent / "secrets").mkdir()
    (new.parent / "secrets" / "chirpstack-password").write_text("mine", encoding="utf-8")
    typed = site.type("config", "import", written(old, "f.toml", FORWARDER), "--output", new)
    assert typed.code == 2
    assert "chirpstack-password is there already" in typed.err
    assert not new.exists()


def test_a_folder_that_is_not_there_is_said(site, old, new):
    new = old / "nowhere" / "gateway.toml"
    typed = site.type("config", "import", written(old, "global_conf.json", SEMTECH), "--output", new)
    assert typed.code == 4
    assert "cannot be written: No such file or directory" in typed.err


# --- what is asked for wrongly ----------------------------------------------------------------------------------------


def test_every_file_that_is_none_is_said_on_a_line_of_its_own(site, old):
    os.mkfifo(old / "pipe")
    (old / "empty").mkdir()
    paths = [
        written(old, "global_conf.json", '{"gateway_conf": {'),
        old / "missing.json",
        old / "pipe",
        old / "empty",
        written(old, "big.json", " " * (10 << 20)),
    ]
    typed = site.type("config", "import", *paths)
    assert (typed.code, typed.out) == (2, "")
    for path, text in zip(
        paths[1:4],
        ("cannot be read: No such file or directory", "is neither a file nor a folder", "is a folder without any of"),
        strict=True,
    ):
        assert f"{path}:1 file {text}" in typed.err


def test_a_file_of_ten_megabytes_is_not_read_to_its_end(site, old):
    typed = site.type("config", "import", written(old, "big.json", " " * (10 << 20)))
    assert typed.err.splitlines()[0] == f"{old}/big.json:1 file has more than 1 MiB: this is something else"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--region", "EU999"), "there is no region EU999"),
        (("--board", "RAK 2287"), "RAK 2287 is no name of a board"),
        (("--copy-secrets",), "--copy-secrets copies to beside the settings"),
    ],
)
def test_what_cannot_be_is_refused(site, old, options, text):
    typed = site.type("config", "import", written(old, "global_conf.json", SEMTECH), *options)
    assert (typed.code, typed.out) == (2, "")
    assert typed.err.startswith(text)


def test_a_radio_that_lacks_something_is_printed_with_what_it_lacks(site, old):
    text = SEMTECH.replace('"pwr_idx": 4', '"pwr_idx": 3')
    typed = site.type("config", "import", written(old, "global_conf.json", text), "--radio", "libloragw")
    assert typed.code == 2
    assert tomllib.loads(typed.out)["radio"] == {"type": "libloragw", "spi": "/dev/spidev0.0", "antenna_gain_dbi": 3.0}
    assert "radio.reset is missing" in typed.err
    assert "--board NAME names it" in typed.err


def test_the_region_can_be_said(site, old):
    typed = site.type("config", "import", written(old, "station.conf", STATION), "--region", "US915")
    assert tomllib.loads(typed.out)["gateway"]["region"] == "US915"
