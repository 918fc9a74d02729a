"""The queue of downlinks: nothing is forgotten, nothing leaves twice, nothing leaves late."""

from __future__ import annotations

from dataclasses import replace

import pytest
from readings import STAMP, device

from gateway.errors import StorageError, UsageError
from gateway.model import DevEui, DownlinkState, QueuedDownlink, Stamp, TimeQuality
from gateway.regions.eu868 import EU868
from gateway.serving.desk import DownlinkDesk
from gateway.serving.queue import MOST_WAITING, SHOWN_FOR_S, DownlinkQueue, DownlinkUnknown
from gateway.store.network_file import NetworkFile
from gateway.wire.own_downlink import DownlinkAsked

VALVE = DevEui((7).to_bytes(8, "big"))
OTHER = DevEui((8).to_bytes(8, "big"))


class Shelf:
    """A data folder with a clock that is told what time it is; `start` is what a start of the gateway does."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.now = STAMP
        self.told: list[tuple[str, str]] = []
        self.stirred: list[DevEui] = []
        self.refuses = False
        self._file: NetworkFile | None = None

    async def start(self) -> DownlinkQueue:
        self.stop()
        self._file = NetworkFile.open(self.folder)
        queue = DownlinkQueue(
            self, lambda: self.now, lambda entry: self.told.append((entry.ref, str(entry.state))), self.stirred.append
        )
        await queue.load()
        return queue

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    async def with_network(self, work):
        if self.refuses:
            raise StorageError("the disk is full")
        return work(self._file)

    def after(self, seconds: float) -> None:
        self.now = replace(
            self.now,
            utc_us=self.now.utc_us + round(seconds * 1e6),
            monotonic_us=self.now.monotonic_us + round(seconds * 1e6),
        )

    def entry(self, ref: str = "one", **changes: object) -> QueuedDownlink:
        plain = QueuedDownlink(ref, VALVE, 2, b"\x01", confirmed=False, asked=self.now, origin="command")
        return replace(plain, **changes)


@pytest.fixture
def shelf(tmp_path):
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.stop()


async def test_what_was_queued_is_there_after_a_start_in_the_order_of_asking(shelf):
    queue = await shelf.start()
    for ref in ("b", "a"):
        await queue.add(shelf.entry(ref))
    queue = await shelf.start()
    assert [entry.ref for entry in queue.listed()] == ["b", "a"]
    assert queue.next_for(VALVE).ref == "b"
    assert queue.next_for(OTHER) is None


async def test_what_the_disk_did_not_take_is_not_queued(shelf):
    queue = await shelf.start()
    shelf.refuses = True
    with pytest.raises(StorageError):
        await queue.add(shelf.entry())
    assert (queue.listed(), shelf.stirred) == ([], [])


async def test_one_after_the_other_and_a_confirmed_one_until_it_is_acknowledged(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry("first", confirmed=True))
    await queue.add(shelf.entry("second"))
    assert queue.waits_behind(queue.next_for(VALVE), VALVE)
    queue.scheduled("first", 4)
    assert queue.next_for(VALVE) is None
    queue.sent("first")
    queue.waits_again("first", "not acknowledged")
    assert queue.next_for(VALVE).ref == "first"
    queue.scheduled("first", 5)
    queue.sent("first")
    queue.acknowledged("first")
    assert queue.next_for(VALVE).ref == "second"
    assert (queue.get("first").attempts, queue.get("first").f_cnt) == (2, 5)
    assert shelf.told == [
        ("first", "queued"), ("second", "queued"),
        *(("first", state) for state in ("scheduled", "sent", "queued", "scheduled", "sent", "acknowledged")),
    ]  # fmt: skip


async def test_what_the_radio_had_at_a_kill_is_sent_again_only_if_the_device_can_tell(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry("plain"))
    await queue.add(shelf.entry("sure", confirmed=True))
    for ref in ("plain", "sure"):
        queue.scheduled(ref, 1)
    await queue.look_after()
    queue = await shelf.start()
    assert [(entry.ref, entry.state) for entry in queue.listed()] == [
        ("plain", DownlinkState.FAILED), ("sure", DownlinkState.QUEUED),
    ]  # fmt: skip
    assert "may have been on the air" in queue.get("plain").reason


async def test_an_expired_one_never_leaves(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry(expires_after_s=60.0))
    shelf.after(61)
    assert queue.next_for(VALVE) is None
    await queue.look_after()
    assert (queue.get("one").state, queue.get("one").reason) == (DownlinkState.EXPIRED, "not sent within 60 s")


async def test_one_that_may_have_expired_waits_until_the_date_is_known(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry(expires_after_s=3600.0))
    shelf.now = Stamp(0, TimeQuality.UNSYNCED, None, "another boot", 5_000_000)
    queue = await shelf.start()
    await queue.look_after()
    assert queue.next_for(VALVE) is None
    assert queue.get("one").state is DownlinkState.QUEUED
    shelf.now = replace(STAMP, boot_id="another boot", monotonic_us=9_000_000, utc_us=STAMP.utc_us + 600_000_000)
    assert queue.next_for(VALVE).ref == "one"


async def test_what_waits_can_be_cancelled_and_what_left_cannot(shelf):
    queue = await shelf.start()
    for ref in ("gone", "one", "two"):
        await queue.add(shelf.entry(ref))
    await queue.add(shelf.entry("elsewhere", dev_eui=OTHER))
    queue.scheduled("gone", 1)
    with pytest.raises(UsageError, match="scheduled already"):
        await queue.cancel(ref="gone")
    with pytest.raises(DownlinkUnknown, match="nobody"):
        await queue.cancel(ref="nobody")
    assert [entry.ref for entry in await queue.cancel(dev_eui=VALVE)] == ["one", "two"]
    assert [entry.ref for entry in await queue.cancel()] == ["elsewhere"]
    assert {entry.state for entry in queue.listed() if entry.ref != "gone"} == {DownlinkState.CANCELLED}


async def test_what_ended_is_shown_for_a_day(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry())
    queue.scheduled("one", 1)
    queue.sent("one")
    shelf.after(SHOWN_FOR_S - 1)
    await queue.look_after()
    assert queue.get("one").state is DownlinkState.SENT
    shelf.after(2)
    await queue.look_after()
    assert (queue.listed(), (await shelf.start()).listed()) == ([], [])


async def test_a_reference_names_one_downlink_and_a_queue_ends_somewhere(shelf):
    queue = await shelf.start()
    await queue.add(shelf.entry())
    with pytest.raises(UsageError, match="known already"):
        await queue.add(shelf.entry())
    for number in range(MOST_WAITING - 1):
        await queue.add(shelf.entry(str(number)))
    with pytest.raises(UsageError, match="wait for"):
        await queue.add(shelf.entry("more"))


# --- the desk


class Tenfold:
    """An encoder: the value times ten, on port 5."""

    async def encode(self, codec, command, f_port, variables):
        class Encoded:
            payload = None if "value" not in command else bytes([command["value"] * 10])
            errors = () if "value" in command else ("no value",)

        Encoded.f_port = f_port or 5
        return Encoded


def desk(queue: DownlinkQueue, *, answers: bool = True) -> DownlinkDesk:
    known = {VALVE: device(7)}

    async def find(dev_eui):
        return known.get(dev_eui)

    return DownlinkDesk(queue, Tenfold(), find, EU868, lambda: STAMP, answers=answers)


async def test_a_command_in_words_is_encoded_by_the_codec_of_the_device(shelf):
    queue = await shelf.start()
    entry = await desk(queue).ask(VALVE, DownlinkAsked(None, None, {"value": 4}, ref="open"), "city")
    assert (entry.payload, entry.f_port, entry.ref, entry.origin) == (b"\x28", 5, "open", "city")
    with pytest.raises(UsageError, match="cannot encode this: no value"):
        await desk(queue).ask(VALVE, DownlinkAsked(None, None, {}), "city")


@pytest.mark.parametrize(
    ("asked", "answers", "dev_eui", "problem"),
    [
        (DownlinkAsked(2, bytes(243), None), True, VALVE, "243 bytes, at most 242"),  # RP002-1.0.4, table of EU868
        (DownlinkAsked(2, b"", None), True, OTHER, "no device 0000000000000008"),
        (DownlinkAsked(2, b"", None), False, VALVE, "does not transmit"),
    ],
)
async def test_what_can_never_be_sent_is_refused_at_once(shelf, asked, answers, dev_eui, problem):
    queue = await shelf.start()
    with pytest.raises(UsageError, match=problem):
        await desk(queue, answers=answers).ask(dev_eui, asked, "command")
    assert queue.listed() == []
