"""The devices the line knows, in memory: a lookup for each frame heard may touch neither file nor thread.

Most devices are silent most of the time, so a device lies here as one packed value (about 250 bytes with its keys) and
becomes objects when it speaks. Counters and sightings that are newer than the registry's checkpoint lie beside it.
"""

from __future__ import annotations

import marshal
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.store.devices import DeviceRow

HOT_ADDRESSES = 4_096
"""Addresses whose devices are kept as objects: about 8 MB, and more devices than one gateway hears in an hour."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The last durable uplink of a session."""

    f_cnt_up: int
    last_mic: bytes
    utc_us: int | None  # None: nobody knows yet
    battery: float | None


class KnownDevices:
    """Sessions by DevAddr, with the newest counters."""

    def __init__(self) -> None:
        self._packed: dict[int, bytes | tuple[bytes, ...]] = {}
        self._hot: OrderedDict[int, list[tuple[Device, Session]]] = OrderedDict()
        self._newest: dict[int, tuple[int | None, bytes]] = {}  # by session: last counter and MIC accepted
        self._durable: dict[int, Sighting] = {}  # kept, and newer than the registry's checkpoint
        self._confirmed: dict[int, tuple[int, ...]] = {}  # by session: confirmed downlinks it may acknowledge
        self._offered: set[int] = set()  # sessions that no device was heard to use yet
        self.devices = 0

    # --- what the registry says

    def forget(self, dev_euis: Iterable[DevEui]) -> None:
        """These were removed, or come again with other facts.

        One pass over everything: changes are rare, and an index by DevEUI would cost 18 MB at 100,000 devices.
        """
        gone = {bytes(dev_eui) for dev_eui in dev_euis}
        if not gone or not self._packed:
            return
        for address, there in list(self._packed.items()):
            sessions = there if isinstance(there, tuple) else (there,)
            kept = tuple(packed for packed in sessions if _dev_eui(packed) not in gone)
            if len(kept) == len(sessions):
                continue
            for packed in sessions:
                if packed not in kept:
                    self._uncount(_session_id(packed))
            self._keep_only(address, kept)

    def _uncount(self, session_id: int) -> None:
        if session_id in self._offered:
            self._offered.discard(session_id)
        else:
            self.devices -= 1

    def _keep_only(self, address: int, kept: tuple[bytes, ...]) -> None:
        self._hot.pop(address, None)
        if kept:
            self._packed[address] = kept if len(kept) > 1 else kept[0]
        else:
            del self._packed[address]

    def remember(self, rows: Iterable[DeviceRow]) -> None:
        """These are new, or were forgotten just now."""
        for row in rows:
            if row.session is not None:
                self.enter(row.device, row.session)

    def enter(self, device: Device, session: Session) -> None:
        """This session is new, or was forgotten just now."""
        address, packed = int(session.dev_addr), _pack(device, session)
        self._hot.pop(address, None)
        there = self._packed.get(address)
        if there is None:
            self._packed[address] = packed
        else:
            self._packed[address] = (*(there if isinstance(there, tuple) else (there,)), packed)
        self.devices += 1

    def offer(self, device: Device, session: Session) -> None:
        """The device joined: its next frame may be of this session, or still of the one before."""
        self.enter(device, session)
        self._offered.add(session.session_id)
        self.devices -= 1

    def taken_up(self, session_id: int) -> None:
        """The device was heard to use a session that it had been offered."""
        if session_id in self._offered:
            self._offered.discard(session_id)
            self.devices += 1

    def is_offered(self, session_id: int) -> bool:
        """Whether no device was heard to use this session yet."""
        return session_id in self._offered

    def drop(self, session_id: int, dev_addr: DevAddr) -> None:
        """This session is no more."""
        address = int(dev_addr)
        there = self._packed.get(address)
        if there is None:
            return
        sessions = there if isinstance(there, tuple) else (there,)
        kept = tuple(packed for packed in sessions if _session_id(packed) != session_id)
        if len(kept) < len(sessions):
            self._uncount(session_id)
            self._keep_only(address, kept)
        self._newest.pop(session_id, None)
        self._confirmed.pop(session_id, None)

    # --- what the line asks and tells

    def candidates(self, dev_addr: DevAddr) -> Sequence[tuple[Device, Session]]:
        """The devices that may have sent a frame with this address, with their newest counters."""
        address = int(dev_addr)
        found = self._hot.get(address)
        if found is not None:
            self._hot.move_to_end(address)
            return found
        there = self._packed.get(address)
        if there is None:
            return ()
        found = [self._unpack(packed) for packed in (there if isinstance(there, tuple) else (there,))]
        self._hot[address] = found
        if len(self._hot) > HOT_ADDRESSES:
            self._hot.popitem(last=False)
        return found

    def counters(self) -> dict[DevEui, int]:
        """The last uplink counter accepted of every device that was heard."""
        found = {}
        for there in self._packed.values():
            for packed in there if isinstance(there, tuple) else (there,):
                device, session = self._unpack(packed)
                if session.f_cnt_up is not None:
                    found[device.dev_eui] = session.f_cnt_up
        return found

    def accept(self, device: Device, session: Session) -> None:
        """The line accepted an uplink: the next frame of this device is judged by this session."""
        self._newest[session.session_id] = (session.f_cnt_up, session.last_mic)
        hot = self._hot.get(int(session.dev_addr))
        if hot is not None:
            for index, (_, known) in enumerate(hot):
                if known.session_id == session.session_id:
                    hot[index] = (device, session)

    def may_acknowledge(self, session: Session, f_cnts_down: tuple[int, ...]) -> None:
        """These confirmed downlinks, and no others, may be acknowledged by this session."""
        self._confirmed[session.session_id] = f_cnts_down
        self._hot.pop(int(session.dev_addr), None)

    def recover(self, session_id: int, sighting: Sighting) -> None:
        """A record of the log that is newer than the registry's checkpoint. Records come in their order."""
        self._newest[session_id] = (sighting.f_cnt_up, sighting.last_mic)
        self._durable[session_id] = sighting

    def kept(self, session_id: int, sighting: Sighting) -> None:
        """The record of an accepted uplink is durable: the next checkpoint may say so."""
        before = self._durable.get(session_id)
        if before is not None and None in (sighting.battery, sighting.utc_us):
            sighting = replace(
                sighting,
                battery=before.battery if sighting.battery is None else sighting.battery,
                utc_us=before.utc_us if sighting.utc_us is None else sighting.utc_us,
            )
        self._durable[session_id] = sighting

    # --- the checkpoint

    @property
    def unsaved(self) -> int:
        """How many sessions have moved on since the registry's checkpoint."""
        return len(self._durable)

    def take_unsaved(self) -> dict[int, Sighting]:
        """What is durable and newer than the registry, by session; `put_back` when the registry cannot be written."""
        taken, self._durable = self._durable, {}
        return taken

    def put_back(self, taken: dict[int, Sighting]) -> None:
        """The registry could not be written: these are still newer than it."""
        self._durable = {**taken, **self._durable}

    # --- packing

    def _unpack(self, packed: bytes) -> tuple[Device, Session]:
        device, session = _unpack(packed)
        newest = self._newest.get(session.session_id)
        if newest is not None:
            session = replace(session, f_cnt_up=newest[0], last_mic=newest[1])
        confirmed = self._confirmed.get(session.session_id)
        if confirmed is not None:
            session = replace(session, conf_f_cnts=confirmed)
        return device, session


def _pack(device: Device, session: Session) -> bytes:
    keys = (session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key)
    return marshal.dumps(
        (
            bytes(device.dev_eui), session.session_id, int(session.dev_addr), session.f_cnt_up, session.last_mic,
            bytes(session.app_s_key), tuple(map(bytes, keys[:1] if len(set(keys)) == 1 else keys)),
            device.name, device.codec, device.region_profile, str(device.mac_version), device.device_class,
            device.skip_f_cnt_check, bytes(device.join_eui) if device.join_eui else None,
            dict(device.variables), dict(device.tags),
            None if session.mac_version is device.mac_version else str(session.mac_version),
        )
    )  # fmt: skip


def _dev_eui(packed: bytes) -> bytes:
    dev_eui: bytes = marshal.loads(packed)[0]  # noqa: S302 - our own bytes, from this memory
    return dev_eui


def _session_id(packed: bytes) -> int:
    session_id: int = marshal.loads(packed)[1]  # noqa: S302 - our own bytes, from this memory
    return session_id


def _unpack(packed: bytes) -> tuple[Device, Session]:
    row: tuple[Any, ...] = marshal.loads(packed)  # noqa: S302 - our own bytes, from this memory
    (
        dev_eui, session_id, dev_addr, f_cnt_up, last_mic, app_s_key, nwk_keys, name, codec, region_profile,
        mac_version, device_class, skip, join_eui, variables, tags, session_version,
    ) = row  # fmt: skip
    device = Device(
        dev_eui=DevEui(dev_eui), name=name, codec=codec, region_profile=region_profile,
        mac_version=MacVersion(mac_version), device_class=device_class, skip_f_cnt_check=skip,
        join_eui=JoinEui(join_eui) if join_eui else None, variables=variables, tags=tags,
    )  # fmt: skip
    f_nwk, s_nwk, enc = (AesKey(key) for key in (nwk_keys if len(nwk_keys) == 3 else nwk_keys * 3))
    return device, Session(
        dev_eui=device.dev_eui, dev_addr=DevAddr(dev_addr),
        mac_version=MacVersion(session_version) if session_version else device.mac_version, f_nwk_s_int_key=f_nwk,
        s_nwk_s_int_key=s_nwk, nwk_s_enc_key=enc, app_s_key=AesKey(app_s_key), session_id=session_id,
        skip_f_cnt_check=skip, f_cnt_up=f_cnt_up, last_mic=last_mic,
    )  # fmt: skip
