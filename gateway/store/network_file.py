"""What the gateway must not forget as a network: joined sessions, nonces, downlink counters, MAC states, the queue.

A file of its own, because it has a writer and a pace of its own: an answer that has to be on the air in a second may
wait neither for the log's commit nor for a command that enters ten thousand devices. Every method is one transaction,
durable when it returns, and blocks meanwhile: the daemon calls them on one thread.

Counters on disk are bounds: none at or above them was ever on the air. They are raised by a block at a time, so that
most downlinks need no sync; what a crash leaves of a block is a gap in the counters, which LoRaWAN allows (TS001-1.0.4,
4.3.1.5: the device takes any counter above its own).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import orjson

from gateway.errors import StorageError
from gateway.model import (
    AesKey,
    DevAddr,
    DevEui,
    DownlinkState,
    MacVersion,
    QueuedDownlink,
    Session,
    Stamp,
    TimeQuality,
)
from gateway.store.database import open_database, open_readonly, rewrite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.store.devices import DeviceRow
    from gateway.store.known import Sighting

    Gone = tuple[int, DevAddr]
    """A session that is no more: its number, and the address it had."""

FILE_NAME = "network.sqlite3"

FIRST_JOINED_SESSION = 1 << 31
"""Sessions that were entered have lower numbers (`devices.sqlite3` counts them), those joined here this or higher."""

SESSIONS_OFFERED = 2
"""Sessions of a device that it was offered and not heard to use: the newest. Two, so that a join-request somebody
recorded and sent again cannot push out the one that the device has just been given."""

_SESSION = (
    "session_id, dev_eui, offered, dev_addr, mac_version, f_nwk_s_int_key, s_nwk_s_int_key, nwk_s_enc_key, app_s_key,"
    " f_cnt_up, last_mic"
)


@dataclass(frozen=True, slots=True)
class Served:
    """What is remembered of a session that is served: the MAC layer's state, and the first counters never used."""

    mac_state: str | None = None
    n_f_cnt_down: int = 0
    a_f_cnt_down: int = 0


@dataclass(frozen=True, slots=True)
class JoinedSession:
    """A session that was joined here; `offered` until the device was heard to use it."""

    session: Session
    offered: bool


class NetworkFile:
    """The file `network.sqlite3`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the file of a data folder, made when missing; StorageError when that fails."""
        path = folder / FILE_NAME
        # Session keys lie in this file, so nobody else may read it; SQLite gives its WAL the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        return cls(open_database(path, "network", any_thread=True))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # --- sessions that were joined here

    def sessions(self) -> Iterator[JoinedSession]:
        """Every joined session by DevEUI, never all in memory at once; of one device the offered one comes last."""
        query = f"SELECT {_SESSION} FROM session ORDER BY dev_eui, offered, session_id"  # noqa: S608 - constant text
        return (_joined(row) for row in self._db.execute(query))

    def sessions_of(self, dev_eui: DevEui) -> list[JoinedSession]:
        """The joined sessions of one device."""
        query = f"SELECT {_SESSION} FROM session WHERE dev_eui=? ORDER BY offered, session_id"  # noqa: S608
        return [_joined(row) for row in self._db.execute(query, (bytes(dev_eui),))]

    def join_history(self, dev_eui: DevEui) -> str | None:
        """Which nonces this device and its joins have used; None when it never joined here."""
        row = self._db.execute("SELECT history FROM join_history WHERE dev_eui=?", (bytes(dev_eui),)).fetchone()
        return row[0] if row else None

    def keep_join(self, dev_eui: DevEui, history: str, session: Session, mac_state: str) -> tuple[Session, list[Gone]]:
        """The nonces are spent, and the device is offered a session, in place of the oldest it was offered before.

        The session with its number, and those that are no more. Only after this may the join-accept
        be on the air.
        """
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO join_history (dev_eui, history) VALUES (?,?)", (bytes(dev_eui), history))
            gone = self._drop(
                db,
                "SELECT session_id, dev_addr FROM session WHERE dev_eui=? AND offered"
                " ORDER BY session_id DESC LIMIT -1 OFFSET ?",
                (bytes(dev_eui), SESSIONS_OFFERED - 1),
            )
            inserted = db.execute(
                "INSERT INTO session (dev_eui, offered, dev_addr, mac_version, f_nwk_s_int_key, s_nwk_s_int_key,"
                " nwk_s_enc_key, app_s_key) VALUES (?,1,?,?,?,?,?,?)",
                (
                    bytes(dev_eui), int(session.dev_addr), str(session.mac_version), bytes(session.f_nwk_s_int_key),
                    bytes(session.s_nwk_s_int_key), bytes(session.nwk_s_enc_key), bytes(session.app_s_key),
                ),
            )  # fmt: skip
            session_id = inserted.lastrowid
            assert session_id is not None
            db.execute(
                "INSERT INTO served (session_id, dev_eui, mac_state) VALUES (?,?,?)",
                (session_id, bytes(dev_eui), mac_state),
            )
        return replace(session, session_id=session_id), gone

    def spend_nonces(self, dev_eui: DevEui, history: str) -> None:
        """Nonces are spent without a new session."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO join_history (dev_eui, history) VALUES (?,?)", (bytes(dev_eui), history))

    def taken_up(self, dev_eui: DevEui, session_id: int) -> list[Gone]:
        """The device uses this session: it is not only offered any more, and those before it are no more.

        One that was offered since stays: its accept may still be on the way.
        """
        with self._change() as db:
            db.execute("UPDATE session SET offered=0 WHERE session_id=?", (session_id,))
            return self._drop(
                db,
                "SELECT session_id, dev_addr FROM session WHERE dev_eui=? AND session_id<?",
                (bytes(dev_eui), session_id),
            )

    def forget(self, dev_euis: Collection[DevEui]) -> None:
        """These devices were removed. Their nonces stay: a join heard once may not be played again later."""
        with self._change() as db:
            for dev_eui in dev_euis:
                for table in ("session", "served", "downlink"):
                    db.execute(f"DELETE FROM {table} WHERE dev_eui=?", (bytes(dev_eui),))  # noqa: S608

    def erase(self, dev_eui: DevEui) -> None:
        """Leave no trace of a device, not even the nonces it has used: entered again, it has to have other keys."""
        self._db.execute("PRAGMA secure_delete = ON")
        with self._change() as db:
            for table in ("session", "served", "downlink", "join_history"):
                db.execute(f"DELETE FROM {table} WHERE dev_eui=?", (bytes(dev_eui),))  # noqa: S608 - constant names

    def rewrite(self) -> None:
        """Write the file anew: what was deleted is in none of its pages. DiskTrouble while somebody reads it."""
        rewrite(self._db)

    # --- what is remembered of a session

    def served(self, session_id: int) -> Served:
        """What is remembered of it; nothing and counters at zero for a session not served before."""
        row = self._db.execute(
            "SELECT mac_state, n_f_cnt_down, a_f_cnt_down FROM served WHERE session_id=?", (session_id,)
        ).fetchone()
        return Served(*row) if row else Served()

    def keep_states(self, states: Collection[tuple[int, DevEui, str]]) -> None:
        """Remember MAC states, by session number."""
        with self._change() as db:
            db.executemany(
                "INSERT INTO served (session_id, dev_eui, mac_state) VALUES (?,?,?)"
                " ON CONFLICT (session_id) DO UPDATE SET mac_state=excluded.mac_state",
                [(session_id, bytes(dev_eui), state) for session_id, dev_eui, state in states],
            )

    def reserve(self, session_id: int, dev_eui: DevEui, n_f_cnt_down: int, a_f_cnt_down: int) -> None:
        """Counters below these may be on the air from now on. A bound on disk is never lowered."""
        with self._change() as db:
            db.execute(
                "INSERT INTO served (session_id, dev_eui, n_f_cnt_down, a_f_cnt_down) VALUES (?,?,?,?)"
                " ON CONFLICT (session_id) DO UPDATE SET n_f_cnt_down=max(n_f_cnt_down, excluded.n_f_cnt_down),"
                " a_f_cnt_down=max(a_f_cnt_down, excluded.a_f_cnt_down)",
                (session_id, bytes(dev_eui), n_f_cnt_down, a_f_cnt_down),
            )

    # --- the queue of downlinks

    def downlinks(self) -> list[QueuedDownlink]:
        """The whole queue, ended ones included, in the order of asking."""
        return [_entry(row[0]) for row in self._db.execute("SELECT entry FROM downlink ORDER BY number")]

    def keep_downlinks(self, entries: Sequence[tuple[int, QueuedDownlink]], forgotten: Sequence[str] = ()) -> None:
        """Write these, each with its number in the order of asking, and forget those."""
        with self._change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO downlink (ref, number, dev_eui, entry) VALUES (?,?,?,?)",
                [(entry.ref, number, bytes(entry.dev_eui), _written(entry)) for number, entry in entries],
            )
            db.executemany("DELETE FROM downlink WHERE ref=?", [(ref,) for ref in forgotten])

    # --- uplink counters

    def checkpointed(self, epoch: str) -> int | None:
        """Up to which position of this log the uplink counters are current; None when there are none here to be so."""
        if self._db.execute("SELECT 1 FROM session LIMIT 1").fetchone() is None:
            return None
        row = self._db.execute("SELECT position FROM checkpoint WHERE epoch=?", (epoch,)).fetchone()
        return row[0] if row else 0

    def checkpoint(self, epoch: str, position: int, sightings: Collection[tuple[int, Sighting]]) -> dict[int, DevEui]:
        """Write back the uplink counters of these sessions, current as of a position of the log; whose they are."""
        with self._change() as db:
            db.executemany(
                "UPDATE session SET f_cnt_up=?, last_mic=? WHERE session_id=?",
                [(seen.f_cnt_up, seen.last_mic, session_id) for session_id, seen in sightings],
            )
            db.execute("DELETE FROM checkpoint")
            db.execute("INSERT INTO checkpoint (epoch, position) VALUES (?,?)", (epoch, position))
            owners: dict[int, DevEui] = {}
            for session_id, _ in sightings:
                for (dev_eui,) in db.execute("SELECT dev_eui FROM session WHERE session_id=?", (session_id,)):
                    owners[session_id] = DevEui(dev_eui)
            return owners

    # --- transactions

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StorageError(f"{FILE_NAME} could not be written: {error}") from error
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _drop(self, db: sqlite3.Connection, which: str, values: tuple[object, ...]) -> list[Gone]:
        gone = [(session_id, DevAddr(dev_addr)) for session_id, dev_addr in db.execute(which, values)]
        for session_id, _ in gone:
            db.execute("DELETE FROM session WHERE session_id=?", (session_id,))
            db.execute("DELETE FROM served WHERE session_id=?", (session_id,))
        return gone


def sessions_in_use(folder: Path, dev_eui: DevEui | None = None) -> dict[DevEui, Session]:
    """The session that each device joined here and uses, or the newest it was offered; of one device, or of all.

    For commands, beside a daemon or without one. Nothing when the gateway has answered no join yet.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    with closing(open_readonly(path)) as connection:
        file = NetworkFile(connection)
        try:
            joined = file.sessions() if dev_eui is None else file.sessions_of(dev_eui)
            found: dict[DevEui, JoinedSession] = {}
            for one in joined:
                before = found.get(one.session.dev_eui)
                if before is None or before.offered:
                    found[one.session.dev_eui] = one
        except sqlite3.Error as error:
            raise StorageError(f"{path} cannot be read: {error}") from error
    return {whose: one.session for whose, one in found.items()}


def with_joined(
    rows: Iterable[DeviceRow], joined: Iterable[JoinedSession]
) -> Iterator[tuple[DeviceRow, Sequence[Session]]]:
    """Devices with the session each uses, entered or joined here, and the one it was only offered yet.

    Both come by DevEUI, so neither has to be in memory. Sessions of devices that are not known any more are left out.
    """
    sessions = iter(joined)
    waiting = next(sessions, None)
    for row in rows:
        own, offered = row.session, list[Session]()
        while waiting is not None and waiting.session.dev_eui <= row.device.dev_eui:
            if waiting.session.dev_eui == row.device.dev_eui:
                if waiting.offered:
                    offered.append(waiting.session)
                else:
                    own = waiting.session
            waiting = next(sessions, None)
        yield replace(row, session=own), offered


def _joined(row: tuple[Any, ...]) -> JoinedSession:
    session_id, dev_eui, offered, dev_addr, mac_version, f_nwk, s_nwk, enc, app_s, f_cnt_up, last_mic = row
    session = Session(
        dev_eui=DevEui(dev_eui), dev_addr=DevAddr(dev_addr), mac_version=MacVersion(mac_version),
        f_nwk_s_int_key=AesKey(f_nwk), s_nwk_s_int_key=AesKey(s_nwk), nwk_s_enc_key=AesKey(enc),
        app_s_key=AesKey(app_s), session_id=session_id, f_cnt_up=f_cnt_up, last_mic=last_mic,
    )  # fmt: skip
    return JoinedSession(session, bool(offered))


def _written(entry: QueuedDownlink) -> str:
    return orjson.dumps(
        {
            "ref": entry.ref, "dev_eui": str(entry.dev_eui), "f_port": entry.f_port, "payload": entry.payload.hex(),
            "confirmed": entry.confirmed, "asked": _stamp_facts(entry.asked), "origin": entry.origin,
            "expires_after_s": entry.expires_after_s, "state": str(entry.state), "reason": entry.reason,
            "f_cnt": entry.f_cnt, "attempts": entry.attempts,
            "ended": None if entry.ended is None else _stamp_facts(entry.ended),
        }
    ).decode()  # fmt: skip


def _entry(text: str) -> QueuedDownlink:
    facts = orjson.loads(text)
    return QueuedDownlink(
        ref=facts["ref"], dev_eui=DevEui.parse(facts["dev_eui"]), f_port=facts["f_port"],
        payload=bytes.fromhex(facts["payload"]), confirmed=facts["confirmed"], asked=_stamp(facts["asked"]),
        origin=facts["origin"], expires_after_s=facts["expires_after_s"], state=DownlinkState(facts["state"]),
        reason=facts["reason"], f_cnt=facts["f_cnt"], attempts=facts["attempts"],
        ended=None if facts["ended"] is None else _stamp(facts["ended"]),
    )  # fmt: skip


def _stamp_facts(stamp: Stamp) -> list[Any]:
    return [stamp.utc_us, str(stamp.quality), stamp.uncertainty_ms, stamp.boot_id, stamp.monotonic_us]


def _stamp(facts: list[Any]) -> Stamp:
    utc_us, quality, uncertainty_ms, boot_id, monotonic_us = facts
    return Stamp(utc_us, TimeQuality(quality), uncertainty_ms, boot_id, monotonic_us)
