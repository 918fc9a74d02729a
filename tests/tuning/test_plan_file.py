"""The file of the plan that was followed: written whole or not at all, and a bad one keeps nobody from hearing."""

from __future__ import annotations

import asyncio

import pytest

from gateway.tuning.plan_file import NAME, PlanFile
from gateway.tuning.tuner import Followed, Wish
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

CHANNELS = ChannelPlan(
    (PlannedChannel(868_100_000, 125_000, range(7, 13)), PlannedChannel(868_800_000, 125_000, range(0)))
)
FOLLOWED = Followed("city", "EU868", Wish(CHANNELS, "8a2f"))


async def kept(folder, followed, reached):
    """Let a file be kept until something is so."""
    plans = PlanFile(folder)
    keeping = asyncio.create_task(plans.keep(lambda: followed))
    plans.stir()
    async with asyncio.timeout(5):
        while not reached():
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_what_is_followed_is_there_after_a_restart(tmp_path):
    await kept(tmp_path, FOLLOWED, (tmp_path / NAME).exists)
    assert PlanFile(tmp_path).read() == FOLLOWED
    await kept(tmp_path, None, lambda: not (tmp_path / NAME).exists())
    assert PlanFile(tmp_path).read() is None


async def test_a_write_that_was_cut_off_leaves_what_was_there(tmp_path):
    await kept(tmp_path, FOLLOWED, (tmp_path / NAME).exists)
    (tmp_path / NAME).with_suffix(".new").write_text('{"server": "ci')
    assert PlanFile(tmp_path).read() == FOLLOWED


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", b"[" * 5000, b'{"server":"city","region":"EU868","version":"","channels":[]}']
)
def test_a_file_that_cannot_be_read_is_said_and_left_out(tmp_path, caplog, content):
    (tmp_path / NAME).write_bytes(content)
    assert PlanFile(tmp_path).read() is None
    assert "the radio begins with the channels of its region" in caplog.text


def test_no_file_is_nothing_to_talk_about(tmp_path, caplog):
    assert PlanFile(tmp_path).read() is None
    assert caplog.text == ""


async def test_a_disk_that_takes_nothing_is_said(tmp_path, caplog):
    missing = tmp_path / "not there"
    await kept(missing, FOLLOWED, lambda: "cannot be written" in caplog.text)
    assert list(tmp_path.iterdir()) == []
