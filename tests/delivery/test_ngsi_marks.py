"""Several gateways hear the same devices and write to one Orion: each frame once, and the newest stands there."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from ngsi_readings import Carrier, level
from orion_double import Orion

from gateway.delivery.ngsi_v2 import NgsiV2Destination, NgsiV2Sink
from gateway.delivery.sink import SinkUnavailable
from gateway.model import GatewayEui
from gateway.wire.ngsi import date_text
from gateway.wire.ngsi_v2 import MARK, frame_of_mark, mark_id

pytestmark = pytest.mark.usefixtures("quiet_loop")

GATEWAYS = [GatewayEui.parse(f"0016c001ff10a23{number}") for number in range(3)]
BIN = "urn:ngsi-ld:WasteContainer:0000000000000001"


@pytest.fixture
async def orion():
    broker = Orion()
    await broker.start()
    yield broker
    await broker.stop()


def sink_at(orion: Orion, number: int = 0, **options) -> NgsiV2Sink:
    options = {"answer_timeout_s": 0.3, "mark_for_s": 86_400.0, "batch": 8, **options}
    return NgsiV2Sink(NgsiV2Destination(f"city-{number}", orion.url, GATEWAYS[number], **options))


def heard_by(number: int, frame: int, percent: float, device: int = 1):
    """A container's reading as a gateway has it: at its own position, a little later on those farther away."""
    one = level(frame, frame, percent, device)
    heard = replace(one.reading.heard, utc_us=one.reading.heard.utc_us + number * 2_000)
    return replace(one, gateway_eui=GATEWAYS[number], position=frame, reading=replace(one.reading, heard=heard))


async def deliver(sink, batch):
    async with sink.connect() as link:
        return await link.deliver(batch)


def told(orion: Orion, entity_id: str = BIN) -> list[float]:
    """The levels that subscribers were told, in order."""
    return [one["fillingLevel"]["value"] for one in orion.told if one["id"] == entity_id]


def stands(orion: Orion, entity_id: str = BIN) -> float:
    return orion.entities.state(entity_id)["fillingLevel"]["value"]


async def test_what_three_gateways_hear_at_once_is_told_once(orion):
    heard = [[heard_by(number, frame, frame, frame % 4 + 1) for frame in range(1, 81)] for number in range(3)]
    await asyncio.gather(*(Carrier().carry(sink_at(orion, number), heard[number]) for number in range(3)))
    levels = [level for device in range(1, 5) for level in told(orion, f"{BIN[:-1]}{device}")]
    assert sorted(set(levels)) == [frame / 100 for frame in range(1, 81)]
    for device in range(1, 5):
        assert stands(orion, f"{BIN[:-1]}{device}") == max(told(orion, f"{BIN[:-1]}{device}"))
    marks = {key[2]: one for key, one in orion.entities.kept.items() if key[3] == MARK}
    assert {frame_of_mark(entity_id) for entity_id in marks} == {f"{frame:032x}" for frame in range(1, 81)}
    owners = [one["gatewayEui"]["value"] for one in marks.values()]
    devices = [one for one in orion.told if one["type"] == "Device" and "loraFCnt" in one]
    assert len({one["loraFCnt"]["value"] for one in devices}) == 80
    assert set(owners) <= set(map(str, GATEWAYS))


async def test_who_comes_second_leaves_it_and_counts_it_as_delivered(orion):
    assert await deliver(sink_at(orion, 0), [heard_by(0, frame, frame) for frame in (1, 2)]) == []
    before = len(orion.updates)
    assert await deliver(sink_at(orion, 1), [heard_by(1, frame, frame) for frame in (1, 2)]) == []
    assert told(orion) == [0.01, 0.02]
    sent = [seen.entities for seen in orion.updates[before:] if b"WasteContainer" in seen.body]
    assert sent == []


async def test_what_only_the_second_heard_is_history_and_undoes_nothing(orion):
    first, second = sink_at(orion, 0), sink_at(orion, 1)
    assert await deliver(second, [heard_by(1, 1, 10)]) == []
    assert await deliver(first, [heard_by(0, frame, 10 * frame) for frame in (2, 4)]) == []
    # The second knows of 1 only; 3 is newer than that and older than what stands there.
    assert await deliver(second, [heard_by(1, frame, 10 * frame) for frame in (2, 3, 4)]) == []
    assert stands(orion) == 0.4
    assert set(told(orion)) == {0.1, 0.2, 0.3, 0.4}
    assert orion.entities.state(BIN)["TimeInstant"]["value"] == date_text(
        heard_by(0, 4, 0).reading.heard.utc_us // 1000
    )


async def test_a_gateway_stopped_between_mark_and_delivery_delivers_when_it_is_back(orion):
    orion.trouble("drop")
    stopped = sink_at(orion, 0)
    with pytest.raises(SinkUnavailable):
        await deliver(stopped, [heard_by(0, 1, 10)])
    assert await deliver(sink_at(orion, 1), [heard_by(1, 1, 10)]) == []
    assert told(orion) == []
    assert await deliver(sink_at(orion, 0), [heard_by(0, 1, 10)]) == []  # another life of it, that remembers nothing
    assert told(orion) == [0.1]


async def test_an_unanswered_mark_is_found_to_be_our_own(orion):
    lost = []

    def lose_the_first_mark(request: web.Request) -> str | None:
        is_mark = request.path == "/v2/op/update" and "Fiware-Correlator" not in request.headers
        if is_mark and orion.seen[-1].body.find(MARK.encode()) > 0 and not lost:
            lost.append(request)
            return "lost"
        return None

    orion.always = lose_the_first_mark
    carrier = Carrier()
    await carrier.carry(sink_at(orion), [heard_by(0, 1, 10)])
    assert len(carrier.reasons) == 1
    assert told(orion) == [0.1]


async def test_who_wrote_between_our_reading_and_our_writing_is_mended_within_the_minute(orion):
    first, second = sink_at(orion, 0), sink_at(orion, 1)
    assert await deliver(first, [heard_by(0, 1, 10)]) == []
    async with first.connect() as quick:
        between = []

        def the_quick_one_writes(request: web.Request) -> None:
            if "Fiware-Correlator" in request.headers and not between:
                between.append(request)
                orion.entities.update("", "/", json.loads(quick_body), set())

        quick_body = await _body_of(first, orion, heard_by(0, 3, 30))
        orion.always = the_quick_one_writes
        assert await deliver(second, [heard_by(1, 2, 20)]) == []
        orion.always = lambda _: None
        assert stands(orion) == 0.2  # undone
        await quick.announce("status", {"state": "online"})
    assert stands(orion) == 0.3


async def _body_of(sink: NgsiV2Sink, orion: Orion, one) -> bytes:
    """What a sink writes of a record, which Orion then forgets."""
    kept, told_before = orion.snapshot(), len(orion.told)
    assert await deliver(sink, [one]) == []
    (seen,) = [seen for seen in orion.updates[-4:] if b"fillingLevel" in seen.body]
    orion.restore(kept)
    del orion.told[told_before:]
    return seen.body


async def test_an_orion_that_takes_no_marks_is_told_and_gets_nothing(orion):
    def refuse_marks(request: web.Request) -> web.Response | None:
        if orion.seen[-1].body.find(MARK.encode()) > 0 and request.path == "/v2/op/update":
            return web.json_response({"error": "BadRequest", "description": "no such type here"}, status=400)
        return None

    orion.always = refuse_marks
    with pytest.raises(SinkUnavailable, match="takes no marks of frames: 400") as caught:
        await deliver(sink_at(orion), [heard_by(0, 1, 10)])
    assert caught.value.alert
    assert told(orion) == []


async def test_a_login_that_may_not_read_is_an_alert_where_others_write(orion):
    orion.queries = False
    orion.always = lambda request: web.Response(status=403) if request.method == "GET" else None
    sink = sink_at(orion)
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match='copies = "home"') as caught:
            await deliver(sink, [heard_by(0, 1, 10)])
        assert caught.value.alert


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_mark_shows_its_frame(frame_id):
    assert frame_of_mark(mark_id(frame_id)) == frame_id
