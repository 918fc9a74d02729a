"""Everything that is kept of one device, as one JSON document (GDPR, articles 15 and 20).

Written as it is read, so that a device with millions of readings needs no more memory than one with ten. What can only
be known at the end, sums and what was sent where, stands at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from gateway.console.device_file import describe
from gateway.errors import GatewayError
from gateway.lorawan.frame import DataFrame, JoinRequest, MalformedFrame, RejoinRequest, parse
from gateway.model import Refusal, Refused
from gateway.store.cursors import FILE_NAME as CURSORS
from gateway.store.cursors import CursorFile
from gateway.store.custody_file import CustodyFile
from gateway.store.devices import FILE_NAME as DEVICES
from gateway.store.devices import DeviceRegistry, DeviceUnknown
from gateway.store.erasing import names
from gateway.store.network_file import FILE_NAME as NETWORK
from gateway.store.network_file import NetworkFile
from gateway.store.queries import Span
from gateway.wire.own_downlink import downlink_json
from gateway.wire.own_json import json_bytes, reading_json, rfc3339, unopened_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.model import DevEui, RadioFrame, Session
    from gateway.settings import Settings
    from gateway.store.cursors import Progress
    from gateway.store.devices import DeviceRow
    from gateway.store.queries import LogFiles

FORMAT = "lorawan-edge-gateway/device/1"


class Subject:
    """One device, and the files that have something of it. They are read beside a running gateway or without one."""

    def __init__(self, settings: Settings, files: LogFiles, dev_eui: DevEui, *, with_keys: bool) -> None:
        self._settings = settings
        self._files = files
        self._dev_eui = dev_eui
        self._with_keys = with_keys
        self._folder = settings.store.path
        self._addresses: set[int] = set()
        self._readings = self._frames = 0
        self._first: str | None = None
        self._last: str | None = None
        self._settled: Counter[str] = Counter()

    def write(self, out: TextIO) -> list[str]:
        """Write the document; what it says, in lines for a person. GatewayError when nothing is kept of the device."""
        row, entered = self._registry()
        network = self._network()
        progress = {name: found for name in self._settings.sink if (found := self._files.progress(name)) is not None}
        readings = self._kept_readings(progress)
        first = next(readings, None)
        is_known = first is not None or row is not None or any(network.values())
        if not (is_known or any(names(frame.phy, self._dev_eui, ()) for _, frame in self._files.unopened(Span()))):
            raise GatewayError(f"nothing is kept here of {self._dev_eui}", hint="lorawan-gateway device list")
        head = {
            "format": FORMAT,
            "made_at": rfc3339(round(datetime.now(UTC).timestamp() * 1e6)),
            "gateway_eui": str(self._files.gateway_eui),
            "dev_eui": str(self._dev_eui),
            "device": entered,
            **network,
        }
        out.write("{\n")
        out.writelines(f"{json.dumps(name)}: {_text(value)},\n" for name, value in head.items())
        _array(out, "readings", _chain(first, readings))
        out.write(",\n")
        _array(out, "frames_not_opened", self._kept_frames())
        tail = {
            "destinations": self._destinations(progress),
            "losses": self._losses(),
            "balances": self._balances(),
            "summary": self._summary(),
        }
        out.writelines(f",\n{json.dumps(name)}: {_text(value)}" for name, value in tail.items())
        out.write("\n}\n")
        return self._in_words(row)

    # --- what people entered, and what the gateway made of it as a network

    def _registry(self) -> tuple[DeviceRow | None, dict[str, Any] | None]:
        if not (self._folder / DEVICES).exists():
            return None, None
        with DeviceRegistry.open(self._folder) as registry:
            try:
                row = registry.get(self._dev_eui)
            except DeviceUnknown:
                return None, None
            keys = registry.root_keys(self._dev_eui) if row.has_root_keys else None
        if row.session is not None:
            self._addresses.add(int(row.session.dev_addr))
        described = describe(row.device, row.session, keys) if self._with_keys else describe(row.device, None, None)
        return row, {
            **described.fields,
            "variables": described.variables,
            "tags": described.tags,
            "dev_addr": str(row.session.dev_addr) if row.session else None,
            "f_cnt_up": row.f_cnt_up,
            "last_seen": None if row.last_seen_utc_us is None else rfc3339(row.last_seen_utc_us),
            "battery": row.battery,
        }

    def _network(self) -> dict[str, Any]:
        if not (self._folder / NETWORK).exists():
            return {"sessions": [], "nonces": None, "downlinks": []}
        with NetworkFile.open(self._folder) as network:
            sessions = network.sessions_of(self._dev_eui)
            history = network.join_history(self._dev_eui)
            downlinks = [entry for entry in network.downlinks() if entry.dev_eui == self._dev_eui]
        self._addresses |= {int(one.session.dev_addr) for one in sessions}
        return {
            "sessions": [{"offered": one.offered, **self._session(one.session)} for one in sessions],
            "nonces": history,
            "downlinks": [downlink_json(entry) for entry in downlinks],
        }

    def _session(self, session: Session) -> dict[str, Any]:
        keys = ("f_nwk_s_int_key", "s_nwk_s_int_key", "nwk_s_enc_key", "app_s_key")
        return {
            "dev_addr": str(session.dev_addr),
            "mac_version": str(session.mac_version),
            "f_cnt_up": session.f_cnt_up,
            **({key: getattr(session, key).hex() for key in keys} if self._with_keys else {}),
        }

    # --- what was heard

    def _kept_readings(self, progress: Mapping[str, Progress]) -> Iterator[dict[str, Any]]:
        for record in self._files.records(Span(self._dev_eui)):
            facts = reading_json(record)
            self._readings += 1
            self._addresses.add(int(record.reading.dev_addr))
            self._first = min(self._first or facts["time"], facts["time"])
            self._last = max(self._last or facts["time"], facts["time"])
            for name, one in progress.items():
                self._settled[name] += one.is_settled(record.position)
            yield {**facts, "phy_payload": record.reading.phy.hex()}

    def _kept_frames(self) -> Iterator[dict[str, Any]]:
        for reason, frame in self._files.unopened(Span()):
            if names(frame.phy, self._dev_eui, self._addresses):
                self._frames += 1
                yield unopened_json(self._files.gateway_eui, frame, _refused(reason, frame))

    # --- what became of it

    def _destinations(self, progress: Mapping[str, Progress]) -> list[dict[str, Any]]:
        found = []
        for name, sink in self._settings.sink.items():
            refused = [
                {"record_id": self._files.record_id(one.position), "reason": one.reason,
                 "refused_at": rfc3339(one.refused_us)}
                for one in self._files.dead_letters(name)
                if one.reading is not None and one.reading.dev_eui == self._dev_eui
            ]  # fmt: skip
            settled = self._settled[name] if name in progress else 0
            waiting = self._readings - settled if name in progress else 0
            found.append({"sink": name, "type": sink.type, "url": str(getattr(sink, "url", getattr(sink, "path", ""))),
                          "sent_or_settled": settled, "waiting": waiting, "refused": refused})  # fmt: skip
        return found

    def _losses(self) -> list[dict[str, Any]]:
        if not (self._folder / CURSORS).exists():
            return []
        cursors = CursorFile(self._folder, reading=True)
        try:
            losses = [loss for loss in cursors.losses() if loss.dev_eui == self._dev_eui]
        finally:
            cursors.close()
        return [
            {"sink": one.sink, "reason": one.reason, "records": one.records, "first_f_cnt": one.first_f_cnt,
             "last_f_cnt": one.last_f_cnt, "since": rfc3339(one.since_us), "until": rfc3339(one.until_us)}
            for one in losses
        ]  # fmt: skip

    def _balances(self) -> list[dict[str, Any]]:
        """What the balances of the last days say of this device."""
        custody, said = CustodyFile(self._folder), []
        custody.load()
        for day in custody.days:
            for part in ("gaps", "losses"):
                found = day.get(part)
                named = found.get("by_device") if isinstance(found, dict) else None
                said += [
                    {"day": day.get("day"), "part": part, **one}
                    for one in (named if isinstance(named, list) else ())
                    if isinstance(one, dict) and one.get("dev_eui") == str(self._dev_eui)
                ]
        return said

    def _summary(self) -> dict[str, Any]:
        return {
            "readings": self._readings,
            "from": self._first,
            "to": self._last,
            "frames_not_opened": self._frames,
            "dev_addrs": [f"{address:08x}" for address in sorted(self._addresses)],
            "damaged_records_passed_over": self._files.damaged,
        }

    def _in_words(self, row: DeviceRow | None) -> list[str]:
        name = "which is not entered here (any more)" if row is None else row.device.name
        span = f" heard from {self._first} to {self._last}" if self._readings else ""
        kept = self._settings.store.max_age.days
        return [
            f"Device {self._dev_eui}, {name}, on gateway {self._files.gateway_eui}",
            f"{self._readings} readings{span}, {self._frames} frames with its name or address that were not opened",
            *(
                f"sink {name}: {self._settled[name]} of {self._readings} readings sent or settled"
                for name in self._settings.sink
            ),
            f"Readings are kept for {kept} days at most (store.max_age), keys until it is removed or forgotten.",
        ]


def _refused(reason: str, frame: RadioFrame) -> Refused:
    """As the frame itself names it."""
    known = Refusal(reason) if reason in set(Refusal) else Refusal.UNKNOWN_DEVICE
    try:
        message = parse(frame.phy)
    except MalformedFrame:
        return Refused(known, reason)
    match message:
        case JoinRequest() | RejoinRequest():
            return Refused(known, "", dev_eui=message.dev_eui)
        case DataFrame():
            return Refused(known, "", message.dev_addr)
    return Refused(known, "")


def _chain(first: dict[str, Any] | None, rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if first is not None:
        yield first
        yield from rest


def _array(out: TextIO, name: str, items: Iterator[dict[str, Any]]) -> None:
    out.write(f"{json.dumps(name)}: [")
    out.writelines(f"{',' if number else ''}\n{_text(item)}" for number, item in enumerate(items))
    out.write("\n]")


def _text(value: Any | Sequence[Any]) -> str:
    return json_bytes(value).decode()
