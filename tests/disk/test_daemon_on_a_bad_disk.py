"""The whole gateway while its disk makes trouble: it stays alive, answers, hears; afterwards all is stored and settled.

Store sheet, T-30 to T-36, and promises P14, P15 and P28: the radio never waits for the disk, and nobody comes to help.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from contextlib import ExitStack

import pytest
from daemons import GatewayProcess, PacketForwarder, Subscriber
from mounts import ext4, tmpfs
from nursery import some
from readings import session
from trouble import SYNCS, Kind

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.uplink import seal

ANSWERS_WITHIN_S = 5.0  # the daemon's own state, while its disk hangs

FAULTS = {
    "full": lambda trouble: trouble.full(),
    "failing": lambda trouble: trouble.fail((Kind.WRITE, Kind.RESIZE, *SYNCS), errno.EIO),
    "over quota": lambda trouble: trouble.fail((Kind.WRITE, Kind.RESIZE, Kind.CREATE), errno.EDQUOT),
    "failing to sync": lambda trouble: trouble.fail(SYNCS, errno.EIO),
    "read-only": lambda trouble: trouble.read_only(),
    "gone": lambda trouble: trouble.fail(
        tuple(kind for kind in Kind if kind is not Kind.MARK), errno.EIO, shm_too=True
    ),
}


class Town:
    """A gateway, one device that speaks, and a platform that listens."""

    def __init__(self, gateway, forwarder, platform):
        self.gateway = gateway
        self._forwarder = forwarder
        self._platform = platform
        self._keys = KeySchedules()
        self.spoken = 0

    def speak(self, frames=3, payload=b"\x10\x00\x03\x84"):
        """The device sends; each datagram is acknowledged, or the radio is not being heard."""
        while frames:
            group = min(frames, 50)
            phys = [
                seal(session(1), f_cnt=self.spoken + number, f_port=2, payload=payload, schedules=self._keys)
                for number in range(1, group + 1)
            ]
            self._forwarder.push(*phys)
            self.spoken += group
            frames -= group

    def heard(self):
        """The status in which everything spoken was heard."""
        return self.gateway.until(lambda status: status["radio"]["heard"] >= self.spoken, 20)

    def stored(self, within_s=60):
        """The status in which everything spoken is on disk again, delivered, and the books are right."""
        status = self.gateway.until(lambda status: settled(status, self.spoken), within_s)
        counts = [status["store"]["records"], status["radio"]["stored"], status["radio"]["dropped"]]
        assert (counts, status["store"]["balance"]) == ([self.spoken, self.spoken, 0], 0)
        return status

    def arrived(self):
        """The counters that have reached the platform."""
        return {json.loads(body)["f_cnt"] for topic, body in [*self._platform.messages] if topic.endswith("/up")}

    def arrives(self, within_s=30):
        end = time.monotonic() + within_s
        while self.arrived() != set(range(1, self.spoken + 1)):
            assert time.monotonic() < end, (
                f"of {self.spoken} only {sorted(self.arrived())} arrived\n{self.gateway.log[-2000:]}"
            )
            time.sleep(0.1)


def settled(status, spoken):
    (sink,) = status["sinks"]
    return (
        status["store"]["state"] == "writing"
        and status["store"]["records"] + status["radio"]["dropped"] >= spoken
        and sink["queued"] == 0
    )


@pytest.fixture
def make_town(quick_folder, mosquitto):
    """A town whose gateway keeps its data below `quick_folder`; the device is entered."""
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{mosquitto.port}"\nbacklog_delay = "0s"\n'
    with ExitStack() as opened:
        gateway = GatewayProcess(quick_folder, sink=sink, store='commit_interval = "100ms"\nmax_size = "16MiB"')
        opened.enter_context(gateway)

        def made(**environment):
            entered = gateway.command(
                "device", "add", "--dev-eui", "0000000000000001", "--name", "PAV Antigone 12", "--dev-addr", "00000001",
                "--nwk-s-key", bytes(session(1).f_nwk_s_int_key).hex(),
                "--app-s-key", bytes(session(1).app_s_key).hex(),
            )  # fmt: skip
            assert entered.returncode == 0, entered.stderr
            gateway.start(**environment)
            forwarder = opened.enter_context(PacketForwarder(gateway.udp_port))
            platform = opened.enter_context(Subscriber(mosquitto.port, "lorawan/+/+/up"))
            gateway.until(lambda status: status["sinks"][0]["state"] == "connected")
            return Town(gateway, forwarder, platform)

        yield made


@pytest.fixture
def town(make_town, trouble, quick_folder):
    """A town whose gateway suffers what `trouble` asks for."""
    town = make_town(**trouble.environment)
    town.speak()
    town.stored()
    trouble.below(quick_folder / "data")
    return town


@pytest.mark.parametrize("fault", some(FAULTS, 2))
def test_on_a_disk_in_trouble_it_hears_delivers_and_says_so_and_afterwards_all_is_stored(fault, town, trouble):
    FAULTS[fault](trouble)
    town.speak(5)
    status = town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
    assert status["store"]["evidence"]
    town.speak(5)
    town.heard()
    town.arrives()  # live, from memory
    trouble.over()
    town.speak(1)
    town.stored()
    town.gateway.kill()
    town.gateway.start()
    status = town.stored()
    assert (status["store"]["quarantined"], status["sinks"][0]["acknowledged"]) == (0, town.spoken)
    town.arrives()


@pytest.mark.parametrize("fault", some(FAULTS, 2))
def test_started_on_a_disk_in_trouble_it_hears_delivers_and_returns_to_the_disk(fault, town, trouble):
    town.gateway.kill()
    FAULTS[fault](trouble)
    town.gateway.start(**trouble.environment)
    town.speak()
    status = town.gateway.until(lambda status: status["radio"]["heard"] and status["store"]["state"] != "writing", 20)
    assert status["store"]["evidence"]
    if fault != "gone":  # where nothing can be read, nobody is known
        town.arrives()
    trouble.over()
    town.gateway.until(lambda status: status["store"]["state"] == "writing")
    before = town.gateway.status()["store"]["records"]
    town.speak()
    status = town.gateway.until(lambda status: status["store"]["records"] >= before + 3)
    assert (status["store"]["balance"], status["store"]["quarantined"]) == (0, 0)


@pytest.mark.parametrize("fault", ["full", "gone"])
def test_asked_to_stop_on_a_disk_in_trouble_it_ends_in_time_and_in_order(fault, town, trouble):
    FAULTS[fault](trouble)
    town.speak()
    town.heard()
    assert town.gateway.stop() == 0
    assert "Traceback" not in town.gateway.log


def test_what_waits_in_memory_is_not_counted_as_stored(town, trouble):
    """P1: a technician who reads `stored` may pull the plug."""
    trouble.read_only()
    town.speak(5)
    status = town.heard()
    assert (status["radio"]["stored"], status["store"]["balance"]) == (3, 0)


def test_asked_to_stop_on_a_disk_that_has_just_failed_it_ends_in_order_also_with_nothing_to_write(town, trouble):
    trouble.read_only()
    assert town.gateway.stop() == 0
    assert "Traceback" not in town.gateway.log


def test_a_sync_that_takes_half_a_minute_holds_neither_radio_nor_console_and_is_told(town, trouble):
    """T-34. It ends when the test lets it."""
    trouble.page.sync_us = 300_000_000
    town.speak()
    town.gateway.until(lambda _: trouble.page.syncing)
    for _ in range(10):
        town.speak(2)
        asked = time.monotonic()
        town.gateway.status()
        assert time.monotonic() - asked < ANSWERS_WITHIN_S
        time.sleep(0.3)
    status = town.heard()
    assert trouble.page.syncing
    assert status["store"]["state"] != "writing"
    assert status["store"]["evidence"]
    town.arrives()
    trouble.over()
    town.stored()


def test_asked_to_stop_during_a_sync_that_never_ends_it_ends_within_ten_seconds(town, trouble):
    trouble.page.sync_us = 300_000_000
    town.speak()
    town.gateway.until(lambda _: trouble.page.syncing)
    town.gateway.stop()  # waits fifteen seconds at most
    trouble.over()
    town.gateway.start()
    status = town.gateway.until(lambda status: status["store"]["state"] == "writing")
    assert (status["store"]["balance"], status["store"]["quarantined"]) == (0, 0)


def test_trouble_that_comes_and_goes_costs_nothing(town, trouble):
    """Each kind in turn, a moment each, with frames all the time."""
    for fault in FAULTS.values():
        fault(trouble)
        town.speak(2)
        town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
        trouble.over()
        town.speak(2)
        town.gateway.until(lambda status: status["store"]["state"] == "writing", 20)
    status = town.stored()
    assert status["store"]["quarantined"] == 0
    town.arrives()


# --- limits and small file systems


def test_a_limit_on_file_size_is_trouble_like_a_full_disk(make_town, quick_folder):
    """T-35, RLIMIT_FSIZE."""
    town = make_town()
    town.speak()
    town.stored()
    pid, data = town.gateway.process.pid, quick_folder / "data"
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in (data / "log").glob("*-wal"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100, hard))
    town.speak(5)
    town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
    town.arrives()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    town.stored()


def test_a_disk_that_somebody_else_fills_costs_patience_and_no_record(make_town, quick_folder):
    """T-30, on a real ext4."""
    with ext4(quick_folder / "data", quick_folder / "image") as disk:
        town = make_town()
        town.speak()
        town.stored()
        with disk.filled():
            town.speak(40)
            town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
            town.heard()
            town.arrives()
        town.stored()
        town.gateway.kill()
        with disk.filled():
            town.gateway.start()
            town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
            town.speak()
            town.arrives()
        town.gateway.until(lambda status: status["store"]["state"] == "writing")
        town.speak()
        town.arrives()
        town.gateway.kill()


def test_a_file_system_without_inodes_costs_patience_and_no_record(make_town, quick_folder):
    """T-35: nothing can be created, so a part that is full cannot be followed by the next."""
    with tmpfs(quick_folder / "data", "size=64m,nr_inodes=200"):
        town = make_town()
        town.speak()
        town.stored()
        strangers = taken_inodes(quick_folder / "data")
        for _ in range(8):
            town.speak(500, payload=os.urandom(200))
            town.heard()
        status = town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
        assert status["store"]["evidence"]
        for stranger in strangers:
            stranger.unlink()
        town.stored()
        town.gateway.kill()


def taken_inodes(folder):
    taken = []
    for number in range(1000):
        try:
            taken.append(folder / f"stranger-{number}")
            taken[-1].touch()
        except OSError:
            return taken[:-1]
    raise AssertionError("there is no end of inodes")


def test_a_file_system_that_hangs_holds_neither_radio_nor_console(make_town, quick_folder):
    """T-34, with the kernel's own brake."""
    with ext4(quick_folder / "data", quick_folder / "image") as disk:
        town = make_town()
        town.speak()
        town.stored()
        with disk.frozen():
            for _ in range(10):
                town.speak(2)
                asked = time.monotonic()
                town.gateway.status()
                assert time.monotonic() - asked < ANSWERS_WITHIN_S
                time.sleep(0.3)
            assert town.heard()["store"]["state"] != "writing"
        town.stored()
        town.gateway.kill()


def test_a_card_that_drops_out_is_survived_and_everything_stored_before_is_there_after(make_town, quick_folder):
    """A real ext4 goes away under load as when the power is cut, comes back, and is mounted again."""
    with ext4(quick_folder / "data", quick_folder / "image") as disk:
        town = make_town()
        town.speak(20)
        stored = town.stored()["store"]["records"]
        disk.cut_power()
        town.speak(5)
        town.gateway.until(lambda status: status["store"]["state"] != "writing", 20)
        town.arrives()
        town.gateway.kill()
        disk.unmount()
        disk.mount()
        town.gateway.start()
        status = town.gateway.until(lambda status: status["store"]["records"] >= stored)
        assert (status["store"]["balance"], status["store"]["quarantined"]) == (0, 0)
        town.gateway.kill()
