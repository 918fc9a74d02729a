"""Erasing a device: no byte of it is left in any file, nobody else loses anything, and the books are right."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import STAMP, device, reading, session

from gateway.errors import DeviceForgotten
from gateway.lorawan.uplink import seal
from gateway.model import (
    AesKey,
    Crc,
    DevAddr,
    DevEui,
    DownlinkState,
    GatewayEui,
    JoinEui,
    Lora,
    QueuedDownlink,
    RadioFrame,
    Refusal,
    Refused,
    RootKeys,
)
from gateway.store import quarantine
from gateway.store.devices import DeviceRegistry
from gateway.store.erasing import Halted, Rewriting, names
from gateway.store.erasure_file import (
    AUDIT,
    Forgotten,
    Intent,
    Steps,
    finish,
    load_intent,
    load_steps,
    save_intent,
    save_steps,
)
from gateway.store.part import part_files
from gateway.store.queries import LogFiles, Span
from gateway.store.retention import Limits
from gateway.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
WHO = DevEui(bytes.fromhex("70b3d5499a11c0de"))
NEIGHBOUR = DevEui(bytes.fromhex("70b3d5499b22beef"))
ADDRESS, OLD_ADDRESS = DevAddr(0x26AB1CDE), DevAddr(0x26AB77F1)
KEYS = {name: AesKey(os.urandom(16)) for name in ("nwk", "app", "root", "joined")}
SECRET = "Logement 4B, rue Foch"
PAYLOAD = bytes.fromhex("c0ffee5eed0042a7d1")


def opened(folder: Path, **options: object) -> Store:
    limits = Limits(64 << 20, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
    return Store.open(folder, EUI, commit_interval_s=0, limits=limits, **options)


def household(f_cnt: int, address: DevAddr = ADDRESS) -> object:
    phy = seal(OURS, f_cnt=f_cnt, f_port=2, payload=PAYLOAD)
    plain = reading(f_cnt, dev_eui=WHO, dev_addr=address, name=SECRET, tags={"flat": "4B"}, payload=PAYLOAD, phy=phy)
    return replace(plain, frame_id=f"{f_cnt:032x}")


def neighbour(f_cnt: int) -> object:
    return reading(f_cnt, dev_eui=NEIGHBOUR, dev_addr=DevAddr(0x2600_0002), name="the other flat")


OURS = replace(
    session(1, dev_addr=int(ADDRESS)), dev_eui=WHO, f_nwk_s_int_key=KEYS["nwk"], s_nwk_s_int_key=KEYS["nwk"],
    nwk_s_enc_key=KEYS["nwk"], app_s_key=KEYS["app"],
)  # fmt: skip


def air(phy: bytes) -> RadioFrame:
    return RadioFrame(phy, STAMP, 868_100_000, Lora(7, 125_000), -100.0, 5.0, 0, 0, 0, Crc.OK, "test")


def join_request(dev_eui: DevEui) -> bytes:
    return b"\x00" + bytes(8) + bytes(dev_eui)[::-1] + b"\x07\x00" + b"MIC!"


def entered(folder: Path) -> None:
    with DeviceRegistry.open(folder) as registry:
        registry.add(
            replace(device(), dev_eui=WHO, name=SECRET, join_eui=JoinEui(bytes(8))),
            session=OURS, root_keys=RootKeys(KEYS["root"], None),
        )  # fmt: skip
        other = replace(device(), dev_eui=NEIGHBOUR, name="the other flat")
        registry.add(other, session=replace(session(2), dev_eui=NEIGHBOUR))


NEEDLES = {
    "DevEUI": bytes(WHO), "DevEUI on air": bytes(WHO)[::-1], "DevEUI in hex": WHO.hex().encode(),
    "DevEUI in capitals": WHO.hex().upper().encode(), "payload": PAYLOAD, "payload in hex": PAYLOAD.hex().encode(),
    "name": SECRET.encode(), "address": int(ADDRESS).to_bytes(4, "big"),
    "old address": int(OLD_ADDRESS).to_bytes(4, "big"),
    "address on air": int(ADDRESS).to_bytes(4, "little"), "address in hex": b"26ab1cde",
    **{f"key {name}": bytes(key) for name, key in KEYS.items()},
    **{f"key {name} in hex": key.hex().encode() for name, key in KEYS.items()},
    "sealed by the device": seal(OURS, f_cnt=7, f_port=2, payload=PAYLOAD)[9:18],
}  # fmt: skip


def found_in(folder: Path) -> set[tuple[str, str]]:
    """Which needles lie in which file, byte by byte, whatever the file is."""
    hits = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            hits |= {(what, file.name) for what, needle in NEEDLES.items() if needle in content}
    return hits


async def lived(folder: Path, records: int = 12) -> None:
    """A gateway that has kept everything it can of two devices."""
    entered(folder)
    async with opened(folder) as store:
        for name in ("city", "slow"):
            store.subscribe(name)
        for f_cnt in range(1, records + 1):
            await store.keep_uplink(household(f_cnt, OLD_ADDRESS if f_cnt == 1 else ADDRESS), OURS)
            await store.keep_uplink(neighbour(f_cnt), None)
            if f_cnt == records // 2:
                await store._writer.call(store._log.rotate)
        for phy, address in ((seal(OURS, f_cnt=99, f_port=1, payload=b"!"), ADDRESS), (join_request(WHO), None)):
            store.keep_unopened(air(phy), Refused(Refusal.BAD_MIC, "", address))
        foreign = seal(replace(OURS, dev_addr=DevAddr(0x11223344)), f_cnt=5, f_port=1, payload=b"?")
        store.keep_unopened(air(foreign), Refused(Refusal.UNKNOWN_DEVICE, "", DevAddr(0x11223344)))
        joined = replace(OURS, app_s_key=KEYS["joined"], dev_addr=DevAddr(0x26AB0F0F))
        await store.keep_join(replace(device(), dev_eui=WHO), "[[7],1]", joined, "{}")
        entry = QueuedDownlink(
            "r1", WHO, 3, PAYLOAD, confirmed=False, asked=STAMP, origin="x", state=DownlinkState.QUEUED
        )
        await store.with_network(lambda file: file.keep_downlinks([(1, entry)]))
        await store.settle("city", lambda progress: progress.acknowledge(range(1, 7)))
        await store.settle(
            "city", lambda progress: progress.give_up([7]), [(7, f"urn:ngsi-ld:Device:{WHO} is refused")]
        )
        (folder / "quarantine").mkdir()
        (folder / "quarantine" / "devices.sqlite3").write_bytes(b"damaged, with " + bytes(WHO))


async def everything(store: Store) -> tuple[list, list, list]:
    """Records, what was erased, what was lost."""
    records, erased, lost, after = [], [], [], 0
    while after < store.head:
        batch = await store.read(after, 5)
        records += batch.records
        erased += batch.erased
        lost += batch.lost
        after = batch.through
    return records, erased, lost


async def forgotten(store: Store, intent: Intent | None = None, halted: object = lambda: False) -> tuple[int, int]:
    if intent is None:
        intent = Intent.of(WHO, await store.addresses(WHO))
    await store.disown(intent)
    return await store.erase(intent, lambda _: None, halted)


# --- nothing is left


async def test_before_it_lies_about_in_many_files(tmp_path):
    await lived(tmp_path)
    assert {what for what, _ in found_in(tmp_path)} >= {"DevEUI", "key app", "key root", "key joined", "payload in hex"}


async def test_afterwards_no_file_has_a_byte_of_it_and_the_neighbour_has_lost_nothing(tmp_path):
    await lived(tmp_path)
    async with opened(tmp_path) as store:
        for name in ("city", "slow"):
            store.subscribe(name)
        assert await forgotten(store) == (12, 2)
        from gateway.store import quarantine

        assert quarantine.empty(tmp_path) == 1
        finish(tmp_path, {"reference": load_intent(tmp_path).reference, "records": 12})
        assert found_in(tmp_path) == set()  # also while it runs
        records, erased, lost = await everything(store)
        assert [record.reading.f_cnt for record in records] == list(range(1, 13))
        assert {record.reading.dev_eui for record in records} == {NEIGHBOUR}
        assert (len(erased), lost) == (12, [])
        assert store.books().balance == 0
        assert store.books().erased == 12
        frames = LogFiles(tmp_path, EUI)
        with frames:
            assert [frame.phy[1:5] for _, frame in frames.unopened(Span())] == [bytes.fromhex("44332211")]
    assert found_in(tmp_path) == set()


async def test_keys_of_the_parts_that_were_written_anew_are_others_and_those_before_are_nowhere(tmp_path):
    await lived(tmp_path)
    before = _part_keys(tmp_path)
    async with opened(tmp_path) as store:
        store.subscribe("city")
        await forgotten(store)
    after = _part_keys(tmp_path)
    assert not set(before.values()) & set(after.values())
    left = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert not [key for key in before.values() if key in left]


def _part_keys(folder: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(folder / "keys.sqlite3")) as db:
        return dict(db.execute("SELECT part, material FROM part_key").fetchall())


async def test_no_destination_waits_for_what_was_erased_and_every_balance_is_zero(tmp_path):
    await lived(tmp_path)
    async with opened(tmp_path) as store:
        for name in ("city", "slow", "new"):
            store.subscribe(name)
        await forgotten(store)
        after = store.progress("slow").prefix
        while after < store.head:
            batch = await store.read(after, 5)

            def settle(progress, batch=batch):
                progress = progress.acknowledge([record.position for record in batch.records])
                for first, last in batch.erased:
                    progress = progress.erase_range(first, last)
                return progress

            await store.settle("slow", settle)
            after = batch.through
        slow = store.progress("slow")
        assert (slow.acknowledged, slow.erased, slow.queued(store.head), slow.balance(store.head)) == (12, 12, 0, 0)
        assert store.progress("city").balance(store.head) == 0
        assert store.dead_letters("city") == 0
    async with opened(tmp_path) as store:  # the word is remembered
        assert store.subscribe("slow").erased == 12
        assert store.books().erased == 12


async def test_what_comes_of_it_afterwards_is_not_kept_until_somebody_enters_it_again(tmp_path):
    await lived(tmp_path)
    async with opened(tmp_path) as store:
        await forgotten(store)
        with pytest.raises(DeviceForgotten):
            await store.keep_uplink(household(50), OURS)
        for phy, who in ((seal(OURS, f_cnt=98, f_port=1, payload=b"!"), None), (join_request(WHO), WHO)):
            refused = Refused(Refusal.UNKNOWN_DEVICE, "", None if who else ADDRESS, who)
            store.keep_unopened(air(phy), refused, wanted=True)
        await store._writer.settled()
        assert store.candidates(ADDRESS) == ()
        assert store.books().balance == 0
        assert store.books().filtered["forgotten"] == 1
        assert store.books().unopened_kept == 3  # as before
    finish(tmp_path, {"reference": load_intent(tmp_path).reference})
    with DeviceRegistry.open(tmp_path) as registry:
        registry.add(replace(device(), dev_eui=WHO, name=SECRET), session=OURS)
    async with opened(tmp_path) as store:
        assert not store.forgotten
        assert [one.name for one, _ in store.candidates(ADDRESS)] == [SECRET]
        await store.keep_uplink(household(51), OURS)


async def test_retention_does_not_stop_at_a_part_of_which_nothing_is_left(tmp_path):
    entered(tmp_path)
    async with opened(tmp_path) as store:
        for f_cnt in range(1, 4):
            await store.keep_uplink(household(f_cnt), OURS)
        await forgotten(store)
        await store.keep_uplink(neighbour(1), None)
        [part, *_] = await store._writer.call(store._closed_parts)
        assert part.newest_utc_us == 0


# --- cut off half way


async def test_an_erasure_that_was_cut_off_anywhere_is_finished_by_the_next_start(tmp_path):
    """Every slice of every part, and every step between, may be the last one before the power goes."""
    cuts = 0
    for cut in range(1, 200):
        folder = tmp_path / str(cut)
        folder.mkdir()
        await lived(folder, 4)
        looks = iter(range(cut))
        async with opened(folder) as store:
            store.subscribe("city")
            try:
                await forgotten(store, halted=lambda looks=looks: next(looks, None) is None)
                done = True
            except Halted:
                done = False
                cuts += 1
        async with opened(folder) as store:  # a stranger from the first moment on
            store.subscribe("city")
            assert store.candidates(ADDRESS) == ()
            intent = load_intent(folder)
            assert (await store.erase(intent, lambda _: None, lambda: False))[0] == 4
            assert store.books().erased == 4
            assert store.books().balance == 0
            finish(folder, {"reference": intent.reference})
        quarantine.empty(folder)
        assert found_in(folder) == set()
        if done:
            break
    assert cuts > 3
    assert done


@pytest.mark.parametrize("moment", ["key made", "written beside", "in its place", "one file of keys renewed"])
async def test_a_power_cut_while_a_part_changes_its_key_leaves_one_or_the_other(tmp_path, moment):
    await lived(tmp_path, 4)
    async with opened(tmp_path) as store:
        part = part_files(tmp_path / "log")[0]
        before = len(store._reader.read(0, 100, store.head))

        def cut() -> None:
            seals = store._log.prepare_anew(part)
            if moment == "key made":
                return
            Rewriting(WHO, frozenset()).write(part, *seals)
            if moment == "written beside":
                return
            (tmp_path / "log" / f"{part.path.name}.anew").replace(part.path)
            if moment == "one file of keys renewed":
                second = store._seals._files.pop()
                store._seals.renew(store._seals.being_renewed()[0])
                store._seals._files.append(second)

        await store._writer.call(cut)
    async with opened(tmp_path) as store:
        after = [body for _, body in store._reader.read(0, 100, store.head)]
        assert store.facts().quarantined == 0
        assert store._seals.being_renewed() == []
        assert len(after) == before
        assert None not in after
        erased = moment in ("in its place", "one file of keys renewed")
        assert (after.count(b"\x00") > 0) == erased
    assert not list((tmp_path / "log").glob("*.anew*"))


async def test_readers_beside_go_on_while_parts_are_written_anew(tmp_path):
    await lived(tmp_path, 40)
    with LogFiles(tmp_path, EUI) as beside:
        first = [record.reading.f_cnt for record in beside.records(Span(NEIGHBOUR))]
        async with opened(tmp_path) as store:
            store.subscribe("city")
            erasing = asyncio.create_task(forgotten(store))
            while not erasing.done():
                records, _, lost = await everything(store)
                assert lost == []
                assert [one.reading.f_cnt for one in records if one.reading.dev_eui == NEIGHBOUR] == first
            assert await erasing == (40, 2)
            assert store.facts().quarantined == 0
        assert [record.reading.f_cnt for record in beside.records(Span(NEIGHBOUR))] == first
        assert beside.damaged == 0


# --- small things


def test_steps_that_cannot_be_read_are_none(tmp_path):
    save_steps(tmp_path, Steps("one", {1: (2, 3)}, 9))
    assert load_steps(tmp_path, "one") == Steps("one", {1: (2, 3)}, 9)
    assert load_steps(tmp_path, "another") == Steps("another")
    (tmp_path / "erasure-steps.json").write_text("[]")
    assert load_steps(tmp_path, "one") == Steps("one")


def test_an_intent_with_a_wrong_bit_erases_nobody_and_one_half_destroyed_is_done(tmp_path, caplog):
    intent = Intent.of(WHO, [int(ADDRESS)])
    save_intent(tmp_path, intent)
    assert load_intent(tmp_path) == intent
    content = (tmp_path / "erasure.json").read_bytes()
    (tmp_path / "erasure.json").write_bytes(content.replace(WHO.hex().encode(), NEIGHBOUR.hex().encode()))
    assert load_intent(tmp_path) is None
    assert "once more" in caplog.text
    caplog.clear()
    (tmp_path / "erasure.json").write_bytes(bytes(len(content)))
    assert load_intent(tmp_path) is None
    assert (caplog.text, list(tmp_path.iterdir())) == ("", [])


def test_the_record_of_erasures_has_each_once(tmp_path):
    for _ in range(2):
        finish(tmp_path, {"reference": "erasure-1"})
    assert (tmp_path / AUDIT).read_text() == '{"reference":"erasure-1"}\n'


def test_who_was_forgotten_is_known_again_and_named_nowhere(tmp_path):
    Forgotten(tmp_path).add(WHO, {int(ADDRESS)})
    known = Forgotten(tmp_path)
    assert known.knows(WHO, None)
    assert known.knows(None, int(ADDRESS))
    assert not known.knows(NEIGHBOUR, 5)
    assert found_in(tmp_path) == set()
    known.welcome([NEIGHBOUR, WHO])
    assert not Forgotten(tmp_path).knows(WHO, int(ADDRESS))


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_of_the_device_or_not(phy):
    assert names(phy, WHO, {5}) in (True, False)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=60)
def test_whatever_lies_in_the_small_files_a_start_knows_what_to_do(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("small")
    for name in ("forgotten.json", "erasure-steps.json", "erasure.json"):
        (folder / name).write_bytes(content)
    assert not Forgotten(folder)
    assert load_steps(folder, "one") == Steps("one")
    assert load_intent(folder) is None
