"""The double of Orion answers as the real one did: 56 exchanges recorded on Orion 4.7.0-next.

Its MongoDB was replaced by an in-memory stand-in. Of the answers, Orion promises status, error and state; the words of
a description may change between versions, and are compared here because the double has no other.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import aiohttp
import pytest
from orion_double import Orion

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "orion-v2-observed.jsonl").read_text().splitlines()]


def body_of(name: str, request: dict) -> bytes | io.BytesIO | None:
    """The bytes that were sent; those of the request beyond the limit were not kept, only how many there were."""
    if name == "over-1-MiB":
        return io.BytesIO(b" " * 2_124_928)
    if "rawBody" in request:
        return request["rawBody"].encode()
    return json.dumps(request["body"]).encode() if "body" in request else None


async def chunks(body: bytes):
    yield body


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
async def test_each_recorded_exchange_is_answered_as_it_was(case):
    orion = Orion()
    await orion.start()
    try:
        async with aiohttp.ClientSession(orion.url) as session:
            for step in case["steps"]:
                request, expected = step["request"], step["response"]
                before, body = len(orion.told), body_of(case["name"], request)
                async with session.request(
                    request["method"],
                    request["path"],
                    params=request.get("query"),
                    headers=request["headers"],
                    data=chunks(body) if request.get("chunked") else body,
                ) as answer:
                    content = await answer.read()
                    assert answer.status == expected["status"]
                    assert answer.headers.get("Location") == expected.get("location")
                    assert answer.headers.get("Fiware-Correlator") == expected.get("fiwareCorrelator")
                    assert (json.loads(content) if content else None) == expected.get("body")
                if "notifications" in step:
                    assert [[one] for one in orion.told[before:]] == step["notifications"]
    finally:
        await orion.stop()


def test_all_cases_are_here():
    assert len({case["name"] for case in RECORDED}) == 56
