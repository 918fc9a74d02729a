"""What goes wrong at a platform for hours, through the drain: held, in order, asked again at the right moments.

Sockets are real, time is not: both ends are in this process, so that what is sent is there at once.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from contract_example import GATEWAY_EUI, record
from fakes import MemoryOutbox, stamp_now
from http_servers import Asked, HttpDouble
from patience import Pending, run_patiently

from gateway import parts
from gateway.delivery.drain import Drain
from gateway.model import Decoded, DevEui, Measurement
from gateway.settings import load_for_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR_S = 3600.0


@dataclass
class Platform:
    """An endpoint that is any of the three, and takes what it is sent except while `answers` says otherwise."""

    answers: Callable[[float], web.Response | None]
    came: list[tuple[float, int]] = field(default_factory=list)  # of requests that carry readings: when, and the answer
    levels: list[float] = field(default_factory=list)

    def handle(self, asked: Asked) -> web.Response:
        """Answer a request."""
        said = json.loads(asked.body) if asked.body else None
        if asked.path.startswith(("/v2/op/query", "/ngsi-ld/v1/entities?")):
            return web.json_response([])
        if asked.method != "POST" or "lorawan-gateway" in asked.body.decode():
            return web.Response(status=204)
        now_s = asyncio.get_running_loop().time()
        answer = self.answers(now_s)
        self.came.append((now_s, 204 if answer is None else answer.status))
        if answer is None:
            self.levels += _levels(said)
        return web.Response(status=204) if answer is None else answer


def _levels(said: Any) -> list[float]:
    entities = said["entities"] if isinstance(said, dict) else said
    in_ngsi = [one["fillingLevel"]["value"] for one in entities if "fillingLevel" in one]
    return in_ngsi or [one["measurements"][0]["value"] / 100 for one in entities if "measurements" in one]


KINDS = {
    "ngsi-v2": 'type = "ngsi-v2"\n',
    "ngsi-ld": 'type = "ngsi-ld"\ntemporal = false\n',
    "webhook": 'type = "webhook"\n',
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def story_of(tmp_path: Path, kind: str, platform: Platform, *, until_s: float) -> MemoryOutbox:
    """Twelve frames of a container wait, then one comes every ten minutes, until the time given."""
    outbox = MemoryOutbox()
    outbox.subscribe("city")

    async def told() -> None:
        async with HttpDouble(platform.handle) as server:
            path = tmp_path / "gateway.toml"
            path.write_text(f'[sink.city]\nurl = "{server.url}"\nbatch = 5\nlive_first = false\n{kind}')
            ((sink, manners),) = parts.sinks(load_for_run(path), GATEWAY_EUI, lambda: None)
            manners = replace(manners, backlog_per_s=100_000, backlog_delay_s=0)
            for _ in range(12):
                _hear(outbox)
            drain = Drain(outbox, sink, manners, now=stamp_now, facts=dict, rng=random.Random(1))
            running = asyncio.create_task(drain.run())
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(600)
                _hear(outbox)
            while outbox.progress("city").queued(outbox.head):
                await asyncio.sleep(0.1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_patiently(told(), Pending())
    return outbox


def _hear(outbox: MemoryOutbox) -> None:
    number, heard = outbox.head + 1, stamp_now()
    reading = record(
        number,
        f_cnt=number,
        frame_id=f"{number:032x}",
        dev_eui=DevEui(bytes(7) + b"\x01"),
        heard=replace(heard, utc_us=heard.utc_us + number * 1000),
        decoded=Decoded("a/b@1", {}, (Measurement("fill_level", float(number), "%"),)),
    ).reading
    outbox.put(reading)


def in_order(platform: Platform, outbox: MemoryOutbox) -> bool:
    return list(dict.fromkeys(platform.levels)) == [number / 100 for number in range(1, outbox.head + 1)]


@every_kind
def test_an_hour_of_503_costs_patience_only(tmp_path, kind):
    platform = Platform(lambda now_s: web.Response(status=503, text="overloaded") if now_s < HOUR_S else None)
    outbox = story_of(tmp_path, kind, platform, until_s=HOUR_S)
    assert outbox.dead_letters == []
    assert in_order(platform, outbox)
    refused = [when for when, status in platform.came if status == 503]
    assert 40 < len(refused) < 400  # every 30 s at most, and not at a run


@every_kind
def test_a_platform_that_says_when_to_come_again_is_left_alone_until_then(tmp_path, kind):
    def busy(now_s: float) -> web.Response | None:
        return web.Response(status=429, headers={"Retry-After": "300"}) if now_s < HOUR_S else None

    platform = Platform(busy)
    outbox = story_of(tmp_path, kind, platform, until_s=HOUR_S)
    assert outbox.dead_letters == []
    assert in_order(platform, outbox)
    refused = [when for when, status in platform.came if status == 429]
    assert 5 < len(refused) <= 12
    assert all(later - earlier > 299 for earlier, later in pairwise(refused))


@every_kind
@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Sign in</html>", content_type="text/html"),
        lambda: web.Response(status=401),
        lambda: web.Response(status=403, text="not here any more"),  # a service path renamed behind a proxy
        lambda: web.Response(status=404, text="<html>404</html>", content_type="text/html"),
    ],
    ids=["a portal", "401", "403", "404"],
)
def test_what_a_person_has_to_mend_is_held_until_they_did(tmp_path, kind, answer):
    platform = Platform(lambda now_s: answer() if now_s < 600 else None)
    outbox = story_of(tmp_path, kind, platform, until_s=600)
    assert outbox.dead_letters == []
    assert in_order(platform, outbox)


@every_kind
def test_what_is_too_large_for_a_proxy_goes_in_pieces(tmp_path, kind):
    platform = Platform(lambda _: None)
    taken = platform.handle

    def small_only(asked: Asked) -> web.Response:
        # A record in NGSI has two entities of about a kilobyte, a reading half of one.
        most = 1_500 if kind == KINDS["webhook"] else 6_000
        return web.Response(status=413, text="<html>too large</html>") if len(asked.body) > most else taken(asked)

    platform.handle = small_only  # type: ignore[method-assign]
    outbox = story_of(tmp_path, kind, platform, until_s=600)
    assert outbox.dead_letters == []
    assert in_order(platform, outbox)
