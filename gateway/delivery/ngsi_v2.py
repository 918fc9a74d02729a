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
- A broker that comes back with less than it had confirmed (an old snapshot) gets the last values again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from gateway.delivery.http_line import HttpLine, Unanswered, open_http
from gateway.delivery.ngsi_broker import Broker, halves, one_for_each, parcels_of
from gateway.delivery.ngsi_holdings import Holdings, Update, Words, by_entity
from gateway.delivery.ngsi_login import Credentials, Pass
from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.wire import ngsi_v2
from gateway.wire.fiware_models import Rules, gateway_observation, observations
from gateway.wire.http_answer import Answer
from gateway.wire.ngsi_v2 import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.delivery.ngsi_holdings import Attributes, Key, Parcel, Plan
    from gateway.model import GatewayEui, Record

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 20  # of a request: Orion's -inReqPayloadMaxSize, when nobody changed it
LEAST_BYTES: Final = 4_096  # what every proxy takes
READ_AT_ONCE: Final = 200
CANARIES: Final = 50  # entities whose state tells whether a broker has gone back in time
SUSPICIOUS_S: Final = 600.0  # so long a request without answer may still come to be carried out
STUMBLES: Final = 3  # so often a request may fail at a broker that takes others, before it is divided
FAREWELL_S: Final = 2.0
_JSON: Final = {"Content-Type": "application/json"}
_NOT_FOUND: Final = 404
_NO_QUERIES: Final = frozenset({400, 403, 404, 405, 501})
_NO_READING: Final = frozenset({403, 405, 501})

_NOTHING_TO_SAY: Final = Answer(204)
_TOO_MUCH_TO_SAY: Final = Answer(413)

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
    batch: int = 100  # readings in a request
    history_url: str | None = None  # of a store that takes notifications: QuantumLeap, Cygnus
    position: tuple[float, float] | None = None  # of the gateway: longitude, latitude
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

    def __init__(self, destination: NgsiV2Destination, *, most_entities: int | None = None) -> None:
        self.name = destination.name
        self.destination = destination
        self.let_in = Pass(destination.credentials)
        self.holdings = Holdings(WORDS) if most_entities is None else Holdings(WORDS, most_entities)
        self.most_bytes = MOST_BYTES
        self.suspects: dict[Key, float] = {}  # entities in requests without answer, and until when to look after them
        self.stumbles: dict[int, int] = {}  # first position of a request: how often the broker failed at it
        self.started = False  # before, another life of this gateway may have sent what comes first
        self.unclear: set[int] = set()  # positions that were sent, and not simply taken
        self.facts: Mapping[str, Any] = {"state": "online"}
        self.queries = True  # whether this broker lets many entities be read at once
        self.readable = True
        self.unwelcome: set[str] = set()  # said once

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


class NgsiV2Link:
    """An open connection to an Orion; a Link."""

    def __init__(self, sink: NgsiV2Sink, line: HttpLine, history: HttpLine | None) -> None:
        self._sink = sink
        self._orion = Broker(line, sink.let_in, sink.destination.headers)
        self._history = None if history is None else Broker(history, sink.let_in, sink.destination.headers)
        self._turn = asyncio.Lock()  # one request in flight: more would overtake each other
        self._proven = False  # whether this Orion has a database: without one it shows nothing, and says 200

    # --- what the drain asks for

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Send the batch; what Orion will never take is refused.

        SinkUnavailable when Orion, its database, its proxy or our login is in the way, and when there was no answer.
        """
        async with self._turn:
            parcels, refusals = parcels_of(batch, self._updates)
            names = {record.position: record.record_id for record in batch}
            done: list[int] = []
            size = self._sink.destination.batch
            try:
                for start in range(0, len(parcels), size):
                    part = parcels[start : start + size]
                    refusals += await self._send(part, names[part[0].position])
                    done += [parcel.position for parcel in part]
            except SinkUnavailable as reason:
                refused = {refusal.position for refusal in refusals}
                reason.acknowledged = tuple(position for position in done if position not in refused)
                raise
            self._sink.started = True
            return one_for_each(refusals)

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:  # noqa: ARG002
        """Keep the gateway's own Device up to date with a "status"; Orion has no place for other facts.

        It comes every minute, and so entities in doubt are looked after at the same time.
        """
        if topic != "status":
            return
        self._sink.facts = facts
        async with self._turn:
            answer = await self._write_gateway()
            if ngsi_v2.verdict(answer) is Verdict.REFUSED:
                if topic not in self._sink.unwelcome:
                    self._sink.unwelcome.add(topic)
                    log.warning("sink %s: the broker does not take the gateway's own Device: %s", self.name, answer)
            else:
                self._accept(answer)
            await self._look_after_suspects()

    async def lost(self) -> str:
        """Never: each request makes its own connection, or finds that it cannot."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def leave(self) -> None:
        """Say that the gateway is offline, if there is still somebody to say it to."""
        if not self._proven:
            return
        self._sink.facts = {**self._sink.facts, "state": "offline", "radio": None}
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._write_gateway()
        except (TimeoutError, SinkUnavailable) as reason:
            log.debug("sink %s: could not say that it is offline: %s", self.name, reason)

    @property
    def name(self) -> str:
        """The destination's name."""
        return self._sink.name

    # --- writing

    def _updates(self, record: Record) -> list[Update]:
        return [
            _update(record.position, ngsi_v2.entity_json(one), one.time_ms if one.dated else None)
            for one in observations(record.reading, self._sink.destination.rules)
        ]

    async def _send(self, parcels: Sequence[Parcel], name: str, *, stumbling: bool = False) -> list[Refusal]:
        """Send these until each is taken or refused. `stumbling`: a failing broker says the same of them as before."""
        positions = {parcel.position for parcel in parcels}
        plans = await self._plans(parcels)
        self._sink.unclear |= positions
        parts = halves(parcels)
        answer, verdict = await self._write(plans, name, divisible=bool(parts))
        if verdict is Verdict.TAKEN:
            answer, verdict = await self._tell_history(plans)
        if verdict is Verdict.TAKEN:
            for plan in plans:
                self._sink.holdings.keep(plan.key, plan.holds)
            self._sink.stumbles.clear()
            self._sink.unclear -= positions
            return []
        if verdict is Verdict.STUMBLED and (stumbling or self._stumbles_again(parcels)):
            await self._prove()
            stumbling = True
        elif verdict not in {Verdict.REFUSED, Verdict.TOO_LARGE}:
            raise self._orion.line.unavailable(answer)
        if not parts:
            await self._prove()
            self._sink.unclear -= positions
            return [Refusal(parcels[0].position, f"{parcels[0].updates[0].key[0]}: {answer}")]
        refusals = []
        for part in parts:
            refusals += await self._send(part, name, stumbling=stumbling)
        return refusals

    def _stumbles_again(self, parcels: Sequence[Parcel]) -> bool:
        """Whether the broker has failed at this so often that it may be the fault of one entity."""
        count = self._sink.stumbles.get(parcels[0].position, 0) + 1
        self._sink.stumbles = {parcels[0].position: count}
        return count > STUMBLES

    async def _write(self, plans: Sequence[Plan], name: str, *, divisible: bool) -> tuple[Answer, Verdict]:
        """What Orion answers to these, if there is anything to say. A size that it did not take is remembered."""
        entities = [_entity(plan.key, sent) for plan in plans for sent in plan.sent]
        if not entities:
            return _NOTHING_TO_SAY, Verdict.TAKEN
        body = ngsi_v2.update_bytes(entities)
        if divisible and len(body) > self._sink.most_bytes:
            return _TOO_MUCH_TO_SAY, Verdict.TOO_LARGE
        try:
            answer = await self._orion.ask("POST", "/v2/op/update", body, {**_JSON, "Fiware-Correlator": name})
        except Unanswered:
            until_s = asyncio.get_running_loop().time() + SUSPICIOUS_S
            self._sink.suspects |= dict.fromkeys((plan.key for plan in plans), until_s)
            raise
        verdict = ngsi_v2.verdict(answer)
        if verdict is Verdict.TAKEN:
            self._proven = True
        elif verdict is Verdict.TOO_LARGE:
            self._sink.most_bytes = max(min(self._sink.most_bytes, len(body) // 2), LEAST_BYTES)
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

    async def _prove(self) -> None:
        """Write what is sure to be right. If not even that is taken, nothing can be said against anything else."""
        answer = await self._write_gateway()
        self._accept(answer)

    def _accept(self, answer: Answer) -> None:
        if ngsi_v2.verdict(answer) is not Verdict.TAKEN:
            unavailable = self._orion.line.unavailable(answer)
            unavailable.alert = unavailable.alert or ngsi_v2.verdict(answer) is Verdict.REFUSED
            raise unavailable
        self._proven = True

    async def _write_gateway(self) -> Answer:
        destination = self._sink.destination
        now_ms = time.time_ns() // 1_000_000
        own = gateway_observation(destination.gateway_eui, self._sink.facts, now_ms, destination.position)
        return await self._orion.ask("POST", "/v2/op/update", ngsi_v2.update_bytes([ngsi_v2.entity_json(own)]), _JSON)

    # --- knowing what is there

    async def _plans(self, parcels: Sequence[Parcel]) -> list[Plan]:
        """What is to be sent of these, by entity, after a look at what Orion has where that is not known."""
        holdings = self._sink.holdings
        doubted = [one for one in parcels if not self._sink.started or one.position in self._sink.unclear]
        keys = {update.key for parcel in doubted for update in parcel.updates}
        keys |= {key for parcel in parcels for update in parcel.updates if (key := update.key) not in holdings}
        shown = await self._shown(sorted(keys))
        taken = holdings.taken(doubted, shown)
        for key in keys & shown.keys():
            holdings.keep(key, holdings.newest(holdings.get(key) or {}, shown[key]))
        groups = by_entity(update for one in parcels if one.position not in taken for update in one.updates)
        late_is_history = self._history is not None
        return [holdings.plan(group, shown.get(group[0].key), late_is_history=late_is_history) for group in groups]

    async def _shown(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        """What Orion shows of these; nothing (`{}`) of one that it does not have. Empty when it lets nobody read.

        An Orion without database shows nothing at all: that there is nothing is believed only after it took something.
        """
        if not keys or not self._sink.readable:
            return {}
        shown = await self._read(keys)
        missing = [key for key in keys if key not in shown]
        if missing and not self._proven:
            await self._prove()
            shown |= await self._read(missing)
        return {key: shown.get(key, {}) for key in keys} if self._sink.readable else {}

    async def _read(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        found: dict[Key, Attributes] = {}
        for start in range(0, len(keys), READ_AT_ONCE):
            part = keys[start : start + READ_AT_ONCE]
            several = await self._query(part) if self._sink.queries else None
            found |= await self._get(part) if several is None else several
        return found

    async def _query(self, keys: Sequence[Key]) -> dict[Key, Attributes] | None:
        """Many at once; None when this broker, or the proxy before it, does not let that be done."""
        answer = await self._orion.ask("POST", "/v2/op/query?limit=1000", ngsi_v2.query_bytes(keys), _JSON)
        if answer.status in _NO_QUERIES:
            log.info("sink %s: entities are read one by one, the broker answers a query with %s", self.name, answer)
            self._sink.queries = False
            return None
        return self._entities(answer)

    async def _get(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        found: dict[Key, Attributes] = {}
        for entity_id, entity_type in keys:
            path = f"/v2/entities/{quote(entity_id, safe='')}?type={quote(entity_type, safe='')}"
            answer = await self._orion.ask("GET", path)
            if answer.status in _NO_READING:
                log.warning("sink %s: this login may not read, so what was sent last is taken for the state", self.name)
                self._sink.readable = False
                return {}
            if answer.status != _NOT_FOUND or not ngsi_v2.error_of(answer):
                found |= self._entities(answer)
        return found

    def _entities(self, answer: Answer) -> dict[Key, Attributes]:
        if answer.status != 200:
            raise self._orion.line.unavailable(answer)
        try:
            entities = ngsi_v2.entities_of(answer.json())
        except ValueError:
            raise self._orion.line.unavailable(answer) from None
        return {(one["id"], one.get("type", "Thing")): ngsi_v2.attributes_of(one) for one in entities}

    async def compare(self) -> None:
        """Look whether Orion still has what it confirmed last; if not, give it the last known state of everything."""
        holdings = self._sink.holdings
        canaries = holdings.latest(CANARIES)
        if not canaries or not self._sink.readable:
            return
        shown = await self._read(canaries)
        if not any(key in shown and holdings.is_behind(key, shown[key]) for key in canaries):
            return
        log.warning(
            "sink %s: the broker shows older values than it has confirmed. It gets the last ones again; its history "
            "gets them with: lorawan-gateway sink resend %s --from T --to T", self.name, self.name,
        )  # fmt: skip
        await self._mend(holdings.keys())

    async def _look_after_suspects(self) -> None:
        """A request that was given up may still be carried out, minutes later, and undo what came after it."""
        suspects, now_s = self._sink.suspects, asyncio.get_running_loop().time()
        if suspects and self._sink.readable:
            await self._mend([*suspects], missing=False)
        self._sink.suspects = {key: until_s for key, until_s in suspects.items() if until_s > now_s}

    async def _mend(self, keys: Sequence[Key], *, missing: bool = True) -> None:
        holdings = self._sink.holdings
        for start in range(0, len(keys), READ_AT_ONCE):
            part = [key for key in keys[start : start + READ_AT_ONCE] if key in holdings]
            shown = await self._shown(part)
            lost = {
                key: mending
                for key in part
                if (missing or shown.get(key)) and (mending := holdings.mending(key, shown.get(key, {})))
            }
            if lost:
                entities = [_entity(key, attributes) for key, attributes in lost.items()]
                answer = await self._orion.ask("POST", "/v2/op/update", ngsi_v2.update_bytes(entities), _JSON)
                self._accept(answer)


def _update(position: int, entity: Attributes, time_ms: int | None) -> Update:
    key = (entity.pop("id"), entity.pop("type"))
    return Update(position, key, time_ms, entity)


def _entity(key: Key, attributes: Attributes) -> Attributes:
    return {"id": key[0], "type": key[1], **attributes}
