"""Where a downlink is asked for, by a command or a platform: checked, encoded by the device's codec, queued."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import UsageError
from gateway.model import QueuedDownlink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.model import DevEui, Device, Stamp
    from gateway.regions.region import Region
    from gateway.serving.queue import DownlinkQueue
    from gateway.wire.own_downlink import DownlinkAsked


class Encoded(Protocol):
    """What a codec made of a command."""

    @property
    def payload(self) -> bytes | None: ...
    @property
    def f_port(self) -> int | None: ...
    @property
    def errors(self) -> Sequence[str]: ...


class Encoder(Protocol):
    """Makes payloads of commands; `decoding.sandbox.Decoder` is the real one."""

    async def encode(
        self, codec: str | None, command: Mapping[str, Any], f_port: int | None, variables: Mapping[str, str]
    ) -> Encoded: ...


class DownlinkDesk:
    """Takes requests. `device` finds a device by its DevEUI, None for one that is not known."""

    def __init__(
        self,
        queue: DownlinkQueue,
        encoder: Encoder,
        device: Callable[[DevEui], Awaitable[Device | None]],
        region: Region,
        now: Callable[[], Stamp],
        *,
        answers: bool,
    ) -> None:
        """`answers` is whether this gateway transmits for its devices at all (`network.answer`)."""
        self.queue = queue
        self._encoder = encoder
        self._device = device
        self._region = region
        self._now = now
        self._answers = answers

    async def ask(self, dev_eui: DevEui, asked: DownlinkAsked, origin: str) -> QueuedDownlink | None:
        """Queue what was asked for; UsageError with the reason when that cannot be, and then nothing is cleared either.

        None when it was only asked to clear the queue of the device.
        """
        if not self._answers:
            raise UsageError(
                "this gateway does not transmit for its devices", hint="network.answer = true in the settings"
            )
        device = await self._device(dev_eui)
        if device is None:
            raise UsageError(f"no device {dev_eui} is known", hint="lorawan-gateway device list")
        if asked.clears_only:
            await self.queue.cancel(dev_eui=dev_eui)
            return None
        payload, f_port = await self._payload(device, asked)
        self._check_size(payload)
        if asked.clear:
            await self.queue.cancel(dev_eui=dev_eui)
        return await self.queue.add(
            QueuedDownlink(
                ref=asked.ref or uuid.uuid4().hex,
                dev_eui=dev_eui,
                f_port=f_port,
                payload=payload,
                confirmed=asked.confirmed,
                asked=self._now(),
                origin=origin,
                expires_after_s=asked.expires_after_s,
            )
        )

    async def ask_once(
        self, dev_eui: DevEui, asked: DownlinkAsked, origin: str, tags: Mapping[str, str]
    ) -> QueuedDownlink | None:
        """The same, and when this very request was made before, what became of it; the reference tells.

        None when there is no such device, or not one with these tags.
        """
        if not await self.knows(dev_eui, tags):
            return None
        before = None if asked.ref is None else self.queue.get(asked.ref)
        if before is not None:
            if before.dev_eui != dev_eui or before.origin != origin:
                raise UsageError(f"the reference {asked.ref!r} is in use")
            return before
        try:
            return await self.ask(dev_eui, asked, origin)
        except UsageError:  # the same came once more while this one was being encoded
            before = None if asked.ref is None else self.queue.get(asked.ref)
            if before is None or before.dev_eui != dev_eui or before.origin != origin:
                raise
            return before

    def known(self, ref: str) -> QueuedDownlink | None:
        """What became of the downlink of this reference, for a day after its end."""
        return self.queue.get(ref)

    async def knows(self, dev_eui: DevEui, tags: Mapping[str, str]) -> bool:
        """Whether there is such a device, with these tags."""
        device = await self._device(dev_eui)
        return device is not None and all(device.tags.get(name) == value for name, value in tags.items())

    async def _payload(self, device: Device, asked: DownlinkAsked) -> tuple[bytes, int]:
        if asked.payload is not None and asked.f_port is not None:
            return asked.payload, asked.f_port
        encoded = await self._encoder.encode(device.codec, asked.data or {}, asked.f_port, device.variables)
        if encoded.payload is None:
            raise UsageError(
                f"the codec {device.codec} cannot encode this: {'; '.join(encoded.errors)}",
                hint=f"lorawan-gateway codec show {device.codec}" if device.codec else "",
            )
        f_port = asked.f_port or encoded.f_port
        if not f_port:
            raise UsageError(f"the codec {device.codec} does not say on which port", hint="give the port, too")
        return encoded.payload, f_port

    def _check_size(self, payload: bytes) -> None:
        """What fits no data rate of the region fits none of the device's; what fits some is judged when it leaves."""
        sizes = [self._region.max_payload(rate, downlink=True) for rate in self._region.downlink_data_rates]
        most = max((size for size in sizes if size is not None), default=242)
        if len(payload) > most:
            raise UsageError(f"{len(payload)} bytes, at most {most} at any data rate of {self._region.name}")
