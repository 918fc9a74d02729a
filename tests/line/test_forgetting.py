"""A household is forgotten by a real gateway, running, stopped and killed half way; and gets what is kept of it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from daemons import GatewayProcess, PacketForwarder

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session

WHO, NEIGHBOUR = "70b3d5499a11c0de", "70b3d5499b22beef"
KEYS = {WHO: (os.urandom(16), os.urandom(16)), NEIGHBOUR: (os.urandom(16), os.urandom(16))}
ADDRESSES = {WHO: "26ab1cde", NEIGHBOUR: "26ab2def"}
PAYLOAD = bytes.fromhex("c0ffee5eed0042")


def session(who: str) -> Session:
    network, application = map(AesKey, KEYS[who])
    return Session(
        DevEui.parse(who), DevAddr.parse(ADDRESSES[who]), MacVersion.V1_0_3, network, network, network, application
    )


def frame(who: str, f_cnt: int) -> bytes:
    return seal(session(who), f_cnt=f_cnt, f_port=2, payload=PAYLOAD)


NEEDLES = [
    bytes.fromhex(WHO), bytes.fromhex(WHO)[::-1], WHO.encode(), WHO.upper().encode(), ADDRESSES[WHO].encode(),
    bytes.fromhex(ADDRESSES[WHO]), bytes.fromhex(ADDRESSES[WHO])[::-1], b"Logement 4B",
    *KEYS[WHO], *(key.hex().encode() for key in KEYS[WHO]), *(frame(WHO, count)[9:-4] for count in range(1, 7)),
]  # fmt: skip


def named_in(*folders) -> set[str]:
    """The files that have any needle, searched byte by byte."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file.name for file in files if any(needle in file.read_bytes() for needle in NEEDLES)}


@pytest.fixture
def house(tmp_path):
    """A gateway that writes its readings into files, with two devices."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out"
    sink = (
        f'[sink.files]\ntype = "file"\npath = "{out}/readings.jsonl"\ngeojson = "{out}/last.geojson"\n'
        'backlog_delay = "0s"\n'
        f'[sink.table]\ntype = "file"\nformat = "csv"\npath = "{out}/table.csv"\nbacklog_delay = "0s"\n'
        '[sink.far]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:1"\n'
    )
    with GatewayProcess(tmp_path, sink=sink, store='commit_interval = "0ms"') as gateway:
        for who, name in ((WHO, "Logement 4B"), (NEIGHBOUR, "the other flat")):
            network, application = (key.hex() for key in KEYS[who])
            added = gateway.command(
                "device", "add", "--dev-eui", who, "--name", name, "--dev-addr", ADDRESSES[who],
                "--nwk-s-key", network, "--app-s-key", application,
            )  # fmt: skip
            assert added.returncode == 0, added.stderr
        yield gateway


def heard(house: GatewayProcess, count: int = 6) -> None:
    """Both have sent so many, and both files have them."""
    with PacketForwarder(house.udp_port) as forwarder:
        for f_cnt in range(1, count + 1):
            forwarder.push(frame(WHO, f_cnt), frame(NEIGHBOUR, f_cnt))
        forwarder.push(frame(WHO, 1)[:-1] + b"!")  # a wrong MIC: kept for keys that may come
        house.until(lambda status: written(status) == 2 * count)


def written(status: dict) -> int:
    return min(sink["acknowledged"] for sink in status["sinks"] if sink["name"] != "far")


def ask(house: GatewayProcess, *words: str):
    done = house.command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_running_gateway_forgets_a_household_and_goes_on_for_the_others(house):
    house.start()
    heard(house)
    assert {name.partition("-")[0] for name in named_in(house.data, house.folder / "out")} >= {"readings", "table"}
    planned = ask(house, "device", "forget", WHO, "--dry-run")
    assert (planned["records"], planned["frames"], planned["known"]) == (6, 1, True)
    assert sum(planned["files"].values()) == 13  # lines of both files, and a place on the map
    assert [(one["sink"], one["sent"], one["waiting"]) for one in planned["destinations"]] == [
        ("files", 6, 0), ("table", 6, 0), ("far", 0, 6),
    ]  # fmt: skip
    done = ask(house, "device", "forget", WHO, "--yes")
    assert (done["records"], done["frames"], done["left"]) == (6, 1, [])
    assert named_in(house.data, house.folder / "out") == set()
    with PacketForwarder(house.udp_port) as forwarder:
        forwarder.push(frame(WHO, 7), frame(NEIGHBOUR, 7))  # one is a stranger now
        status = house.until(lambda status: written(status) == 13)
    assert status["store"]["balance"] == 0
    assert status["store"]["erased"] == 6
    assert status["store"]["devices"] == 1
    assert status["radio"]["refused"] == {"bad_mic": 1, "unknown_device": 1}
    assert named_in(house.data, house.folder / "out") == set()
    assert house.stop() == 0
    assert named_in(house.data, house.folder / "out") == set()
    lines = [line for file in (house.folder / "out").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["f_cnt"] for line in lines] == list(range(1, 8))
    [audit] = (house.data / "erasures.jsonl").read_text().splitlines()
    assert {**json.loads(audit), "time": ""} == {
        "reference": done["reference"], "records": 6, "frames": 1, "set_aside": 0, "files": len(done["files"]),
        "lines": sum(done["files"].values()), "left": 0, "time": "",
    }  # fmt: skip


def test_a_stopped_gateway_forgets_too(house):
    house.start()
    heard(house)
    house.stop()
    assert ask(house, "device", "forget", "--dev-eui", WHO, "--yes")["records"] == 6
    assert named_in(house.data, house.folder / "out") == set()
    house.start()
    status = house.until(lambda status: status["store"]["erased"] == 6)
    assert status["store"]["balance"] == 0
    again = house.command("device", "forget", WHO, "--yes")
    assert (again.returncode, "nothing is kept here" in again.stderr) == (1, True)


@pytest.mark.parametrize("after_ms", [20, 80, 150, 300])
def test_a_power_cut_in_the_middle_leaves_no_half(house, after_ms):
    house.start()
    heard(house)
    asking = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--config", str(house.settings), "device", "forget", WHO, "--yes"],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (house.data / "erasure.json").exists() and asking.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(after_ms / 1000)
    house.kill()
    asking.wait(30)
    house.start()
    status = house.until(lambda status: status["store"]["erased"] == 6)
    house.until(lambda _: not (house.data / "erasure.json").exists())
    assert named_in(house.data, house.folder / "out") == set()
    assert status["store"]["balance"] == 0
    with closing(sqlite3.connect(house.data / "devices.sqlite3")) as registry:
        assert registry.execute("SELECT name FROM device").fetchall() == [("the other flat",)]
    assert (house.data / "erasures.jsonl").read_text().count("\n") == 1


def test_nothing_is_erased_unless_a_person_says_so(house):
    refused = house.command("device", "forget", WHO, input=f"{WHO}\n")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert "device 70b3d5499a11c0de (Logement 4B)" in refused.stderr
    assert house.command("device", "show", WHO).returncode == 0


def test_a_file_that_is_not_the_gateways_is_named(house):
    house.start()
    (house.data / "my-notes.txt").write_text(f"flat 4B has {WHO.upper()}\n")
    done = house.command("device", "forget", WHO, "--yes")
    assert done.returncode == 1
    assert "my-notes.txt" in done.stderr
    assert (house.data / "my-notes.txt").exists()


# --- what is kept, handed over


def test_a_household_gets_everything_that_is_kept_of_it(house):
    house.start()
    heard(house)
    everything = ask(house, "device", "export", "--dev-eui", WHO)
    assert everything["device"]["name"] == "Logement 4B"
    assert [reading["f_cnt"] for reading in everything["readings"]] == [1, 2, 3, 4, 5, 6]
    assert everything["readings"][0]["phy_payload"] == frame(WHO, 1).hex()
    assert [one["dev_addr"] for one in everything["frames_not_opened"]] == [ADDRESSES[WHO]]
    assert [(one["sink"], one["sent_or_settled"], one["waiting"]) for one in everything["destinations"]] == [
        ("files", 6, 0), ("table", 6, 0), ("far", 0, 6),
    ]  # fmt: skip
    assert everything["summary"]["readings"] == 6
    text = json.dumps(everything)
    assert not any(key.hex() in text for keys in KEYS.values() for key in keys)
    assert NEIGHBOUR not in text
    house.stop()
    folder = house.folder / "handed over"
    done = house.command("device", "export", "--dev-eui", WHO, f"{folder}/", "--with-keys")
    assert done.returncode == 0, done.stderr
    with_keys = json.loads((folder / f"{WHO}.json").read_text())
    assert with_keys["device"]["app_s_key"] == KEYS[WHO][1].hex()
    assert "6 readings heard from" in (folder / f"{WHO}.txt").read_text()
    assert (folder / f"{WHO}.json").stat().st_mode & 0o777 == 0o600
    nobody = house.command("device", "export", "--dev-eui", "0000000000000001", str(folder))
    assert (nobody.returncode, "nothing is kept here" in nobody.stderr) == (1, True)
    assert len(list(folder.iterdir())) == 2
