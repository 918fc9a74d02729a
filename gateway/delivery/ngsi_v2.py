"""Readings to Orion, the FIWARE context broker that speaks NGSI-v2.

Orion keeps what came last, tells its subscribers of every change, and gives one verdict for a whole request. So:

- One request at a time, and of each entity what was observed first goes first. Whatever is older than what Orion has
  goes together with what it must not undo: history gets the point, the state stays what it was. With a history store
  in the settings, such points go there instead.
- What Orion has is remembered, or read back: after a start, and after a request without answer, which may have done
  its work. What it shows to have taken is not sent again, because history would have it twice.
- A request that is refused is sent again in halves, until the one entity is found that cannot be; its record is parked
  with Orion's reason. Only what Orion itself says of the content parks anything, and only while it takes what is sure
  to be right; everything else is held (`ngsi_v2.verdict`).
- Where several gateways hear the same devices and `mark_for_s` is set, whoever marks a frame first delivers it
  (`ngsi_marks`). Others write to the same entities then, and what Orion has is read before every request.
- A broker that comes back with less than it had confirmed (an old snapshot) gets the last values again.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from gateway.delivery.http_line import HttpLine, Unanswered, open_http
from gateway.delivery.ngsi_broker import Broker, halves
from gateway.delivery.ngsi_commanding import CommandingV2
from gateway.delivery.ngsi_holdings import MOST_ENTITIES, Holdings, Update, Words
from gateway.delivery.ngsi_link import LEAST_BYTES, GatewayRefused, NgsiLink, Standing, forget
from gateway.delivery.ngsi_login import Credentials, Pass
from gateway.delivery.ngsi_marks import Marks
from gateway.delivery.ngsi_orders import OrderBook, Orders, keeper_of
from gateway.delivery.sink import Refusal
from gateway.wire import ngsi_v2
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.http_answer import Answer
from gateway.wire.ngsi_commands import V2
from gateway.wire.ngsi_v2 import Verdict
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.delivery.command_door import CommandDesk, Doorkeeper
    from gateway.delivery.ngsi_holdings import Attributes, Key, Parcel, Plan
    from gateway.model import DevEui, GatewayEui, Record, Stamp
    from gateway.wire.ngsi import Observation

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 20  # of a request: Orion's -inReqPayloadMaxSize, when nobody changed it
_UPDATE: Final = "/v2/op/update"
_JSON: Final = {"Content-Type": "application/json"}
_NOT_FOUND: Final = 404
_NO_READING: Final = frozenset({403, 405, 501})

_NOTHING_TO_SAY: Final = Answer(204)

WORDS: Final = Words(ngsi_v2.time_of, ngsi_v2.entity_time)


@dataclass(frozen=True, slots=True)
class NgsiV2Destination:
    """What the settings say of one `[sink.NAME]` of type ngsi-v2. ValueError, without secrets, for what cannot be."""

    name: str
    url: str  # http://host:1026
    gateway_eui: GatewayEui
    credentials: Credentials = field(default_factory=Credentials)
    service: str | None = None  # Fiware-Service: the tenant
    service_path: str = "/"
    rules: Rules = field(default_factory=Rules)
    orders: Orders = field(default_factory=Orders)  # commands that the broker may give
    batch: int = 100  # readings in a request
    history_url: str | None = None  # of a store that takes notifications: QuantumLeap, Cygnus
    mark_for_s: float | None = None  # so long a copy of a frame is known as one; None: nobody else delivers
    position: Callable[[], tuple[float, float] | None] = lambda: None  # of the gateway: longitude, latitude
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Check what can be checked without opening anything."""
        self.credentials.server(self.url, **self.credentials.basic)
        if self.history_url is not None:
            self.credentials.server(self.history_url)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Fiware-ServicePath": self.service_path} | (
            {"Fiware-Service": self.service} if self.service is not None else {}
        )

    @property
    def notify_url(self) -> str | None:
        """Where the history store takes notifications: QuantumLeap's path, unless the settings name one."""
        if self.history_url is None:
            return None
        bare = urlsplit(self.history_url).path in {"", "/"}
        return f"{self.history_url.rstrip('/')}/v2/notify" if bare else self.history_url


class NgsiV2Sink:
    """A Sink (`gateway.delivery.sink`) that is an Orion. It remembers from link to link what Orion has."""

    def __init__(self, destination: NgsiV2Destination, *, most_entities: int = MOST_ENTITIES) -> None:
        self.name = destination.name
        self.destination = destination
        self.let_in = Pass(destination.credentials)
        self.book = OrderBook(destination.name, destination.orders, destination.rules.entity_id, V2)
        self.standing = Standing(Holdings(WORDS, most_entities), MOST_BYTES)

    def doorkeeper(self) -> Doorkeeper | None:
        """Who takes notifications; nobody unless the broker is to tell."""
        return keeper_of(self.book)

    def obey(self, desk: CommandDesk, now: Callable[[], Stamp]) -> None:
        """Commands that stand in the broker go there."""
        self.book.obey(desk, now)

    async def forget(self, dev_eui: DevEui) -> Mapping[str, int]:
        """Forget what the broker has of a device."""
        forget(self.standing, self.destination.rules.names_of(str(dev_eui)))
        return {}

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[NgsiV2Link]:
        """A link to an Orion that has what it confirmed before; SinkUnavailable when there is none to be had."""
        destination = self.destination
        limits = {
            "connect_timeout_s": destination.connect_timeout_s,
            "answer_timeout_s": destination.answer_timeout_s,
            "most_answer_bytes": 16 << 20,
        }
        server = destination.credentials.server(destination.url, **destination.credentials.basic, **limits)
        async with contextlib.AsyncExitStack() as opened:
            line = await opened.enter_async_context(open_http(server))
            history = None
            if destination.notify_url is not None:
                history_server = destination.credentials.server(destination.notify_url, **limits)
                history = await opened.enter_async_context(open_http(history_server))
            link = NgsiV2Link(self, line, history)
            await link.compare()
            try:
                yield link
            finally:
                await link.leave()


class NgsiV2Link(NgsiLink):
    """An open connection to an Orion; a Link."""

    def __init__(self, sink: NgsiV2Sink, line: HttpLine, history: HttpLine | None) -> None:
        destination = sink.destination
        self._orion = Broker(line, sink.let_in, destination.headers)
        eui, book = destination.gateway_eui, sink.book
        super().__init__(
            sink.name,
            eui,
            sink.standing,
            batch=destination.batch,
            position=destination.position,
            alone=destination.mark_for_s is None,
            commanding=CommandingV2(sink.name, eui, self._orion, book) if book.is_open else None,
        )
        self._rules = destination.rules
        self._of_commands = book.reader.names
        self._history = None if history is None else Broker(history, sink.let_in, destination.headers)

        self._marks: Marks | None = None
        if destination.mark_for_s is not None:
            self._marks = Marks(self._orion, destination.gateway_eui, destination.mark_for_s)

    # --- writing

    async def _claimed(self, records: Sequence[Record]) -> set[int]:
        if self._marks is None:
            return {record.position for record in records}
        frame_ids = {record.position: self._rules.privacy.frame_id(record.reading) for record in records}
        ours = await self._marks.claim([*frame_ids.values()])
        return {position for position, frame_id in frame_ids.items() if frame_id in ours}

    def _updates(self, record: Record) -> list[Update]:
        return [
            _update(record.position, ngsi_v2.entity_json(one), one.time_ms if one.dated else None)
            for one in observations(record.reading, self._rules)
        ]

    async def _send(self, parcels: Sequence[Parcel], name: str, *, stumbling: bool = False) -> list[Refusal]:
        """Send these until each is taken or refused. `stumbling`: a failing broker says the same of them as before."""
        positions = {parcel.position for parcel in parcels}
        plans = await self._plans(parcels)
        parts = halves(parcels)
        written = {plan.key: [json_bytes(_entity(plan.key, sent)) for sent in plan.sent] for plan in plans}
        entities = [entity for several in written.values() for entity in several]
        body = ngsi_v2.update_bytes(entities) if entities else b""
        self._standing.heaviest = max(self._standing.heaviest, len(body) // len(parcels))
        if parts and len(body) > self._standing.most_bytes:
            return [refusal for part in parts for refusal in await self._send(part, name, stumbling=stumbling)]
        self._standing.unclear |= positions
        answer, verdict = await self._write(plans, body, name)
        if verdict is Verdict.TAKEN:
            answer, verdict = await self._tell_history(plans)
        if verdict is Verdict.TAKEN:
            for plan in plans:
                is_last = plan.sent and plan.sent[-1] is plan.holds
                self._standing.holdings.keep(plan.key, plan.holds, written[plan.key][-1] if is_last else None)
            self._written(plans)
            self._standing.stumbles.clear()
            self._standing.unclear -= positions
            return []
        if verdict is Verdict.STUMBLED and (stumbling or self._standing.stumbles_again(parcels[0].position)):
            await self._prove()
            stumbling = True
        elif verdict not in {Verdict.REFUSED, Verdict.TOO_LARGE}:
            raise self._orion.line.unavailable(answer)
        if not parts:
            await self._prove()
            self._standing.unclear -= positions
            return [Refusal(parcels[0].position, f"{parcels[0].updates[0].key[0]}: {answer}")]
        refusals = []
        for part in parts:
            refusals += await self._send(part, name, stumbling=stumbling)
        return refusals

    async def _plans(self, parcels: Sequence[Parcel]) -> list[Plan]:
        groups, shown = await self._grouped(parcels)
        plan, late_is_history = self._standing.holdings.plan, self._history is not None
        return [plan(group, shown.get(group[0].key), late_is_history=late_is_history) for group in groups]

    async def _write(self, plans: Sequence[Plan], body: bytes, name: str) -> tuple[Answer, Verdict]:
        """What Orion answers to these. A size that it did not take is remembered."""
        if not body:
            return _NOTHING_TO_SAY, Verdict.TAKEN
        try:
            answer = await self._orion.ask("POST", _UPDATE, body, {**_JSON, "Fiware-Correlator": name})
        except Unanswered:
            self._standing.suspect(plan.key for plan in plans)
            raise
        verdict = ngsi_v2.verdict(answer)
        if verdict is Verdict.TAKEN:
            self._proven = True
        elif verdict is Verdict.TOO_LARGE:
            self._standing.most_bytes = max(min(self._standing.most_bytes, len(body) // 2), LEAST_BYTES)
        return answer, verdict

    async def _tell_history(self, plans: Sequence[Plan]) -> tuple[Answer, Verdict]:
        entities = [_entity(plan.key, late) for plan in plans for late in plan.history]
        if self._history is None or not entities:
            return _NOTHING_TO_SAY, Verdict.TAKEN
        answer = await self._history.ask("POST", "", ngsi_v2.notification_bytes(entities), _JSON)
        verdict = ngsi_v2.history_verdict(answer)
        if verdict is Verdict.LATER:
            raise self._history.line.unavailable(answer)
        return answer, verdict

    async def _write_gateway(self, own: Observation) -> None:
        answer = await self._orion.ask("POST", _UPDATE, ngsi_v2.update_bytes([ngsi_v2.entity_json(own)]), _JSON)
        if ngsi_v2.verdict(answer) is Verdict.REFUSED:
            raise GatewayRefused(str(answer))
        self._accept(answer)

    async def _put(self, entities: Mapping[Key, Attributes]) -> None:
        body = ngsi_v2.update_bytes([_entity(key, attributes) for key, attributes in entities.items()])
        self._accept(await self._orion.ask("POST", _UPDATE, body, _JSON))

    def _accept(self, answer: Answer) -> None:
        if ngsi_v2.verdict(answer) is not Verdict.TAKEN:
            raise self._orion.line.unavailable(answer)
        self._proven = True

    # --- reading

    async def _query(self, keys: Sequence[Key]) -> dict[Key, Attributes] | None:
        answer = await self._orion.ask("POST", "/v2/op/query?limit=1000", ngsi_v2.query_bytes(keys), _JSON)
        if answer.status in ngsi_v2.NO_READING:
            log.info("sink %s: entities are read one by one, the broker answers a query with %s", self.name, answer)
            return None
        return self._entities(answer)

    async def _get(self, key: Key) -> Attributes | None:
        path = f"/v2/entities/{quote(key[0], safe='')}?type={quote(key[1], safe='')}"
        answer = await self._orion.ask("GET", path)
        if answer.status in _NO_READING:
            raise PermissionError(str(answer))
        if answer.status == _NOT_FOUND and ngsi_v2.error_of(answer):
            return None
        return self._entities(answer).get(key)

    def _entities(self, answer: Answer) -> dict[Key, Attributes]:
        if answer.status != 200:
            raise self._orion.line.unavailable(answer)
        try:
            entities = ngsi_v2.entities_of(answer.json())
        except ValueError:
            raise self._orion.line.unavailable(answer) from None
        return {
            (one["id"], one.get("type", "Thing")): {
                name: value for name, value in ngsi_v2.attributes_of(one).items() if name not in self._of_commands
            }
            for one in entities
        }


def _update(position: int, entity: Attributes, time_ms: int | None) -> Update:
    key = (entity.pop("id"), entity.pop("type"))
    return Update(position, key, time_ms, entity)


def _entity(key: Key, attributes: Attributes) -> Attributes:
    return {"id": key[0], "type": key[1], **attributes}
