"""Commands that stand in a context broker: asked for, or told by it; carried out once; results written back.

`poll` asks the broker every so often which commands there are. It is how a gateway behind NAT is commanded, and what
works everywhere, so it is the way to begin with. `subscribe` has the broker tell the gateway at once, for which it must
reach the gateway's door (`command_door.py`); it asks, too, though seldom, for what was told while nobody listened, and
sees to it that the subscription is there: a broker restarted from an old snapshot has forgotten it.

A command is not carried out when it is older than `max_age_s`, whatever came between: a valve that was told to open in
spring does not open in autumn. Within that time the queue remembers what it was asked, over restarts too.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.command_door import Reply
from gateway.errors import GatewayError, StorageError, UsageError
from gateway.model import UNDATED, DownlinkState
from gateway.wire.ngsi_commands import CommandReader, NgsiCommand, Words, asked, notified
from gateway.wire.own_downlink import NoDownlink, downlink_result_json
from gateway.wire.own_json import json_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.delivery.command_door import CommandDesk, Knock
    from gateway.model import DevEui, Stamp

log = logging.getLogger(__name__)

OFF, POLL, SUBSCRIBE = "off", "poll", "subscribe"
MOST_AHEAD_S: Final = 300.0  # of a broker's clock
LOOK_AFTER_S: Final = 300.0  # a subscription: whether it is still there
_MOST_SEEN: Final = 10_000
_MOST_REPORTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Orders:
    """What the settings say of commands from a broker."""

    mode: str = OFF
    attributes: tuple[str, ...] = ("downlink",)
    interval_s: float = 30.0
    max_age_s: float = 3_600.0
    notify_url: str | None = None  # of our door, as the broker reaches it; ends with /commands/SINK
    token: Callable[[], str] | None = None  # that the broker shows at our door
    only_tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check."""
        if self.mode == SUBSCRIBE and (self.notify_url is None or self.token is None):
            raise ValueError("a subscription needs an address to tell, and a token to be known by")


class OrderBook:
    """The commands of one broker, over all links; a `command_door.Doorkeeper`."""

    def __init__(self, sink: str, orders: Orders, entity_id: str, words: Words) -> None:
        self.orders = orders
        self.reader = CommandReader(sink, entity_id, orders.attributes, words)
        self.reports: deque[tuple[DevEui, str, Mapping[str, Any]]] = deque(maxlen=_MOST_REPORTS)
        self.wake = asyncio.Event()
        self._sink = sink
        self._desk: CommandDesk | None = None
        self._now: Callable[[], Stamp] | None = None
        self._seen: OrderedDict[str, str] = OrderedDict()  # references, and the entities they are of
        self.told_token: str | None = None  # that the broker was told by this process: it shows none

    @property
    def is_open(self) -> bool:
        """Whether the broker may command at all."""
        return self.orders.mode != OFF and self._desk is not None

    def obey(self, desk: CommandDesk, now: Callable[[], Stamp]) -> None:
        """Commands go there."""
        self._desk, self._now = desk, now

    def now_ms(self) -> int:
        """The time of what is written now."""
        return 0 if self._now is None else self._now().utc_us // 1000

    def entity_of(self, ref: str, dev_eui: DevEui) -> str:
        """The id of the entity that a command stands in."""
        return self._seen.get(ref) or self.reader.id_of(dev_eui)

    async def answer(self, knock: Knock, desk: CommandDesk, now: Stamp) -> Reply:
        """A notification of the broker; 204 also when nothing in it concerns this gateway."""
        token = self.orders.token
        try:
            wanted = "" if token is None else (await asyncio.to_thread(token)).strip()
        except (OSError, ValueError, GatewayError) as error:
            raise StorageError(f"the token of notifications cannot be read: {error}") from error
        given = knock.headers.get("authorization", "")
        if not wanted or not hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
            return Reply(401, {"error": "this is not the token of the subscription"})
        try:
            entities = notified(json_value(knock.body))
        except ValueError as error:
            return Reply(400, {"error": f"this is no JSON: {error}"})
        if entities is None:
            return Reply(400, {"error": "a notification has a list of data"})
        await self._carry_out_all(entities, desk, now)
        return Reply(204)

    async def carry_out(self, entities: Any) -> None:
        """Queue every command in these entities that was not before. What cannot be is reported."""
        if self._desk is not None and self._now is not None:
            await self._carry_out_all(entities, self._desk, self._now())

    async def _carry_out_all(self, entities: Any, desk: CommandDesk, now: Stamp) -> None:
        if now.quality in UNDATED:
            return  # they stand there still when the time is known
        for command in self.reader.read(entities):
            if command.ref not in self._seen:
                await self._carry_out(command, desk, now)

    async def _carry_out(self, command: NgsiCommand, desk: CommandDesk, now: Stamp) -> None:
        try:
            outcome = await self._ask(command, desk, now) if command.answer is None else self._since(command, desk)
        except StorageError as error:
            log.warning("%s: a command for %s has to wait: %s", self._sink, command.dev_eui, error.problem)
            return
        self._remember(command)
        if outcome is not None:
            self.reports.append((command.dev_eui, command.attribute, outcome))
            self.wake.set()

    async def _ask(self, command: NgsiCommand, desk: CommandDesk, now: Stamp) -> Mapping[str, Any] | None:
        """What is to be told of it now; None when it is another gateway's, or when its queue tells."""
        if not await desk.knows(command.dev_eui, self.orders.only_tags):
            return None
        age_s = None if command.at_us is None else (now.utc_us - command.at_us) / 1e6
        try:
            request = asked(command, self.orders.max_age_s)
            if age_s is None:
                return self._refused(command, DownlinkState.FAILED, "the broker does not say when it was written")
            if age_s > self.orders.max_age_s or age_s < -MOST_AHEAD_S:
                return self._refused(command, DownlinkState.EXPIRED, f"written {age_s:.0f} s ago")
            entry = await desk.ask_once(command.dev_eui, request, self._sink, self.orders.only_tags)
        except NoDownlink as problem:
            return self._refused(command, DownlinkState.FAILED, str(problem))
        except UsageError as error:
            return self._refused(command, DownlinkState.FAILED, error.problem)
        # What was asked before has perhaps changed while nobody could be told.
        return None if entry is None or entry.state is DownlinkState.QUEUED else downlink_result_json(entry)

    def _since(self, command: NgsiCommand, desk: CommandDesk) -> Mapping[str, Any] | None:
        """What has become of a command since the broker was told last, if anything."""
        entry = desk.known(command.ref)
        return None if entry is None or str(entry.state) == command.answer else downlink_result_json(entry)

    def _refused(self, command: NgsiCommand, state: DownlinkState, reason: str) -> Mapping[str, Any]:
        log.warning("%s: no downlink for %s: %s", self._sink, command.dev_eui, reason)
        return {"ref": command.ref, "state": str(state), "reason": reason, "f_cnt": None}

    def _remember(self, command: NgsiCommand) -> None:
        self._seen[command.ref] = command.entity_id
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)


def named(gateway_eui: object, sink: str) -> str:
    """What the subscription of a gateway is called, so that it is found again."""
    return f"lorawan-gateway {gateway_eui} {sink} commands"


def keeper_of(book: OrderBook) -> OrderBook | None:
    """Who answers at the door; nobody unless the broker is to tell."""
    return book if book.orders.mode == SUBSCRIBE else None
