"""The commands of one open connection to a context broker: asked for, subscribed to, results written back."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gateway.delivery.ngsi_orders import LOOK_AFTER_S, SUBSCRIBE, OrderBook, named
from gateway.delivery.sink import SinkUnavailable
from gateway.errors import GatewayError
from gateway.model import DevEui
from gateway.wire import ngsi_commands, ngsi_ld, ngsi_v2
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from gateway.delivery.ngsi_broker import Broker
    from gateway.model import GatewayEui
    from gateway.wire.http_answer import Answer
    from gateway.wire.ngsi_ld import Context

    Json = dict[str, Any]

log = logging.getLogger(__name__)

PAGE: Final = 100
MOST_ENTITIES: Final = 10_000
_NOT_FOR_US: Final = frozenset({400, 403, 404, 405, 501})
_BASE: Final = "/ngsi-ld/v1"
_JSON: Final = {"Content-Type": "application/json"}


class Commanding(ABC):
    """What both versions have in common."""

    def __init__(self, sink: str, gateway_eui: GatewayEui, broker: Broker, book: OrderBook) -> None:
        self._sink = sink
        self._broker = broker
        self._book = book
        self._name = named(gateway_eui, sink)
        self._said: set[str] = set()

    async def run(self, turn: asyncio.Lock) -> None:
        """Ask for commands, see to the subscription, report; for as long as the connection holds.

        `turn` is held for every request that writes: it may not come between the readings of an entity.
        """
        orders, wake, loop = self._book.orders, self._book.wake, asyncio.get_running_loop()
        every_s = LOOK_AFTER_S if orders.mode == SUBSCRIBE else orders.interval_s
        while True:
            until_s = loop.time() + (every_s if await self._without_harm(self._look()) else orders.interval_s)
            while (left_s := until_s - loop.time()) > 0:
                wake.clear()
                await self._without_harm(self._report_all(turn))
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await wake.wait()

    async def _look(self) -> None:
        orders = self._book.orders
        if orders.mode == SUBSCRIBE:
            await self._see_to_subscription()
        for name in orders.attributes:
            await self._book.carry_out(await self._standing(name))

    async def _report_all(self, turn: asyncio.Lock) -> None:
        while self._book.reports:
            dev_eui, attribute, facts = self._book.reports[0]
            await self._report(turn, dev_eui, attribute, facts)
            self._book.reports.popleft()

    async def _without_harm(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it could be done. A broker that shows nothing may still take readings: commands never end a link."""
        try:
            await work
        except SinkUnavailable as reason:
            self._say("asking", f"cannot be asked for commands just now, it is tried again: {reason}")
            return False
        self._said.discard("asking")
        return True

    async def result(self, turn: asyncio.Lock, dev_eui: str, facts: Mapping[str, Any]) -> None:
        """Write what became of a downlink, if it was asked for here. SinkUnavailable when the broker is away."""
        attribute = self._book.reader.attribute_of(facts.get("ref"))
        if attribute is not None:
            await self._report(turn, DevEui.parse(dev_eui), attribute, facts)

    async def _report(self, turn: asyncio.Lock, dev_eui: DevEui, attribute: str, facts: Mapping[str, Any]) -> None:
        entity_id = self._book.entity_of(str(facts.get("ref")), dev_eui)
        async with turn:
            answer = await self._write(entity_id, attribute, facts)
        if answer.status in _NOT_FOR_US or answer.status in {413, 422}:
            self._say(f"result {answer.status}", f"does not take the results of commands: {answer}")
        elif not answer.ok:
            raise self._broker.line.unavailable(answer)

    async def _standing(self, name: str) -> list[Json]:
        """The entities in which this command stands."""
        found: list[Json] = []
        while len(found) < MOST_ENTITIES:
            answer = await self._broker.ask("GET", self._path(name, len(found)), headers=self._headers)
            if answer.status in _NOT_FOR_US:
                self._say("reading", f"cannot be asked for commands: {answer}")
                return []
            try:
                page = answer.json() if answer.status == 200 else None
            except ValueError:
                page = None
            if not isinstance(page, list):
                raise self._broker.line.unavailable(answer)
            found += page
            if len(page) < PAGE:
                return found
        self._say("many", f"has the command {name} in more than {MOST_ENTITIES} entities, the rest is left out")
        return found

    async def _see_to_subscription(self) -> None:
        """One subscription, as it is wanted now; more of our name are taken away."""
        orders = self._book.orders
        assert orders.notify_url is not None
        assert orders.token is not None
        try:
            token = (await asyncio.to_thread(orders.token)).strip()
        except (OSError, ValueError, GatewayError) as error:
            self._say("token", f"is not subscribed to, the token cannot be read: {error}")
            return
        wanted = self._wanted(orders.attributes, orders.notify_url, token)
        ours = [one for one in await self._subscriptions() if self._is_ours(one)]
        kept = False
        for one in ours:
            if not kept and self._book.told_token == token and ngsi_commands.is_as_wanted(one, wanted):
                kept = True
                continue
            await self._broker.ask("DELETE", f"{self._place}/{quote(str(one.get('id')), safe=':')}")
        if not kept:
            answer = await self._broker.ask("POST", self._place, json_bytes(wanted), self._body_headers)
            if answer.ok:
                self._book.told_token = token
                log.info("sink %s: subscribed to commands", self._sink)
                self._said.discard("subscribing")
            else:
                self._say("subscribing", f'takes no subscription: {answer}; commands = "poll" needs none')

    async def _subscriptions(self) -> list[Json]:
        found: list[Json] = []
        while True:
            answer = await self._broker.ask("GET", f"{self._place}?limit={PAGE}&offset={len(found)}")
            try:
                page = answer.json() if answer.status == 200 else None
            except ValueError:
                page = None
            if not isinstance(page, list):
                if answer.status in _NOT_FOR_US:
                    return found
                raise self._broker.line.unavailable(answer)
            found += [one for one in page if isinstance(one, dict)]
            if len(page) < PAGE:
                return found

    def _say(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning("sink %s: the broker %s", self._sink, words)

    # --- what each version has its own words for

    _place: str  # of subscriptions
    _headers: Mapping[str, str]
    _body_headers: Mapping[str, str]

    @abstractmethod
    def _path(self, name: str, offset: int) -> str:
        """Where entities with this attribute are shown."""

    @abstractmethod
    async def _write(self, entity_id: str, attribute: str, facts: Mapping[str, Any]) -> Answer:
        """Write a result."""

    @abstractmethod
    def _wanted(self, attributes: tuple[str, ...], url: str, token: str) -> Json:
        """The subscription."""

    @abstractmethod
    def _is_ours(self, subscription: Json) -> bool:
        """Whether a subscription is of this gateway and destination."""


class CommandingV2(Commanding):
    """In NGSI-v2."""

    _place = "/v2/subscriptions"
    _headers: Mapping[str, str] = {}
    _body_headers = _JSON

    def _path(self, name: str, offset: int) -> str:
        attributes = quote(f"{name},{name}{ngsi_commands.INFO}", safe=",")
        return (
            f"/v2/entities?type={ngsi_commands.DEVICE}&q={quote(name, safe='')}&attrs={attributes}"
            f"&metadata=dateModified,{ngsi_v2.TIME}&limit={PAGE}&offset={offset}"
        )

    async def _write(self, entity_id: str, attribute: str, facts: Mapping[str, Any]) -> Answer:
        entity = ngsi_commands.result_v2(entity_id, attribute, facts, self._book.now_ms())
        return await self._broker.ask("POST", "/v2/op/update", ngsi_v2.update_bytes([entity]), _JSON)

    def _wanted(self, attributes: tuple[str, ...], url: str, token: str) -> Json:
        return ngsi_commands.subscription_v2(self._name, attributes, url, token)

    def _is_ours(self, subscription: Json) -> bool:
        return bool(subscription.get("description") == self._name)


class CommandingLd(Commanding):
    """In NGSI-LD."""

    _place = f"{_BASE}/subscriptions"

    def __init__(self, sink: str, gateway_eui: GatewayEui, broker: Broker, book: OrderBook, context: Context) -> None:
        super().__init__(sink, gateway_eui, broker, book)
        self._context = context
        self._headers = context.headers
        self._body_headers = context.body_headers

    def _path(self, name: str, offset: int) -> str:
        attributes = quote(f"{name},{name}{ngsi_commands.INFO}", safe=",")
        return (
            f"{_BASE}/entities?type={ngsi_commands.DEVICE}&q={quote(name, safe='')}&attrs={attributes}"
            f"&options=sysAttrs&limit={PAGE}&offset={offset}"
        )

    async def _write(self, entity_id: str, attribute: str, facts: Mapping[str, Any]) -> Answer:
        entity = ngsi_commands.result_ld(entity_id, attribute, facts, self._book.now_ms())
        body = ngsi_ld.bytes_of([self._context.within(entity)])
        path = f"{_BASE}/entityOperations/upsert?options=update"
        return await self._broker.ask("POST", path, body, self._context.body_headers)

    def _wanted(self, attributes: tuple[str, ...], url: str, token: str) -> Json:
        return self._context.within(ngsi_commands.subscription_ld(self._name, attributes, url, token))

    def _is_ours(self, subscription: Json) -> bool:
        return bool(subscription.get("subscriptionName") == self._name)
