"""The order of an erasure, and each part that has to forget: one at a time, cut off ones first, nothing put back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import stamp_now
from readings import STAMP, device, reading, session

from gateway.delivery.http_line import HttpServer
from gateway.delivery.ngsi_holdings import Holdings
from gateway.delivery.ngsi_link import Standing, forget
from gateway.delivery.ngsi_v2 import WORDS
from gateway.delivery.webhook import WebhookDestination, WebhookSink, _Post
from gateway.errors import GatewayError, StorageError
from gateway.forgetting import Forgetting, Known
from gateway.model import DevEui, GatewayEui, QueuedDownlink, Record
from gateway.serving.queue import DownlinkQueue
from gateway.store.cursors import NOBODY, Loss
from gateway.store.custody_file import CustodyFile
from gateway.store.devices import DeviceRegistry
from gateway.store.erasure_file import AUDIT, INTENT, Intent, load_intent, save_intent
from gateway.store.losses import Losses
from gateway.store.owner import memory_folder
from gateway.store.retention import Limits
from gateway.store.store import Store

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
ONE, OTHER = (DevEui(bytes.fromhex(f"70b3d5499a11c0{number:02x}")) for number in (1, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    with DeviceRegistry.open(tmp_path / "data") as registry:
        for number, who in enumerate((ONE, OTHER), 1):
            registry.add(replace(device(number), dev_eui=who), session=replace(session(number), dev_eui=who))
    return tmp_path / "data"


def opened(folder) -> Store:
    limits = Limits(64 << 20, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
    return Store.open(folder, EUI, commit_interval_s=0, limits=limits)


def forgetting_of(store: Store) -> Forgetting:
    file = CustodyFile(store.folder)

    async def custody(dev_eui: DevEui) -> None:
        file.forget(str(dev_eui))

    return Forgetting(store, list, lambda who: [Known("city", "mqtt", [str(who)])], custody)


async def kept(store: Store, *, each: int = 3) -> None:
    store.subscribe("city")
    for who in (ONE, OTHER):
        for f_cnt in range(each):
            await store.keep_uplink(reading(f_cnt, dev_eui=who), None)


async def test_what_was_cut_off_is_finished_before_another_is_begun(folder):
    async with opened(folder) as store:
        await kept(store)
        save_intent(folder, Intent.of(OTHER, [2]))  # as a power cut leaves it
        done = await forgetting_of(store).forget(ONE, lambda _: None)
        assert (done["records"], done["left"]) == (3, [])
        assert store.books().erased == 6
        assert load_intent(folder) is None
    assert (folder / AUDIT).read_text().count("\n") == 2


async def test_one_is_erased_at_a_time(folder):
    async with opened(folder) as store:
        await kept(store)
        forgetting = forgetting_of(store)
        first = asyncio.create_task(forgetting.forget(ONE, lambda _: None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(GatewayError, match="already"):
            await forgetting.forget(OTHER, lambda _: None)
        await first
        with pytest.raises(GatewayError, match="nothing is kept"):
            await forgetting.forget(ONE, lambda _: None)


async def test_whoever_hangs_up_does_not_end_it(folder):
    async with opened(folder) as store:
        await kept(store)
        forgetting = forgetting_of(store)
        asked = asyncio.create_task(forgetting.forget(ONE, lambda _: None))
        while not (folder / INTENT).exists():  # reading it would destroy what is half destroyed
            await asyncio.sleep(0.001)
        asked.cancel()
        async with asyncio.timeout(20):
            while (folder / INTENT).exists():
                await asyncio.sleep(0.01)
        assert store.books().erased == 3


async def test_a_device_that_was_removed_before_is_still_to_be_found(folder):
    with DeviceRegistry.open(folder) as registry:
        registry.remove(ONE)
    async with opened(folder) as store:
        store.subscribe("city")
        assert (await forgetting_of(store).forget(ONE, lambda _: None))["left"] == []


async def test_a_gateway_that_runs_in_memory_says_that_it_cannot(folder):
    async with opened(folder) as store:
        store.in_memory_because = "the card is read-only"
        with pytest.raises(StorageError, match="read-only"):
            await forgetting_of(store).forget(ONE, lambda _: None)


async def test_copies_in_memory_of_a_time_without_a_disk_go_too(folder):
    memory = memory_folder(folder)
    memory.mkdir(parents=True)
    (memory / "devices.sqlite3").write_bytes(bytes(ONE))
    (memory / "airtime.sqlite3").write_bytes(b"")
    async with opened(folder) as store:
        await kept(store)
        await forgetting_of(store).forget(ONE, lambda _: None)
    assert [file.name for file in memory.iterdir()] == ["airtime.sqlite3"]


# --- each part


def test_balances_keep_their_sums_and_lose_the_name(tmp_path):
    file = CustodyFile(tmp_path)
    named = [{"dev_eui": str(ONE), "frames": 2}, {"dev_eui": str(OTHER), "frames": 3}, 7]
    file.morning = {"losses": {f"city {ONE} age": 2, f"city {OTHER} age": 1, "city  age": 5}}
    file.days = [{"until": "x", "gaps": {"total": 5, "by_device": named}, "losses": None}]
    file.forget(str(ONE))
    assert file.morning == {"losses": {f"city {OTHER} age": 1, "city  age": 7}}
    assert file.days == [{"until": "x", "gaps": {"total": 5, "by_device": named[1:]}, "losses": None}]
    file.morning, file.days = [], [{"gaps": [], "losses": {"by_device": 3}}]
    file.forget(str(ONE))  # whatever lies there


def test_losses_keep_their_sums_and_lose_the_name():
    losses = Losses()
    for who in (ONE, ONE, OTHER):
        losses.add("city", reading(4, dev_eui=who), "age")
    losses.forget(bytes(ONE))
    found = {loss.dev_eui: loss for loss in losses.take()}
    assert found[NOBODY] == Loss("city", NOBODY, "age", 0, 0, 2, 0, 0)
    assert found[bytes(OTHER)].records == 1


def test_what_a_broker_loses_of_it_is_never_put_back():
    standing = Standing(Holdings(WORDS), 1000)
    for name in (f"urn:ngsi-ld:Device:{ONE}", f"urn:ngsi-ld:DeviceMeasurement:{ONE}:flow", f"urn:x:{OTHER}"):
        standing.holdings.keep((name, "Device"), {})
    forget(standing, [str(ONE)])
    assert [key[0] for key in standing.holdings.keys()] == [f"urn:x:{OTHER}"]  # noqa: SIM118 - a method of ours


async def test_requests_that_are_not_clear_yet_are_not_sent_again():
    sink = WebhookSink(WebhookDestination("hook", HttpServer("http://127.0.0.1")))
    for who in (ONE, OTHER):
        sink._memory.unclear.append(_Post([Record(EUI, "e", 1, reading(1, dev_eui=who))], b""))
    await sink.forget(ONE)
    assert [post.records[0].reading.dev_eui for post in sink._memory.unclear] == [OTHER]


async def test_nothing_waits_for_it_any_more():
    class Keeper:
        async def with_network(self, work):
            return None

    queue = DownlinkQueue(Keeper(), stamp_now, told=lambda _: None, stirred=lambda _: None)
    for number, who in enumerate((ONE, OTHER)):
        entry = QueuedDownlink(str(number), who, 1, b"", confirmed=False, asked=STAMP, origin="x")
        await queue.add(entry)
    queue.forget(ONE)
    assert [entry.dev_eui for entry in queue.listed()] == [OTHER]
    assert queue.next_for(ONE) is None
