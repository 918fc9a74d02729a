"""The device registry: what people entered, in a file of its own.

`DeviceRegistry` is what commands use, with or without a running daemon. The daemon holds the same facts in memory
(`KnownDevices`) and follows the file by its revision. Uplink counters live in the record log, committed together
with the record they let in; the file's `f_cnt_up` is a checkpoint of them (see `store.py`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import orjson

from gateway.errors import DiskTrouble, GatewayError, StorageError
from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, RootKeys, Session
from gateway.store.database import is_disk_trouble, open_database, rewrite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.store.known import Sighting

FILE_NAME = "devices.sqlite3"


class DeviceExists(GatewayError):  # noqa: N818 - reads as the sentence it is
    """A device with this DevEUI is known already."""

    def __init__(self, dev_eui: DevEui) -> None:
        super().__init__(f"device {dev_eui} exists already", hint=f"lorawan-gateway device show {dev_eui}")
        self.dev_eui = dev_eui


class DeviceUnknown(GatewayError):  # noqa: N818 - reads as the sentence it is
    """No device has this DevEUI."""

    def __init__(self, dev_eui: DevEui) -> None:
        super().__init__(f"no device {dev_eui} is known", hint="lorawan-gateway device list")
        self.dev_eui = dev_eui


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device as somebody enters it: with a session (ABP, imported) or with the keys it will join with (OTAA)."""

    device: Device
    session: Session | None = None
    root_keys: RootKeys | None = None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as the registry knows it."""

    device: Device
    session: Session | None
    has_root_keys: bool
    last_seen_utc_us: int | None
    battery: float | None

    @property
    def f_cnt_up(self) -> int | None:
        """The last uplink counter accepted, as of the last checkpoint."""
        return self.session.f_cnt_up if self.session else None


def make_folder(folder: Path) -> None:
    """Make a data folder where there is none; StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_used(folder, error) from error


def cannot_be_used(folder: Path, error: OSError) -> StorageError:
    """What to tell of a folder that refuses."""
    kind = DiskTrouble if is_disk_trouble(error) else StorageError
    return kind(
        f"{folder} cannot be used as data folder: {error.strerror}",
        hint="run as the gateway's user (or root), or set store.path to a folder you may write",
    )


def copy_registry(folder: Path, to: Path, file_name: str = FILE_NAME) -> None:
    """Bring what people entered to another folder, from a file that can perhaps only be read."""
    for suffix in ("", "-wal"):
        source, target = folder / (file_name + suffix), to / (file_name + suffix)
        target.unlink(missing_ok=True)
        with suppress(OSError):  # where nothing can be read, nobody is known
            content = source.read_bytes()
            target.touch(mode=0o600)
            target.write_bytes(content)
    (to / (file_name + "-shm")).unlink(missing_ok=True)


_COLUMNS = """
    d.dev_eui, d.name, d.codec, d.region_profile, d.mac_version, d.device_class, d.skip_f_cnt_check, d.join_eui,
    d.variables, d.tags, d.app_key IS NOT NULL, d.last_seen_us, d.battery,
    s.session_id, s.dev_addr, s.f_nwk_s_int_key, s.s_nwk_s_int_key, s.nwk_s_enc_key, s.app_s_key, s.f_cnt_up, s.last_mic
"""
_ROWS = f"SELECT {_COLUMNS} FROM device d LEFT JOIN session s USING (dev_eui)"  # noqa: S608 - constant text


class DeviceRegistry:
    """The registry file. Every method is one transaction, durable when it returns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, folder: Path, *, any_thread: bool = False) -> Self:
        """Open the registry of a data folder, making both when missing; StorageError when that fails."""
        path = folder / FILE_NAME
        make_folder(folder)
        if not os.path.lexists(path):
            try:
                # Keys lie in this file, so nobody else may read it; SQLite gives its WAL the same mode.
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise cannot_be_used(folder, error) from error
        return cls(open_database(path, "devices", any_thread=any_thread))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # --- what people change

    def add(self, device: Device, *, session: Session | None = None, root_keys: RootKeys | None = None) -> None:
        """Enter one device; DeviceExists when its DevEUI is known."""
        self.add_all([NewDevice(device, session, root_keys)])

    def add_all(self, entries: Sequence[NewDevice]) -> None:
        """Enter all of them or none."""
        with self._change() as revision:
            for entry in entries:
                self._insert(entry, revision)

    def add_missing(self, entries: Sequence[NewDevice]) -> None:
        """Enter those that are not known yet."""
        known = {dev_eui for (dev_eui,) in self._db.execute("SELECT dev_eui FROM device")} if entries else set()
        missing = [entry for entry in entries if entry.device.dev_eui not in known]
        if missing:
            self.add_all(missing)

    def _insert(self, entry: NewDevice, revision: int) -> None:
        device, keys = entry.device, entry.root_keys
        try:
            self._db.execute(
                "INSERT INTO device (dev_eui, name, codec, region_profile, mac_version, device_class, skip_f_cnt_check,"
                " join_eui, variables, tags, app_key, nwk_key, added_us, revision)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    bytes(device.dev_eui), *_described(device),
                    bytes(keys.app_key) if keys else None, bytes(keys.nwk_key) if keys and keys.nwk_key else None,
                    time.time_ns() // 1000, revision,
                ),
            )  # fmt: skip
        except sqlite3.IntegrityError:
            raise DeviceExists(device.dev_eui) from None
        if entry.session is not None:
            self._insert_session(entry.session)

    def _insert_session(self, session: Session) -> None:
        self._db.execute(
            "INSERT INTO session (dev_eui, dev_addr, f_nwk_s_int_key, s_nwk_s_int_key, nwk_s_enc_key, app_s_key,"
            " f_cnt_up, last_mic) VALUES (?,?,?,?,?,?,?,?)",
            (
                bytes(session.dev_eui), int(session.dev_addr), bytes(session.f_nwk_s_int_key),
                bytes(session.s_nwk_s_int_key), bytes(session.nwk_s_enc_key), bytes(session.app_s_key),
                session.f_cnt_up, session.last_mic,
            ),
        )  # fmt: skip

    def replace(self, device: Device) -> None:
        """Change what is known of a device (name, codec, variables, tags …), not its keys; DeviceUnknown."""
        with self._change() as revision:
            done = self._db.execute(
                "UPDATE device SET name=?, codec=?, region_profile=?, mac_version=?, device_class=?,"
                " skip_f_cnt_check=?, join_eui=?, variables=?, tags=?, revision=? WHERE dev_eui=?",
                (*_described(device), revision, bytes(device.dev_eui)),
            )
            if not done.rowcount:
                raise DeviceUnknown(device.dev_eui)

    def remove(self, dev_eui: DevEui) -> None:
        """Forget a device, its keys and its session; DeviceUnknown."""
        with self._change() as revision:
            if not self._db.execute("DELETE FROM device WHERE dev_eui=?", (bytes(dev_eui),)).rowcount:
                raise DeviceUnknown(dev_eui)
            self._db.execute("INSERT INTO removed (revision, dev_eui) VALUES (?,?)", (revision, bytes(dev_eui)))

    def erase(self, dev_eui: DevEui) -> bool:
        """Leave no trace of a device, not even that it was removed; whether there was any. For the daemon itself."""
        self._db.execute("PRAGMA secure_delete = ON")
        with self._change():
            removed = self._db.execute("DELETE FROM removed WHERE dev_eui=?", (bytes(dev_eui),)).rowcount
            known = self._db.execute("DELETE FROM device WHERE dev_eui=?", (bytes(dev_eui),)).rowcount
        return bool(removed or known)

    def rewrite(self) -> None:
        """Write the file anew: what was deleted is in none of its pages. DiskTrouble while somebody reads it."""
        rewrite(self._db)

    # --- what is known

    def list(self) -> list[DeviceRow]:
        """Every device, by name."""
        return [_row(row) for row in self._db.execute(f"{_ROWS} ORDER BY d.name, d.dev_eui")]

    def each(self) -> Iterator[DeviceRow]:
        """Every device by DevEUI, never all in memory at once."""
        return (_row(row) for row in self._db.execute(f"{_ROWS} ORDER BY d.dev_eui"))

    def get(self, dev_eui: DevEui) -> DeviceRow:
        """One device; DeviceUnknown."""
        row = self._db.execute(f"{_ROWS} WHERE d.dev_eui=?", (bytes(dev_eui),)).fetchone()
        if row is None:
            raise DeviceUnknown(dev_eui)
        return _row(row)

    def named(self, name: str) -> Sequence[DevEui]:
        """The devices of this name; nothing keeps people from giving it twice."""
        return [DevEui(row[0]) for row in self._db.execute("SELECT dev_eui FROM device WHERE name=?", (name,))]

    def root_keys(self, dev_eui: DevEui) -> RootKeys | None:
        """The keys a device joins with, if it has any; DeviceUnknown."""
        row = self._db.execute("SELECT app_key, nwk_key FROM device WHERE dev_eui=?", (bytes(dev_eui),)).fetchone()
        if row is None:
            raise DeviceUnknown(dev_eui)
        app_key, nwk_key = row
        return RootKeys(AesKey(app_key), AesKey(nwk_key) if nwk_key else None) if app_key else None

    # --- what the daemon follows and writes back

    def revision(self) -> int:
        """The number of the last change a person made."""
        number: int = self._db.execute("SELECT number FROM revision").fetchone()[0]
        return number

    def changes(self, since: int) -> tuple[Sequence[DeviceRow], Sequence[DevEui]]:
        """Devices entered or changed after a revision, and those removed and not entered again."""
        rows = [_row(row) for row in self._db.execute(f"{_ROWS} WHERE d.revision > ?", (since,))]
        gone = self._db.execute(
            "SELECT DISTINCT dev_eui FROM removed WHERE revision > ? AND dev_eui NOT IN (SELECT dev_eui FROM device)",
            (since,),
        )
        return rows, [DevEui(dev_eui) for (dev_eui,) in gone]

    def checkpointed(self, epoch: str) -> int:
        """Up to which position of this log the counters are current; 0 when it is another log."""
        row = self._db.execute("SELECT position FROM checkpoint WHERE epoch=?", (epoch,)).fetchone()
        return row[0] if row else 0

    def checkpoint(
        self,
        epoch: str,
        position: int,
        sightings: Collection[tuple[int, Sighting]],
        joined: Mapping[int, DevEui] = MappingProxyType({}),
    ) -> None:
        """Write back counters, last seen and battery of these sessions, current as of a position of the log.

        `joined` says whose the sessions are that this file does not hold.
        """
        counters = [(seen.f_cnt_up, seen.last_mic, session_id) for session_id, seen in sightings]
        seen = [(seen.utc_us, seen.battery, session_id) for session_id, seen in sightings if session_id not in joined]
        seen_joined = [
            (seen.utc_us, seen.battery, bytes(joined[session_id]))
            for session_id, seen in sightings
            if session_id in joined
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("UPDATE session SET f_cnt_up=?, last_mic=? WHERE session_id=?", counters)
            self._db.executemany(
                "UPDATE device SET last_seen_us=coalesce(?, last_seen_us), battery=coalesce(?, battery)"
                " WHERE dev_eui=(SELECT dev_eui FROM session WHERE session_id=?)",
                seen,
            )
            self._db.executemany(
                "UPDATE device SET last_seen_us=coalesce(?, last_seen_us), battery=coalesce(?, battery)"
                " WHERE dev_eui=?",
                seen_joined,
            )
            self._db.execute("DELETE FROM checkpoint")
            self._db.execute("INSERT INTO checkpoint (epoch, position) VALUES (?,?)", (epoch, position))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _change(self) -> Iterator[int]:
        """A transaction with the next revision number."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE revision SET number = number + 1")
            yield self.revision()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StorageError(f"the device registry could not be written: {error}") from error
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


def _described(device: Device) -> tuple[object, ...]:
    return (
        device.name, device.codec, device.region_profile, str(device.mac_version), device.device_class,
        int(device.skip_f_cnt_check), bytes(device.join_eui) if device.join_eui else None,
        orjson.dumps(dict(device.variables)).decode(), orjson.dumps(dict(device.tags)).decode(),
    )  # fmt: skip


def _row(row: tuple[Any, ...]) -> DeviceRow:
    (
        dev_eui, name, codec, region_profile, mac_version, device_class, skip, join_eui, variables, tags,
        has_root_keys, last_seen, battery, session_id, *session,
    ) = row  # fmt: skip
    device = Device(
        dev_eui=DevEui(dev_eui), name=name, codec=codec, region_profile=region_profile,
        mac_version=MacVersion(mac_version), device_class=device_class, skip_f_cnt_check=bool(skip),
        join_eui=JoinEui(join_eui) if join_eui else None,
        variables=orjson.loads(variables), tags=orjson.loads(tags),
    )  # fmt: skip
    return DeviceRow(
        device=device,
        session=_session(device, session_id, session) if session_id is not None else None,
        has_root_keys=bool(has_root_keys),
        last_seen_utc_us=last_seen,
        battery=battery,
    )


def _session(device: Device, session_id: int, columns: list[Any]) -> Session:
    dev_addr, f_nwk_s_int, s_nwk_s_int, nwk_s_enc, app_s, f_cnt_up, last_mic = columns
    return Session(
        dev_eui=device.dev_eui, dev_addr=DevAddr(dev_addr), mac_version=device.mac_version,
        f_nwk_s_int_key=AesKey(f_nwk_s_int), s_nwk_s_int_key=AesKey(s_nwk_s_int), nwk_s_enc_key=AesKey(nwk_s_enc),
        app_s_key=AesKey(app_s), session_id=session_id, skip_f_cnt_check=device.skip_f_cnt_check,
        f_cnt_up=f_cnt_up, last_mic=last_mic,
    )  # fmt: skip
