"""Orders to the running daemon, over the control socket alone: `POST /orders/NAME` with facts as a JSON object.

The answer is one JSON object a line: `{"told": …}` about every second while the order is carried out, then
`{"answer": …}`, or `{"problem", "hint", "exit_code"}`. Whoever hangs up ends the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from aiohttp import web

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

TELL_S = 1.0
"""Between two signs of life of an order that takes long."""


class Orders(Protocol):
    """Whoever carries orders out."""

    async def order(self, name: str, facts: Mapping[str, Any], told: Callable[[Mapping[str, Any]], None], /) -> Any:
        """The answer in values of JSON; GatewayError when it cannot be done."""
        ...


class OrderDesk:
    """Takes orders and hands them on. Belongs on the control socket, which its owner alone may open."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Carry out one order, with signs of life."""
        facts = await _facts(request)
        latest: dict[str, Any] = {}
        work = asyncio.ensure_future(self._carried_out(request.match_info["name"], facts, latest.update))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
        try:
            await response.prepare(request)
            while not (await asyncio.wait({work}, timeout=TELL_S))[0]:
                await response.write(orjson.dumps({"told": latest}) + b"\n")
            await response.write(orjson.dumps(work.result()) + b"\n")
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        return response

    async def _carried_out(
        self, name: str, facts: Mapping[str, Any], told: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        try:
            return {"answer": await self._orders.order(name, facts, told)}
        except GatewayError as error:
            return {"problem": error.problem, "hint": error.hint, "exit_code": error.exit_code}
        except Exception as error:
            log.exception("the order %r failed", name)
            return {"problem": f"{name} failed: {error}", "hint": "journalctl -u lorawan-gateway", "exit_code": 1}


async def _facts(request: web.Request) -> dict[str, Any]:
    try:
        facts = orjson.loads(await request.read() or b"{}")
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"the facts of an order are a JSON object: {error}\n") from None
    if not isinstance(facts, dict):
        raise web.HTTPBadRequest(text="the facts of an order are a JSON object\n")
    return facts
