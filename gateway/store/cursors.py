"""How far each destination is: the algebra, and the file that remembers it."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING, Self

import orjson

from gateway.model import UNDATED
from gateway.store import wal
from gateway.store.database import open_database, open_readonly, rewrite
from gateway.store.mending import open_mended

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.model import Record

FILE_NAME = "cursors.sqlite3"

Range = tuple[int, int]  # first and last position, both included

PAGE_BYTES = 512  # a cursor is 200 bytes and saved each second: with 4,096 it cost as much flash as the records
MOST_DEAD_LETTERS = 10_000  # of one destination; the oldest give way
MOST_REASON = 500  # characters
NOBODY = b""  # whose losses they are that were of devices erased since
BOOTS_REMEMBERED = 2  # the clock tells of one, until it has remembered that it did


@dataclass(frozen=True, slots=True)
class Loss:
    """What of one device never reached a destination (`*`: never reached the store), summed up."""

    sink: str
    dev_eui: bytes
    reason: str
    first_f_cnt: int
    last_f_cnt: int
    records: int
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What one destination has settled, and what it still gets.

    Its obligations are the positions above `begin`. Those up to `prefix` are settled, and so are the `islands` beyond
    (acknowledged out of order, or by the live lane while a backlog waits). For every head of the log:
    positions above begin = acknowledged + given_up + skipped + erased + queued.
    """

    begin: int
    prefix: int
    islands: tuple[Range, ...] = ()
    acknowledged: int = 0
    given_up: int = 0
    skipped: int = 0  # positions that are no obligation of this destination: not in its tags, or never used
    erased: int = 0  # positions whose records were erased, because a person asked for it, before they were sent
    again: tuple[Range, ...] = ()  # asked for once more, or corrected since: sent beside everything else
    resent: int = 0
    paused: bool = False
    guessed: tuple[Range, ...] = ()  # where readings went out without a date to trust
    corrected: tuple[str, ...] = ()  # the last boots of which such readings were asked for again, with their dates

    @classmethod
    def starting_at(cls, head: int) -> Self:
        """A destination that gets everything after this position."""
        return cls(begin=head, prefix=head)

    def acknowledge(self, positions: Iterable[int]) -> Progress:
        """These were confirmed. Positions settled before count once."""
        after = self._settle(_ranges(positions))
        return replace(after, acknowledged=self.acknowledged + after._settled() - self._settled())

    def give_up(self, positions: Iterable[int]) -> Progress:
        """These will never be delivered; somebody has been told why."""
        after = self._settle(_ranges(positions))
        return replace(after, given_up=self.given_up + after._settled() - self._settled())

    def give_up_range(self, first: int, last: int) -> Progress:
        """Nothing in this range can be delivered any more: it was damaged, or left the store."""
        after = self._settle([(first, last)])
        return replace(after, given_up=self.given_up + after._settled() - self._settled())

    def skip(self, first: int, last: int) -> Progress:
        """These are not for this destination, or never were anything."""
        after = self._settle([(first, last)])
        return replace(after, skipped=self.skipped + after._settled() - self._settled())

    def erase_range(self, first: int, last: int) -> Progress:
        """These were erased: there is nothing left to send."""
        after = self._settle([(first, last)])
        return replace(after, erased=self.erased + after._settled() - self._settled())

    def send_again(self, first: int, last: int) -> Progress:
        """These are wanted once more. Of what was never sent, nothing: it comes by itself."""
        return self.send_all_again([(first, last)])

    def send_all_again(self, ranges: Iterable[Range]) -> Progress:
        """All these are wanted once more."""
        furthest = max([self.prefix, *(island[1] for island in self.islands)])
        wanted = [(first, min(last, furthest)) for first, last in ranges if first <= min(last, furthest)]
        return replace(self, again=_merged([*self.again, *wanted])) if wanted else self

    def note_dates(self, sent: Sequence[Record], span: Range) -> Progress:
        """These went out as they are, and nothing else in `span` did.

        Those without a date to trust are wanted once more: at once, when the time of their boot has become known while
        they were on their way, else when it does.
        """
        if not sent:  # it belongs to what lies before it: few ranges, whatever the destination takes
            guessed = [(first, span[1] if last == span[0] - 1 else last) for first, last in self.guessed]
            return replace(self, guessed=_merged(guessed))
        undated = {record.position for record in sent if record.reading.heard.quality in UNDATED}
        known = {record.position for record in sent if record.reading.heard.boot_id in self.corrected} & undated
        after = self.send_all_again((position, position) for position in known)
        guessed = _runs([record.position for record in sent], undated - known, span)
        return replace(after, guessed=_merged([*self.guessed, *guessed])) if guessed else after

    def correct(self, boot_id: str, positions: Sequence[int]) -> Progress:
        """The time of a boot became known: what of it went out without is wanted once more. Told again, it is done."""
        if boot_id in self.corrected:
            return self
        last = max(positions, default=0)
        after = self.send_all_again((position, position) for position in positions if _holds(self.guessed, position))
        return replace(
            after,
            guessed=tuple((max(first, last + 1), end) for first, end in self.guessed if end > last),
            corrected=(*self.corrected, boot_id)[-BOOTS_REMEMBERED:],
        )

    def sent_again(self, span: Range, records: int, recovered: int = 0) -> Progress:
        """What was wanted of these once more is sent; `recovered` of the records had been given up, and arrived."""
        before = [(first, min(last, span[0] - 1)) for first, last in self.again if first < span[0]]
        behind = [(max(first, span[1] + 1), last) for first, last in self.again if last > span[1]]
        return replace(
            self,
            again=(*before, *behind),
            resent=self.resent + records,
            acknowledged=self.acknowledged + recovered,
            given_up=self.given_up - recovered,
        )

    def pause(self, *, paused: bool) -> Progress:
        """Nothing leaves until it is resumed."""
        return replace(self, paused=paused)

    @property
    def done_through(self) -> int:
        """Nothing up to here will be sent, neither for the first time nor again."""
        return min(self.prefix, self.again[0][0] - 1) if self.again else self.prefix

    def is_settled(self, position: int) -> bool:
        """Whether a position needs nothing more."""
        return position <= self.prefix or _holds(self.islands, position)

    def queued(self, head: int) -> int:
        """How many positions up to `head` still wait."""
        beyond = sum(min(last, head) - first + 1 for first, last in self.islands if first <= head)
        return max(0, head - self.prefix - beyond)

    def balance(self, head: int) -> int:
        """Zero when the books are right: every obligation is settled once, or waits."""
        settled = self.acknowledged + self.given_up + self.skipped + self.erased
        return head - self.begin - settled - self.queued(head)

    def _settled(self) -> int:
        return self.prefix - self.begin + sum(last - first + 1 for first, last in self.islands)

    def _settle(self, ranges: Sequence[Range]) -> Progress:
        new = [(max(first, self.prefix + 1), last) for first, last in ranges if last > self.prefix]
        prefix, islands = self.prefix, list[Range]()
        for first, last in sorted([*self.islands, *new]):
            if first > last:
                continue
            if not islands and first <= prefix + 1:
                prefix = max(prefix, last)
            elif islands and first <= islands[-1][1] + 1:
                islands[-1] = (islands[-1][0], max(last, islands[-1][1]))
            else:
                islands.append((first, last))
        return replace(self, prefix=prefix, islands=tuple(islands))


_END = float("inf")


def _ranges(positions: Iterable[int]) -> tuple[Range, ...]:
    return _merged((position, position) for position in positions)


def _holds(ranges: Sequence[Range], position: int) -> bool:
    index = bisect_right(ranges, (position, _END)) - 1
    return index >= 0 and position <= ranges[index][1]


def _runs(positions: Sequence[int], chosen: set[int], span: Range) -> list[Range]:
    """As few ranges of `span` as hold the chosen positions and none of the others."""
    runs, first, begun = list[Range](), span[0], False
    for position in positions:
        if position in chosen:
            begun = True
            continue
        if begun:
            runs.append((first, position - 1))
        first, begun = position + 1, False
    return [*runs, (first, span[1])] if begun else runs


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same positions as few ranges in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


class CursorFile:
    """The file of all destinations' progress; belongs to the writer thread."""

    def __init__(self, folder: Path, *, reading: bool = False, expected: bool = False) -> None:
        """Open the file; `reading` beside whoever owns it. `expected`: it was there before."""
        file = folder / FILE_NAME
        self._path = file
        self.damage = ""  # in words
        self.has_forgotten = False  # who is not in it may have been, and has to get everything again
        if reading:
            self._db: sqlite3.Connection = open_readonly(file)
        else:
            # Commits that were not synced may be torn, one after the other: what is behind them SQLite does not see.
            ahead = wal.wal_bytes(file)
            torn = bool(ahead) and not wal.is_whole(ahead, PAGE_BYTES)
            opened = open_mended(file, "cursors", expected=expected, synchronous="NORMAL", page_size=PAGE_BYTES)
            self._db, self.damage = opened.db, opened.damage
            self.has_forgotten = torn or opened.was_damaged

    def load(self, sink: str, epoch: str) -> Progress | None:
        """What a destination had settled, or None for one that is new to this log."""
        row = self._db.execute("SELECT body FROM cursor WHERE sink=? AND epoch=?", (sink, epoch)).fetchone()
        if row is None:
            return None
        facts = orjson.loads(row[0])
        for name in ("islands", "again", "guessed"):
            facts[name] = tuple((first, last) for first, last in facts.get(name, ()))
        facts["corrected"] = tuple(facts.get("corrected", ()))
        return Progress(**facts)

    def furthest(self, epoch: str) -> int:
        """The last position that any destination has settled: it was given, whatever else is known."""
        rows = self._db.execute("SELECT sink FROM cursor WHERE epoch=?", (epoch,)).fetchall()
        found = [progress for (sink,) in rows if (progress := self.load(sink, epoch)) is not None]
        return max([0, *(max(one.prefix, *(last for _, last in one.islands), 0) for one in found)])

    def save(self, epoch: str, progress: Sequence[tuple[str, Progress]]) -> None:
        """Remember. A killed process finds it again, a power cut may go back about a second."""
        with self._change():
            self._put(epoch, progress)

    def _put(self, epoch: str, progress: Sequence[tuple[str, Progress]]) -> None:
        self._db.executemany(
            "INSERT INTO cursor (sink, epoch, body) VALUES (?,?,?) ON CONFLICT DO UPDATE SET body=excluded.body",
            [(sink, epoch, orjson.dumps(_facts(state)).decode()) for sink, state in progress],
        )

    def save_for_good(self, epoch: str, progress: Sequence[tuple[str, Progress]], losses: Sequence[Loss]) -> None:
        """Remember so that a power cut finds it too: what these positions held is about to be deleted."""
        with self._change(for_good=True):
            self._put(epoch, progress)
            self._db.executemany(
                "INSERT INTO loss (sink, dev_eui, reason, first_f_cnt, last_f_cnt, records, since_us, until_us)"
                " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
                " first_f_cnt=min(first_f_cnt, excluded.first_f_cnt), last_f_cnt=max(last_f_cnt, excluded.last_f_cnt),"
                " records=records+excluded.records, since_us=min(since_us, excluded.since_us),"
                " until_us=max(until_us, excluded.until_us)",
                [astuple(loss) for loss in losses],
            )

    @contextmanager
    def _change(self, *, for_good: bool = False) -> Iterator[None]:
        """A transaction; refused by the disk it leaves nothing open, neither itself nor a file that is only read."""
        try:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if for_good else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                fresh = open_database(
                    self._path, "cursors", synchronous="NORMAL", page_size=PAGE_BYTES, any_thread=True
                )
                self._db.close()
                self._db = fresh
            raise

    def lost(self) -> dict[tuple[str, str], int]:
        """How many records were lost, by destination and reason."""
        rows = self._db.execute("SELECT sink, reason, sum(records) FROM loss GROUP BY sink, reason")
        return {(sink, reason): records for sink, reason, records in rows}

    def losses(self) -> list[Loss]:
        """Everything that was lost, by destination and device."""
        return [Loss(*row[:8]) for row in self._db.execute("SELECT * FROM loss ORDER BY sink, dev_eui, reason")]

    def refuse(self, sink: str, epoch: str, refused: Sequence[tuple[int, str]], utc_us: int) -> None:
        """Remember what a destination will never take, and why; within a bound, the oldest give way."""
        with self._change():
            self._db.executemany(
                "INSERT OR REPLACE INTO dead_letter (sink, epoch, position, reason, utc_us) VALUES (?,?,?,?,?)",
                [(sink, epoch, position, reason[:MOST_REASON], utc_us) for position, reason in refused],
            )
            self._db.execute(
                "DELETE FROM dead_letter WHERE sink=?1 AND epoch=?2 AND position <= (SELECT position FROM dead_letter"
                " WHERE sink=?1 AND epoch=?2 ORDER BY position DESC LIMIT 1 OFFSET ?3)",
                (sink, epoch, MOST_DEAD_LETTERS),
            )

    def dead_letters(self, sink: str, epoch: str) -> list[tuple[int, str, int]]:
        """What a destination has refused: position, reason, when."""
        return self._db.execute(
            "SELECT position, reason, utc_us FROM dead_letter WHERE sink=? AND epoch=? ORDER BY position", (sink, epoch)
        ).fetchall()

    def tried_again(
        self, sink: str, epoch: str, delivered: Iterable[int], refused: Sequence[tuple[int, str]], utc_us: int
    ) -> None:
        """What became of dead letters that were sent once more: gone, or refused again for this reason."""
        with self._change():
            self._db.executemany(
                "DELETE FROM dead_letter WHERE sink=? AND epoch=? AND position=?",
                [(sink, epoch, position) for position in delivered],
            )
            self._db.executemany(
                "UPDATE dead_letter SET reason=?, utc_us=? WHERE sink=? AND epoch=? AND position=?",
                [(reason[:MOST_REASON], utc_us, sink, epoch, position) for position, reason in refused],
            )

    def erase(self, dev_eui: bytes, epoch: str, positions: Sequence[int]) -> None:
        """Nothing here names this device any more, nor a record at these positions; the sums stay what they were."""
        self._db.execute("PRAGMA secure_delete = ON")
        with self._change(for_good=True):
            self._db.execute(
                "INSERT INTO loss (sink, dev_eui, reason, first_f_cnt, last_f_cnt, records, since_us, until_us)"
                " SELECT sink, ?, reason, 0, 0, records, 0, 0 FROM loss WHERE dev_eui=? ON CONFLICT DO UPDATE SET"
                " records=records+excluded.records",
                (NOBODY, dev_eui),
            )
            self._db.execute("DELETE FROM loss WHERE dev_eui=?", (dev_eui,))
            self._db.executemany(
                "DELETE FROM dead_letter WHERE epoch=? AND position=?", ((epoch, position) for position in positions)
            )
            self._db.execute("DELETE FROM dead_letter WHERE instr(lower(reason), ?)", (dev_eui.hex(),))
        rewrite(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _facts(state: Progress) -> dict[str, object]:
    facts = asdict(state)
    if not state.erased:
        del facts["erased"]  # a version before this one knows no such word
    return facts
