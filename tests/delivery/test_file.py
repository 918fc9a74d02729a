"""Readings into real files: by the day, whole lines, each once, whatever happened before."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import signal
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from contract_example import EXAMPLE, HEARD, record, records
from disk.mounts import tmpfs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.delivery.appending import MOST_OPEN, Appender
from gateway.delivery.file import FileDestination, FileSink
from gateway.delivery.sink import Link, Sink, SinkUnavailable
from gateway.wire.file_forms import Csv, JsonLines
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

pytestmark = pytest.mark.usefixtures("quiet_loop")

DAY_US = 86_400_000_000
TODAY = "readings-2026-11-23"


def sink_in(folder, form: str = "jsonl", **options) -> FileSink:
    return FileSink(FileDestination("files", folder / f"readings.{form}", form, **options))


async def deliver(sink: FileSink, *batches) -> None:
    async with sink.connect() as link:
        for batch in batches:
            assert await link.deliver(batch) == ()


async def unavailable(sink: FileSink, batch=None) -> SinkUnavailable:
    """Connect and deliver, which must fail; why."""
    with pytest.raises(SinkUnavailable) as caught:
        await deliver(sink, records(1) if batch is None else batch)
    assert caught.value.alert
    return caught.value


def counters(path) -> list[int]:
    return [json.loads(line)["f_cnt"] for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def table(path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def on_day(day: int, count: int, first: int = 1):
    return records(count, first, heard=replace(HEARD, utc_us=HEARD.utc_us + day * DAY_US))


# --- what arrives


async def test_the_published_example_is_a_line_in_the_file_of_its_day(tmp_path):
    await deliver(sink_in(tmp_path), [record()])
    assert [json.loads(line) for line in (tmp_path / f"{TODAY}.jsonl").read_text().splitlines()] == [
        json.loads(EXAMPLE)
    ]


async def test_each_day_has_a_file_with_what_was_heard_on_it_however_late_it_comes(tmp_path):
    await deliver(sink_in(tmp_path), on_day(0, 5), on_day(1, 5, 6), on_day(0, 5, 11))
    assert counters(tmp_path / f"{TODAY}.jsonl") == [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]
    assert counters(tmp_path / "readings-2026-11-24.jsonl") == [6, 7, 8, 9, 10]


async def test_csv_has_one_header_a_file_over_restarts(tmp_path):
    for first in (1, 6, 11):
        await deliver(sink_in(tmp_path, "csv"), records(5, first))
    rows = table(tmp_path / f"{TODAY}.csv")
    assert [int(row["f_cnt"]) for row in rows] == list(range(1, 16))
    assert rows[0]["quantity"] == "fill_level"


async def test_other_columns_go_to_another_file(tmp_path):
    await deliver(sink_in(tmp_path, "csv"), records(2))
    await deliver(sink_in(tmp_path, "csv", privacy=Privacy(("f_cnt",))), records(2, 3))
    await deliver(sink_in(tmp_path, "csv"), records(2, 5))
    assert [row["f_cnt"] for row in table(tmp_path / f"{TODAY}.csv")] == ["1", "2", "5", "6"]
    assert [[*row] for row in table(tmp_path / f"{TODAY}-2.csv")] == [
        ["id", "record_id", "gateway_eui", "dev_eui", "f_cnt"]
    ] * 2


async def test_a_backlog_of_many_days_keeps_few_files_open(tmp_path):
    before = open_files()
    sink = sink_in(tmp_path)
    async with sink.connect() as link:
        for day in range(20):
            await link.deliver(on_day(day, 2, 1 + 2 * day))
        assert open_files() <= before + MOST_OPEN
    assert open_files() == before
    assert len(list(tmp_path.iterdir())) == 20


async def test_pseudonyms_reach_files_too(tmp_path):
    await deliver(sink_in(tmp_path, "csv", privacy=Privacy(pseudonyms=Pseudonyms(b"a key for this test"))), records(2))
    content = (tmp_path / f"{TODAY}.csv").read_text()
    assert "70b3d57ed0000001" not in content
    assert "Antigone" not in content


async def test_it_is_a_sink(tmp_path):
    sink: Sink = sink_in(tmp_path)
    async with sink.connect() as link:
        opened: Link = link
        assert await opened.deliver([]) == ()
        await opened.announce("status", {}, retain=True)
    assert list(tmp_path.iterdir()) == []


# --- after a power cut, and after a kill


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_a_torn_last_line_is_repaired_and_its_reading_comes_whole(tmp_path, form, caplog):
    await deliver(sink_in(tmp_path, form), records(5))
    path = tmp_path / f"{TODAY}.{form}"
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for size in range(1, len(last)):
        path.write_bytes(whole[:-size])
        caplog.clear()
        await deliver(sink_in(tmp_path, form), records(4, 2))  # the drain asks again for what it does not know of
        assert path.read_bytes() == whole
        assert "never whole" in caplog.text or size == len(last)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_zeros_that_a_file_system_left_are_cut_away(tmp_path, form):
    await deliver(sink_in(tmp_path, form), records(5))
    path = tmp_path / f"{TODAY}.{form}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(40) + bytes(4096))
    await deliver(sink_in(tmp_path, form), records(5))
    assert path.read_bytes() == whole


async def test_a_torn_header_is_written_anew(tmp_path):
    await deliver(sink_in(tmp_path, "csv"), records(1))
    path = tmp_path / f"{TODAY}.csv"
    whole = path.read_bytes()
    for size in (0, 1, 30, whole.index(b"\n")):
        path.write_bytes(whole[:size])
        await deliver(sink_in(tmp_path, "csv"), records(1))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wherever_the_power_is_cut_every_reading_is_there_once_and_whole(tmp_path_factory, form, data):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / f"readings.{form}"
    shape = (Csv if form == "csv" else JsonLines)(Privacy())
    lines = [(TODAY[-10:], line) for one in records(12) for line in shape.lines(one)]
    confirmed = safe = 0
    found = folder / f"{TODAY}.{form}"
    while confirmed < len(lines):
        appender = Appender(path, shape)
        end = data.draw(st.integers(confirmed + 1, len(lines)))
        appender.append(lines[confirmed:end])
        appender.close()
        if data.draw(st.booleans()):  # the cut: what was confirmed stays, of the rest any part reached the disk
            content = found.read_bytes()
            found.write_bytes(content[: data.draw(st.integers(safe, len(content)))])
        else:
            confirmed, safe = end, found.stat().st_size
    assert found.read_bytes() == b"".join([shape.header, *(line for _, line in lines)])


async def test_what_was_written_and_not_confirmed_is_not_written_twice(tmp_path):
    await deliver(sink_in(tmp_path), records(10))
    await deliver(sink_in(tmp_path), [replace(one, late=True) for one in records(12, 4)])
    assert counters(tmp_path / f"{TODAY}.jsonl") == list(range(1, 16))


async def test_a_reading_that_got_its_right_time_meanwhile_is_written_again(tmp_path):
    await deliver(sink_in(tmp_path), records(2))
    await deliver(sink_in(tmp_path), records(2, heard=replace(HEARD, utc_us=HEARD.utc_us + 1_000)))
    assert counters(tmp_path / f"{TODAY}.jsonl") == [1, 2, 1, 2]


async def test_a_gateway_killed_while_it_writes_leaves_whole_lines_and_goes_on(tmp_path):
    program = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from contract_example import records
        from gateway.delivery.appending import Appender
        from gateway.wire.file_forms import JsonLines
        from gateway.wire.privacy import Privacy
        form = JsonLines(Privacy())
        appender = Appender(Path({str(tmp_path)!r}) / "readings.jsonl", form)
        for first in range(1, 1_000_000, 16):
            appender.append([("{TODAY[-10:]}", line) for one in records(16, first) for line in form.lines(one)])
            print(first + 15, flush=True)
    """)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    said = [int(await child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    said += [int(line) for line in (await child.stdout.read()).split()]
    await child.wait()
    confirmed = said[-1]
    await deliver(sink_in(tmp_path), records(64, confirmed + 1))
    found = counters(tmp_path / f"{TODAY}.jsonl")
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= confirmed + 64


# --- disks and folders


async def test_a_full_disk_holds_everything_and_goes_on_when_there_is_room(tmp_path):
    with tmpfs(tmp_path / "full", "size=64k"):
        folder = tmp_path / "full"
        sink = sink_in(folder)
        filler = folder / "other"
        filler.write_bytes(bytes(40 << 10))
        async with sink.connect() as link:
            assert await link.deliver(records(16)) == ()
            with pytest.raises(SinkUnavailable, match="the disk is full; make room") as caught:
                await link.deliver(records(48, 17))
            assert caught.value.alert
            assert counters(folder / f"{TODAY}.jsonl") == list(range(1, 17))  # no half of it
            filler.unlink()
            assert await link.deliver(records(48, 17)) == ()
        assert counters(folder / f"{TODAY}.jsonl") == list(range(1, 65))


async def test_a_read_only_disk_holds_everything(tmp_path):
    with tmpfs(tmp_path / "fixed", "ro,size=64k"):
        assert "the file system is read-only" in str(await unavailable(sink_in(tmp_path / "fixed")))


async def test_a_folder_that_is_missing_is_not_made(tmp_path):
    reason = await unavailable(sink_in(tmp_path / "stick"))
    assert str(reason) == f"{tmp_path / 'stick'}: the folder does not exist; make it, or mount what it is on"
    assert not (tmp_path / "stick").exists()


async def test_a_path_through_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    assert "is no folder; check path" in str(await unavailable(sink_in(tmp_path / "file")))


async def test_what_is_no_file_is_not_written_into(tmp_path):
    (tmp_path / f"{TODAY}.jsonl").mkdir()
    assert "it is a folder" in str(await unavailable(sink_in(tmp_path)))
    (tmp_path / f"{TODAY}.jsonl").rmdir()
    os.mkfifo(tmp_path / f"{TODAY}.jsonl")
    assert "is no file" in str(await unavailable(sink_in(tmp_path)))


async def test_a_file_that_another_program_writes_is_left_alone(tmp_path):
    with (tmp_path / f"{TODAY}.jsonl").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "is being written by another program" in str(await unavailable(sink_in(tmp_path)))
    await deliver(sink_in(tmp_path), records(1))


async def test_a_file_taken_away_under_way_is_begun_anew(tmp_path):
    path = tmp_path / f"{TODAY}.jsonl"
    async with sink_in(tmp_path).connect() as link:
        await link.deliver(records(3))
        path.rename(tmp_path / "archived")
        await link.deliver(records(3, 4))
        path.write_bytes(b"")  # as logrotate's copytruncate does
        await link.deliver(records(3, 7))
    assert counters(tmp_path / "archived") == [1, 2, 3]
    assert counters(path) == [7, 8, 9]


# --- the snapshot


async def test_the_snapshot_has_the_last_values_and_goes_on_over_restarts(tmp_path):
    where = tmp_path / "last.geojson"
    tags = {"latitude": "43.6119", "longitude": "3.8772"}
    await deliver(sink_in(tmp_path, geojson=where), records(3, tags=tags))
    first = where.stat().st_ino
    await deliver(sink_in(tmp_path, geojson=where), [record(9, name="moved", tags=tags,
                  heard=replace(HEARD, utc_us=HEARD.utc_us + 1_000_000))])  # fmt: skip
    [feature] = json.loads(where.read_bytes())["features"]
    assert feature["geometry"]["coordinates"] == [3.8772, 43.6119]
    assert feature["properties"]["name"] == "moved"
    assert where.stat().st_ino != first  # replaced whole, never written into
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_the_snapshot_is_written_while_the_gateway_runs(tmp_path):
    where = tmp_path / "last.geojson"
    async with sink_in(tmp_path, geojson=where, snapshot_s=0.05).connect() as link:
        await link.deliver(records(1))
        async with asyncio.timeout(10):
            while not where.exists():
                await asyncio.sleep(0.02)


async def test_a_snapshot_that_cannot_be_written_holds_no_reading(tmp_path, caplog):
    await deliver(sink_in(tmp_path, geojson=tmp_path / "nowhere" / "last.geojson"), records(2))
    assert counters(tmp_path / f"{TODAY}.jsonl") == [1, 2]
    assert "no snapshot" in caplog.text
