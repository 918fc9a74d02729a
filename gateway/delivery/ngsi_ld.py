"""Readings to an NGSI-LD broker: Orion-LD, Scorpio, Stellio.

Such a broker may merge what one request says several times of one entity, and no rule of the standard keeps a newer
value from an older one. So a request names each entity once, with the newest of everything; what else was observed goes
to the broker's history (`/temporal`), before the state moves on. A broker without one gets the observations one after
the other, each in a request of its own.

Answers come by entity (207): what was refused is parked with the broker's reason, once the broker has taken what is
sure to be right; what it does not mention was not taken.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gateway.delivery.http_line import HttpLine, Unanswered, open_http
from gateway.delivery.ngsi_broker import Broker
from gateway.delivery.ngsi_commanding import CommandingLd
from gateway.delivery.ngsi_holdings import MOST_ENTITIES, Holdings, Update, Words
from gateway.delivery.ngsi_link import LEAST_BYTES, GatewayRefused, NgsiLink, Standing, forget
from gateway.delivery.ngsi_login import Credentials, Pass
from gateway.delivery.ngsi_orders import OrderBook, Orders, keeper_of
from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.wire import ngsi_ld
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.ngsi_commands import LD
from gateway.wire.ngsi_ld import Context, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.delivery.command_door import CommandDesk, Doorkeeper
    from gateway.delivery.ngsi_holdings import Attributes, Key, Parcel, Plan
    from gateway.model import DevEui, GatewayEui, Record, Stamp
    from gateway.wire.http_answer import Answer
    from gateway.wire.ngsi import Observation

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 20
READ_BY_ID: Final = (
    40  # ids in one address: it has to stay below the 8,000 characters that servers take (RFC 9110, 4.1)
)
_BASE: Final = "/ngsi-ld/v1"
_UPSERT: Final = f"{_BASE}/entityOperations/upsert?options=update"  # without it, what is not named would vanish
_TEMPORAL: Final = f"{_BASE}/temporal/entities"
_NOT_FOUND: Final = 404
_FAILED: Final = 500
_NO_QUERIES: Final = frozenset({400, 403, 404, 405, 414, 501})
_NO_READING: Final = frozenset({403, 405, 501})

WORDS: Final = Words(ngsi_ld.time_of, ngsi_ld.entity_time)


@dataclass(frozen=True, slots=True)
class NgsiLdDestination:
    """What the settings say of one `[sink.NAME]` of type ngsi-ld. ValueError, without secrets, for what cannot be."""

    name: str
    url: str  # http://host:1026
    gateway_eui: GatewayEui
    credentials: Credentials = field(default_factory=Credentials)
    tenant: str | None = None  # NGSILD-Tenant
    service: str | None = None  # Fiware-Service, which Orion-LD takes as the same thing
    service_path: str = "/"
    context: Context = field(default_factory=Context)
    rules: Rules = field(default_factory=Rules)
    orders: Orders = field(default_factory=Orders)  # commands that the broker may give
    batch: int = 100  # readings at a time
    temporal: bool = True  # whether the broker has a history to write to
    history_url: str | None = None  # where that is, if somewhere else
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
        headers = {"Accept": "application/json, application/ld+json;q=0.5"}
        if self.tenant is not None:
            headers["NGSILD-Tenant"] = self.tenant
        if self.service is not None:
            headers["Fiware-Service"] = self.service
        if self.service_path != "/":
            headers["Fiware-ServicePath"] = self.service_path
        return headers


class NgsiLdSink:
    """A Sink (`gateway.delivery.sink`) that is an NGSI-LD broker. It remembers from link to link what that has."""

    def __init__(self, destination: NgsiLdDestination, *, most_entities: int = MOST_ENTITIES) -> None:
        self.name = destination.name
        self.destination = destination
        self.let_in = Pass(destination.credentials)
        self.book = OrderBook(destination.name, destination.orders, destination.rules.entity_id, LD)
        self.standing = Standing(Holdings(WORDS, most_entities), MOST_BYTES, temporal=destination.temporal)

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
    async def connect(self) -> AsyncIterator[NgsiLdLink]:
        """A link to a broker that has what it confirmed before; SinkUnavailable when there is none to be had."""
        destination = self.destination
        limits = {
            "connect_timeout_s": destination.connect_timeout_s,
            "answer_timeout_s": destination.answer_timeout_s,
            "most_answer_bytes": 16 << 20,
        }
        server = destination.credentials.server(destination.url, **destination.credentials.basic, **limits)
        async with contextlib.AsyncExitStack() as opened:
            line = history = await opened.enter_async_context(open_http(server))
            if destination.history_url is not None:
                history_server = destination.credentials.server(destination.history_url, **limits)
                history = await opened.enter_async_context(open_http(history_server))
            link = NgsiLdLink(self, line, history)
            await link.compare()
            try:
                yield link
            finally:
                await link.leave()


class NgsiLdLink(NgsiLink):
    """An open connection to an NGSI-LD broker; a Link."""

    def __init__(self, sink: NgsiLdSink, line: HttpLine, history: HttpLine) -> None:
        destination = sink.destination
        self._broker = Broker(line, sink.let_in, destination.headers)
        eui, book, context = destination.gateway_eui, sink.book, destination.context
        super().__init__(
            sink.name,
            eui,
            sink.standing,
            batch=destination.batch,
            position=destination.position,
            commanding=CommandingLd(sink.name, eui, self._broker, book, context) if book.is_open else None,
        )
        self._rules = destination.rules
        self._context = context
        self._of_commands = book.reader.names
        self._history = Broker(history, sink.let_in, destination.headers)
        self._stumbling = False  # the broker takes others and has failed at these too often: one of them is the cause

    # --- writing

    def _updates(self, record: Record) -> list[Update]:
        return [_update(record.position, one) for one in observations(record.reading, self._rules)]

    async def _send(self, parcels: Sequence[Parcel], name: str) -> list[Refusal]:
        """Send these; of an entity that is refused, each record by itself, so that one does not cost the others."""
        standing, first = self._standing, parcels[0].position
        positions = {parcel.position for parcel in parcels}
        groups, shown = await self._grouped(parcels)
        standing.unclear |= positions
        refused: dict[Key, str] = {}
        if standing.temporal:
            plans = [standing.holdings.current(group, shown.get(group[0].key)) for group in groups]
            refused |= await self._write_history(plans)
        if not standing.temporal:  # also when the broker has just said that it has none
            plans = [standing.holdings.plan(group, shown.get(group[0].key)) for group in groups]
        for turn in range(max((len(plan.sent) for plan in plans), default=0)):
            states = {plan.key: plan.sent[turn] for plan in plans if turn < len(plan.sent) and plan.key not in refused}
            refused |= await self._upsert(states, first)
        standing.stumbles.clear()
        stumbled, self._stumbling = self._stumbling, False
        for plan in plans:
            if plan.key in refused:
                standing.holdings.forget(plan.key)
            else:
                standing.holdings.keep(plan.key, plan.holds)
        standing.unclear -= positions
        return await self._refusals(parcels, refused, name, stumbled=stumbled) if refused else []

    async def _refusals(
        self, parcels: Sequence[Parcel], refused: Mapping[Key, str], name: str, *, stumbled: bool
    ) -> list[Refusal]:
        await self._prove()
        found = []
        for parcel in parcels:
            reason = next((f"{one.key[0]}: {refused[one.key]}" for one in parcel.updates if one.key in refused), None)
            if reason is None:
                continue
            if len(parcels) == 1:
                found.append(Refusal(parcel.position, reason))
            else:
                self._standing.unclear.add(parcel.position)
                self._stumbling = stumbled
                found += await self._send([parcel], name)
        return found

    async def _upsert(self, states: Mapping[Key, Attributes], first: int) -> dict[Key, str]:
        """Write these, of records from position `first` on; which of them are refused, and why."""
        if not states:
            return {}
        body = self._body([_entity(key, attributes) for key, attributes in states.items()])
        if len(body) > self._standing.most_bytes and len(states) > 1:
            return await self._halved(states, first)
        try:
            answer = await self._broker.ask("POST", _UPSERT, body, self._context.body_headers)
        except Unanswered:
            self._standing.suspect(states)
            raise
        verdict = ngsi_ld.verdict(answer)
        if verdict is Verdict.TAKEN:
            self._proven = True
            return {}
        if verdict is Verdict.MIXED:
            return await self._mixed(answer, states, first)
        if verdict is Verdict.TOO_LARGE:
            self._standing.most_bytes = max(min(self._standing.most_bytes, len(body) // 2), LEAST_BYTES)
        elif verdict is not Verdict.REFUSED:
            await self._stumble(answer, first)
        return await self._halved(states, first) if len(states) > 1 else {key: str(answer) for key in states}

    async def _stumble(self, answer: Answer, first: int) -> None:
        """Wait, unless the broker fails at these again and again, and at these only: then one of them is the cause."""
        if answer.status != _FAILED or not (self._stumbling or self._standing.stumbles_again(first)):
            raise self._unavailable(answer)
        await self._prove()
        self._stumbling = True

    async def _halved(self, states: Mapping[Key, Attributes], first: int) -> dict[Key, str]:
        items, middle = list(states.items()), len(states) // 2
        refused = await self._upsert(dict(items[:middle]), first)
        return refused | await self._upsert(dict(items[middle:]), first)

    async def _mixed(self, answer: Answer, states: Mapping[Key, Attributes], first: int) -> dict[Key, str]:
        """By entity: taken, refused, or not mentioned, which is asked about once more by itself."""
        try:
            results = ngsi_ld.results_of(answer, [key[0] for key in states])
        except (ValueError, KeyError):
            raise self._unavailable(answer) from None
        if results.passing:
            raise SinkUnavailable(f"{self._broker.line.server}: {results.passing}")
        self._proven = self._proven or bool(results.taken)
        refused = {key: results.refused[key[0]] for key in states if key[0] in results.refused}
        silent = [key for key in states if key[0] not in results.refused and key[0] not in results.taken]
        if len(states) == 1:
            return refused | dict.fromkeys(silent, f"the broker does not say that it took it: {answer}")
        for key in silent:
            refused |= await self._upsert({key: states[key]}, first)
        return refused

    async def _write_history(self, plans: Sequence[Plan]) -> dict[Key, str]:
        """Write what is history only; which entities are refused. `temporal` is over when there is no such thing."""
        refused: dict[Key, str] = {}
        for plan in plans:
            instances = ngsi_ld.temporal_json(plan.history)
            if not instances:
                continue
            answer = await self._write_instances(plan.key, instances)
            match ngsi_ld.verdict(answer):
                case Verdict.TAKEN:
                    continue
                case Verdict.UNKNOWN | Verdict.ABSENT:
                    self._standing.temporal = False
                    log.warning("sink %s: the broker has no history to write to: %s", self.name, answer)
                    return refused
                case Verdict.REFUSED | Verdict.TOO_LARGE:
                    refused[plan.key] = f"its history: {answer}"
                case _:
                    raise self._unavailable(answer, self._history)
        return refused

    async def _write_instances(self, key: Key, instances: Attributes) -> Answer:
        path, headers = f"{_TEMPORAL}/{quote(key[0], safe='')}/attrs", self._context.body_headers
        body = ngsi_ld.bytes_of(self._context.within(instances))
        answer = await self._history.ask("POST", path, body, headers)
        if ngsi_ld.verdict(answer) is not Verdict.ABSENT:
            return answer
        body = ngsi_ld.bytes_of(self._context.within(_entity(key, instances)))
        return await self._history.ask("POST", _TEMPORAL, body, headers)

    async def _write_gateway(self, own: Observation) -> None:
        update = _update(0, own)
        answer = await self._broker.ask(
            "POST", _UPSERT, self._body([_entity(update.key, update.attributes)]), self._context.body_headers
        )
        match ngsi_ld.verdict(answer):
            case Verdict.TAKEN:
                self._proven = True
            case Verdict.MIXED | Verdict.REFUSED:
                raise GatewayRefused(str(answer))
            case _:
                raise self._unavailable(answer)

    async def _put(self, entities: Mapping[Key, Attributes]) -> None:
        refused = await self._upsert(entities, 0)
        for key, reason in refused.items():
            log.warning("sink %s: %s cannot be made good: %s", self.name, key[0], reason)
            self._standing.holdings.forget(key)

    def _body(self, entities: Sequence[Attributes]) -> bytes:
        return ngsi_ld.bytes_of([self._context.within(entity) for entity in entities])

    def _unavailable(self, answer: Answer, broker: Broker | None = None) -> SinkUnavailable:
        line = (broker or self._broker).line
        if ngsi_ld.problem_of(answer) == "LdContextNotAvailable":
            words = f"{line.server}: it cannot fetch the @context, name one that it can reach: {answer}"
            return SinkUnavailable(words, retry_after_s=answer.retry_after_s, alert=True)
        return line.unavailable(answer)

    # --- reading

    async def _query(self, keys: Sequence[Key]) -> dict[Key, Attributes] | None:
        found: dict[Key, Attributes] = {}
        for entity_type in dict.fromkeys(key[1] for key in keys):
            ids = [key[0] for key in keys if key[1] == entity_type]
            for start in range(0, len(ids), READ_BY_ID):
                part = ",".join(quote(one, safe=":") for one in ids[start : start + READ_BY_ID])
                path = f"{_BASE}/entities?type={quote(entity_type, safe='')}&id={part}&limit={READ_BY_ID}"
                answer = await self._broker.ask("GET", path, headers=self._context.headers)
                if answer.status in _NO_QUERIES:
                    log.info("sink %s: entities are read one by one, the broker answers with %s", self.name, answer)
                    return None
                found |= self._entities(answer)
        return found

    async def _get(self, key: Key) -> Attributes | None:
        path = f"{_BASE}/entities/{quote(key[0], safe='')}"
        answer = await self._broker.ask("GET", path, headers=self._context.headers)
        if answer.status in _NO_READING:
            raise PermissionError(str(answer))
        if answer.status == _NOT_FOUND and ngsi_ld.problem_of(answer) == "ResourceNotFound":
            return None
        return self._entities(answer).get(key)

    def _entities(self, answer: Answer) -> dict[Key, Attributes]:
        if answer.status != 200:
            raise self._unavailable(answer)
        try:
            entities = ngsi_ld.entities_of(answer.json())
        except ValueError:
            raise self._unavailable(answer) from None
        return {
            (one["id"], entity_type): {
                name: value for name, value in ngsi_ld.attributes_of(one).items() if name not in self._of_commands
            }
            for one in entities
            for entity_type in ngsi_ld.types_of(one)
        }


def _update(position: int, one: Observation) -> Update:
    key = (ngsi_ld.entity_id(one), str(one.entity_type))
    return Update(position, key, one.time_ms if one.dated else None, ngsi_ld.attributes_json(one))


def _entity(key: Key, attributes: Attributes) -> Attributes:
    return {"id": key[0], "type": key[1], **attributes}
