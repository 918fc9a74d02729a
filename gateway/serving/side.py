"""The network side put together: joins, answers, the queue, and whoever asks for downlinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.downlink import DownlinkLine
from gateway.journal import NOBODY
from gateway.model import Joined
from gateway.serving.desk import DownlinkDesk
from gateway.serving.joining import Joining
from gateway.serving.joining import Registrar as JoinRegistrar
from gateway.serving.mailbox import Mailbox
from gateway.serving.mailbox import Registrar as AddressBook
from gateway.serving.plan import gps_time_us
from gateway.serving.queue import DownlinkQueue
from gateway.serving.server import Means, NetworkServer, Registrar
from gateway.serving.sessions import ServedSessions
from gateway.wire.own_json import join_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from gateway.journal import Onlooker
    from gateway.model import DevAddr, DevEui, Device, GatewayEui, RadioFrame, Stamp
    from gateway.radio.concentrator import Concentrator
    from gateway.regions.region import Region
    from gateway.serving.desk import Encoder
    from gateway.serving.plan import NetworkPlan


class Store(JoinRegistrar, Registrar, AddressBook, Protocol):
    """Who keeps what a network must not forget; `store.store.Store` is the real one."""


class NetworkSide:
    """Everything that sends to devices. Call `load` before anything is heard."""

    def __init__(
        self,
        gateway_eui: GatewayEui,
        radio: Concentrator,
        store: Store,
        encoder: Encoder,
        region: Region,
        plan: NetworkPlan,
        net_id: int,
        now: Callable[[], Stamp],
        onlooker: Onlooker = NOBODY,
        *,
        answers: bool,
    ) -> None:
        """`answers`: whether this gateway transmits for its devices at all."""
        self._gateway_eui = gateway_eui
        self.answers = answers
        self.mailbox = Mailbox(store, now)
        self.line = DownlinkLine(radio, onlooker)
        self._queue = DownlinkQueue(store, now, told=self.mailbox.result, stirred=self._stirred)
        self.desk = DownlinkDesk(self._queue, encoder, store.device, region, now, answers=answers)
        self.server = NetworkServer(
            Means(
                region=region,
                wanted=plan.wanted,
                registrar=store,
                sessions=ServedSessions(store, region, plan.wanted),
                queue=self._queue,
                joining=Joining(store, region, net_id, self.line, self._joined, plan),
                line=self.line,
                gps_time_us=gps_time_us,
                only_receiver=lambda: only_receiver(radio),
            )
        )

    def follow(self, plan: NetworkPlan) -> None:
        """The radio hears other channels now: tell devices, as they join or are heard."""
        self.server.follow(plan)

    async def load(self) -> None:
        """Take in what was queued before."""
        await self._queue.load()

    def duties(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs for as long as the gateway does."""
        beside = [self.line.run(), self._queue.keep(), self.mailbox.run(self.desk), self.mailbox.report()]
        return [*beside, self.server.keep(), self.server.wake()] if self.answers else beside

    async def stop(self) -> None:
        """Let what is under way end, for a moment, and write down what is known."""
        await self.server.stop()

    def forget(self, dev_eui: DevEui) -> None:
        """The device was erased: nothing is known of it any more."""
        self.server.forget(dev_eui)

    def facts(self) -> Mapping[str, Any]:
        """For `status`."""
        return {"answers": self.answers, **self.server.facts(), "refused_requests": self.mailbox.refused}

    def _stirred(self, dev_eui: DevEui) -> None:
        if self.answers:
            self.server.stirred(dev_eui)

    def _joined(self, device: Device, dev_addr: DevAddr, frame: RadioFrame) -> None:
        facts = join_json(self._gateway_eui, device, dev_addr, frame)
        self.mailbox.tell(f"{device.dev_eui}/join", facts, Joined(device, dev_addr, frame))


def only_receiver(radio: Concentrator) -> str | None:
    """The receiver that surely reaches a device, when there is only one."""
    receivers = radio.health().receivers
    if len(receivers) != 1:
        return None
    name = receivers[0].get("name") or receivers[0].get("eui")
    return None if name is None else str(name)
