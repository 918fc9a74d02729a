"""The file destination on a real ext4 that loses power: what was confirmed is there, once, in whole lines."""

from __future__ import annotations

import json

import pytest
from contract_example import records
from mounts import ext4

from gateway.delivery.file import FileDestination, FileSink
from gateway.delivery.sink import SinkUnavailable


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_what_was_confirmed_outlives_the_power(quick_folder, form):
    with ext4(quick_folder / "disk", quick_folder / "image") as disk:
        sink = FileSink(FileDestination("files", disk.folder / f"readings.{form}", form))
        confirmed, position = 0, 1
        for _ in range(4):
            async with sink.connect() as link:
                for _ in range(5):
                    await link.deliver(records(16, position))
                    confirmed, position = position + 15, position + 16
                disk.cut_power()
                with pytest.raises(SinkUnavailable):
                    await link.deliver(records(16, position))
            disk.unmount()
            disk.mount()
            position = max(1, confirmed - 7)  # of the last batch, the gateway forgot half of what was confirmed
        async with sink.connect() as link:
            await link.deliver(records(16, position))
        content = (disk.folder / f"readings-2026-11-23.{form}").read_text()
    if form == "jsonl":
        found = [json.loads(line)["f_cnt"] for line in content.splitlines()]
    else:
        header, *rows = content.splitlines()
        found = [int(row.split(",")[1].rpartition("-")[2]) for row in rows]
        assert header.startswith("id,record_id,")
    assert found == list(range(1, position + 16))
