"""The command as such: where it finds its settings, its exit codes, who gets which stream, how it ends."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest
from cli_site import CHECKOUT, Site

from gateway import __version__
from gateway.console.cli import build_parser, main
from gateway.errors import GatewayError, Problem, RadioError, SettingsError, StorageError, UsageError


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


def _commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()):
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for group in groups:
        for name, inner in group.choices.items():
            yield from _commands(inner, (*words, name))


COMMANDS = list(_commands(build_parser()))


def test_the_commands_of_the_manual_are_there():
    assert {" ".join(words) for words in COMMANDS} >= {
        "run", "demo", "check", "config example", "status", "tail",
        "device add", "device show", "device list", "device set", "device remove", "device import", "device export",
        "codec list", "codec show", "codec test", "codec decode", "codec encode",
    }  # fmt: skip


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_every_command_has_help_that_fits_a_terminal(site, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    typed = site.type(*words, "--help", config=False)
    assert (typed.code, typed.err) == (0, "")
    assert typed.out.startswith("usage: lorawan-gateway")
    assert "--config FILE" in typed.out
    assert max(map(len, typed.out.splitlines())) <= 100


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
def test_config_is_taken_before_and_after_the_subcommand(site, place):
    words = ["device", "list"]
    words[place:place] = ["--config", site.config]
    assert site.type(*words, config=False).code == 0
    words[words.index(site.config)] = site.folder / "none.toml"
    assert "none.toml cannot be read" in site.type(*words, config=False).err


def test_the_last_config_wins(site):
    assert site.type("check", "--config", site.folder / "none.toml").code == 2


def test_the_environment_names_settings_where_no_option_does(site, monkeypatch):
    monkeypatch.setenv("LORAWAN_GATEWAY_CONFIG", str(site.config))
    assert site.type("device", "list", config=False).code == 0
    monkeypatch.setenv("LORAWAN_GATEWAY_CONFIG", str(site.folder / "none.toml"))
    assert site.type("device", "list", config=False).code == 2
    assert site.type("device", "list").code == 0


def test_without_a_settings_file_the_next_step_is_named(site):
    typed = site.type("--config", site.folder / "none.toml", "device", "list", config=False)
    assert (typed.code, typed.out) == (2, "")
    assert "lorawan-gateway config example" in typed.err


@pytest.mark.parametrize("words", [["run"], ["device", "list"], ["status"], ["tail"], ["codec", "list"]])
def test_no_command_starts_with_wrong_settings(site, words):
    site.config.write_text("[store]\nmax_size = 4\nmax_aeg = '1d'\n")
    typed = site.type(*words)
    assert (typed.code, typed.out) == (2, "")
    assert [line.split()[0] for line in typed.err.splitlines()] == [f"{site.config}:2", f"{site.config}:3"]


# --- exit codes and streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["device"],
        ["dance"],
        ["check", "--jsn"],
        ["check", "--conf", "x"],
        ["demo", "--for", "0"],
        ["demo", "--for", "nan"],
        ["demo", "--speed", "-1"],
        ["demo", "--speed", "1e6"],
        ["demo", "--seed", "x"],
        ["codec", "decode", "a/b", "--port", "256", "--hex", ""],
        ["codec", "decode", "a/b", "--port", "1", "--hex", "0"],
        ["codec", "encode", "a/b", "--data", "["],
        ["codec", "encode", "a/b", "--data", "[" * 100_000],
        ["codec", "encode", "a/b", "--data", "1"],
        ["codec", "encode", "a/b", "--data", '{"a": NaN}'],
        ["device", "show", "xyz"],
        ["device", "show"],
        ["device", "add", "--dev-eui", "70b3d57ed0000001", "--name", "n", "--var", "x"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_wrong_command_line_is_exit_2_with_a_word_on_stderr(site, words):
    typed = site.type(*words)
    assert (typed.code, typed.out) == (2, "")
    assert typed.err
    assert "Traceback" not in typed.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatewayError("p", hint="h"), 1),
        (UsageError("p", hint="h"), 2),
        (SettingsError([Problem("f", 1, "k", "p")], hint="h"), 2),
        (RadioError("p", hint="h"), 3),
        (StorageError("p", hint="h"), 4),
    ],
)
def test_every_error_has_its_exit_code_and_its_hint_on_stderr(site, monkeypatch, error, code):
    def fail(arguments):
        raise error

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda *_: argparse.Namespace(run=fail))
    typed = site.type()
    assert (typed.code, typed.out) == (code, "")
    assert typed.err.splitlines()[-1] == "→ h"
    assert typed.err.splitlines()[0].endswith("p")


def test_a_data_folder_that_cannot_be_used_is_exit_4(site):
    site.data.write_text("a file is in the way")
    typed = site.type("device", "list")
    assert (typed.code, typed.out) == (4, "")
    assert "→" in typed.err


@pytest.mark.parametrize("damage", [b"no database at all" * 500, None])
def test_a_damaged_registry_is_exit_4(site, damage):
    assert site.type("device", "add", *ABP, "--name", "n").code == 0
    file = site.data / "devices.sqlite3"
    content = damage or file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096)
    for leftover in site.data.glob("*-wal"):
        leftover.unlink()
    file.write_bytes(content)
    typed = site.type("device", "list")
    assert (typed.code, typed.out) == (4, "")
    assert "Traceback" not in typed.err


def test_a_key_behind_a_misspelt_option_is_not_repeated(site):
    typed = site.type("device", "add", *ABP, "--name", "n", "--ap-key", "00112233445566778899aabbccddeeff")
    assert typed.code == 2
    assert "unrecognized arguments: --ap-key …" in typed.err


def test_version(site):
    assert site.type("--version", config=False).out == f"lorawan-gateway {__version__}\n"


def test_help_loads_nothing_heavy():
    program = "import sys; from gateway.console.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {"pydantic", "aiohttp", "asyncio", "sqlite3", "orjson", "cryptography", "jinja2", "prometheus_client"}
    assert heavy.isdisjoint(done.stderr.split())


# --- the real process -----------------------------------------------------------------------------------------------


def test_the_module_is_the_command(site):
    typed = site.command("check")
    assert (typed.code, typed.out) == (0, "")
    assert "is in order" in typed.err


def test_text_the_terminal_cannot_show_is_escaped(site):
    assert site.type("device", "add", *ABP, "--name", "Musée 中").code == 0
    for encoding in ("ascii", "latin-1", "utf-8"):
        typed = site.command("device", "list", environment={"PYTHONIOENCODING": encoding}, errors="replace")
        assert (typed.code, typed.err) == (0, "")
        typed = site.command("device", "list", "--json", environment={"PYTHONIOENCODING": encoding}, errors="replace")
        assert typed.json[0]["name"] == "Musée 中"


def test_an_argument_that_is_no_text_is_refused(site):
    typed = site.command("device", "add", *ABP, "--name", os.fsdecode(b"caf\xe9"))
    assert (typed.code, typed.out) == (2, "")
    assert "Traceback" not in typed.err


ABP = (
    "--dev-eui", "70b3d57ed0000001", "--codec", "acme/probe", "--dev-addr", "26011bda",
    "--nwk-s-key", "000102030405060708090a0b0c0d0e0f", "--app-s-key", "101112131415161718191a1b1c1d1e1f",
)  # fmt: skip


@pytest.mark.parametrize("words", [["config", "example"], ["device", "list", "--json"]])
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(site, words):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            site.words(*words), cwd=CHECKOUT, stdout=pipe, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_is_no_traceback(site):
    keys = site.folder / "keys"
    os.mkfifo(keys)
    words = site.words("device", "add", *ABP[:4], "--name", "n", "--keys", keys)
    with (
        subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command,
        keys.open("wb"),  # waits until the command has opened it, too
    ):
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)
    assert (command.returncode, out, err) == (1, b"", b"stopped\n")


def test_a_bug_shows_its_traceback(monkeypatch):
    def fail(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda *_: argparse.Namespace(run=fail))
    with pytest.raises(ZeroDivisionError):
        main([])
