"""Codecs and their worker: requests wait in a lane, go over in batches, and each gets exactly one outcome.

A Python codec has a lane to itself, because then whatever it does, it does to itself: a crash or a stall holds up
nobody else's devices, and no codec can change what another one says. JavaScript codecs share lanes: the engine keeps
them apart, each message in a context of its own. One that overran, though, works alone from then on.

Requests of one turn of the event loop go as one message; while the worker is busy they gather for the next. When a
worker dies over a batch, nobody knows whose fault it was: each request that has no answer yet goes again, alone, and
the one over which the next worker dies is answered with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.decoding.process import WorkerProcess
from gateway.decoding.standing import CodecHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.decoding.standing import Standing

log = logging.getLogger(__name__)

LETTERS = frozenset({b"=", b"!", b"T", b"M", b"L"})  # how an answer begins, see link.py
EXTENSIONS = 4  # how many more times `wall_s` a worker may have that hardly got the processor


@dataclass(frozen=True, slots=True)
class Limits:
    """What a codec may use."""

    cpu_s: float = 0.1  # one call; The Things Stack and ChirpStack allow the same
    wall_s: float = 1.0  # no answer for this long ends the worker
    load_cpu_s: float = 2.0  # compiling and importing; a Python codec's first lines
    start_s: float = 20.0  # until a new worker is ready, on a machine that has better things to do
    memory_bytes: int = 64 << 20  # above what the interpreter itself takes
    result_bytes: int = 64 << 10  # one result as JSON
    overruns: int = 5  # in a row, then the codec is set aside
    batch: int = 256  # requests in one message
    queue: int = 4096  # requests that wait in one lane; more wait in the callers
    workers: int = 16  # processes at once; an idle one gives way
    shared: int = 2  # of these, for JavaScript codecs together


@dataclass(frozen=True, slots=True)
class Program:
    """A worker's program: the module, and what its setup has besides the limits."""

    module: str
    setup: tuple[tuple[str, Any], ...] = ()
    shares: int = 1  # how many times `cpu_s` one request may take, compiling included


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: the codec's result as JSON value, or why there is none."""

    result: Any = None
    problem: str | None = None
    brackets: int = 0  # in the result's JSON text


@dataclass(slots=True, eq=False)
class _Job:
    standing: Standing
    request: tuple[Any, ...]
    future: asyncio.Future[Outcome] | None = None  # none where nobody waits: for a load
    alone: bool = False

    def settle(self, outcome: Outcome) -> None:
        if self.future is not None and not self.future.done():  # its caller may have gone
            self.future.set_result(outcome)


class Lane:
    """A worker, ready to be asked. Made and used inside a running event loop."""

    def __init__(
        self,
        program: Program,
        limits: Limits,
        clock: Callable[[], float],
        before_start: Callable[[], None],
        *,
        shared: bool = False,
    ) -> None:
        """Nothing is started yet; `before_start` is called each time a worker is about to be."""
        self.limits = limits
        self.shared = shared
        self.codecs: set[Standing] = set()
        self.used_s = 0.0  # when it was last asked
        self._program = program
        self._clock = clock
        self._before_start = before_start
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._flying: deque[_Job] = deque()  # gone over to the worker, in this order
        self._callers: deque[asyncio.Future[None]] = deque()  # wait for room in the queue
        self._worker: WorkerProcess | None = None
        self._leaving: set[WorkerProcess] = set()
        self._ready = False  # the worker's walls are up
        self._told: set[Standing] = set()  # whom the worker was told to load
        self._send_due = False
        self._deadline: asyncio.TimerHandle | None = None
        self._sent_cpu_s = 0.0
        self._extended = 0
        self._number = 0  # of the worker's answers
        self._starts = 0
        self._guarded: bool | None = None

    # --- asked ------------------------------------------------------------------------------------------------------

    async def ask(self, standing: Standing, verb: str, *arguments: Any) -> Outcome:
        """Put a request to a codec; what came of it, always."""
        while len(self._waiting) >= self.limits.queue:
            turn = self._loop.create_future()
            self._callers.append(turn)
            await turn
        self.used_s = now_s = self._clock()
        if refusal := standing.refusal(now_s):
            return Outcome(problem=refusal)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append(_Job(standing, (verb, standing.number, *arguments), future))
        if not self._flying:
            self._send_soon()
        return await future

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting or self._flying)

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self._worker is not None

    async def leave(self, standing: Standing) -> None:
        """Let what waits for a codec be answered, then have nothing to do with it any more."""
        while futures := [
            job.future for job in (*self._flying, *self._waiting) if job.standing is standing and job.future is not None
        ]:
            await asyncio.wait(futures)
        self.codecs.discard(standing)
        if standing in self._told and self.codecs:
            self._told.discard(standing)
            self._waiting.append(_Job(standing, ("forget", standing.number)))
            if not self._flying:
                self._send_soon()

    async def close(self) -> None:
        """Let what waits be answered, within the limits, then end the worker and wait until it is gone."""
        while futures := [job.future for job in (*self._flying, *self._waiting) if job.future is not None]:
            await asyncio.wait(futures)
        self._flying.clear()
        self.rest()
        while self._leaving:
            await asyncio.wait([worker.ended for worker in self._leaving])

    def rest(self) -> None:
        """Let go of the worker; the next request starts another."""
        self._unwatch()
        self._ready = False
        self._told.clear()
        self._drop_errands()
        worker, self._worker = self._worker, None
        if worker is not None:
            self._leaving.add(worker)
            worker.hang_up(self.limits.wall_s)

    def abandon(self, problem: str) -> None:
        """Answer everything that waits with a problem and end the worker by force."""
        jobs = [*self._flying, *self._take_waiting()]
        self._flying.clear()
        worker = self._worker
        self.rest()
        if worker is not None:
            worker.kill(problem)
        for job in jobs:
            job.settle(Outcome(problem=problem))

    def health(self, standing: Standing) -> CodecHealth:
        """How one of its codecs does now."""
        waiting = sum(job.standing is standing for job in (*self._waiting, *self._flying))
        if standing.load_problem is not None:
            state, detail = "cannot load", standing.load_problem
        elif refusal := standing.refusal(self._clock()):
            state, detail = "set aside", refusal
        elif self._worker is not None and not self._ready:
            state, detail = "starting", "its worker starts"
        elif waiting:
            state, detail = "working", f"{waiting} payloads wait for it"
        else:
            state, detail = "idle", "waits for payloads"
        return CodecHealth(
            codec=standing.setup.id,
            state=state,
            detail=detail,
            answered=standing.answered,
            overruns=standing.overran,
            restarts=max(0, self._starts - 1),
            guarded=self._guarded,
            pid=None if self._worker is None else self._worker.pid,
        )

    # --- sending ----------------------------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        if not self._send_due:
            self._send_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._send_due = False
        if self._flying or not self._waiting:
            return
        if self._worker is None:
            self._start()
        if self._worker is None:
            return
        batch = [self._waiting.popleft()]
        if not batch[0].alone:
            while len(batch) < self.limits.batch and self._waiting and not self._waiting[0].alone:
                batch.append(self._waiting.popleft())
        self._wake_callers(self.limits.queue - len(self._waiting))
        self._hand_over(self._worker, batch)

    def _hand_over(self, worker: WorkerProcess, batch: Iterable[_Job]) -> None:
        """Send requests, and before a codec's first one the codec."""
        for job in batch:
            if job.standing not in self._told and job.future is not None:
                self._told.add(job.standing)
                self._flying.append(_Job(job.standing, job.standing.load_request()))
            self._flying.append(job)
        self._extended = 0
        self._watch()
        worker.send([job.request for job in self._flying])

    def _start(self) -> None:
        limits = self.limits
        self._before_start()
        try:
            worker = WorkerProcess(
                self._program.module, self._heard, self._gone, longest_line=limits.result_bytes + 1024
            )
        except OSError as error:
            self._cannot_start(f"the codec's worker cannot be started: {error}")
            return
        self._worker = worker
        self._starts += 1
        self._number = 0
        worker.send(
            {
                "cpu_s": limits.cpu_s,
                "load_cpu_s": limits.load_cpu_s,
                "memory_bytes": limits.memory_bytes,
                "result_bytes": limits.result_bytes,
                **dict(self._program.setup),
            },
        )

    def _cannot_start(self, problem: str) -> None:
        jobs = self._take_waiting()
        for standing in {job.standing for job in jobs}:
            self._blame(standing, problem, [job for job in jobs if job.standing is standing])

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _heard(self, worker: WorkerProcess, lines: list[bytes]) -> None:
        for line in lines:
            if worker is not self._worker:
                return
            if self._ready or line[:2] == b"L ":
                self._settle(line)
            else:
                self._begin(line)
        if self._flying:
            self._watch()
        elif self._ready:
            self._unwatch()
            if self._waiting:
                self._send_soon()  # after those just answered have asked again

    def _begin(self, line: bytes) -> None:
        """Hear that the worker is ready. Whatever else it says first is not what our program says."""
        said = _json(line[4:]) if line[:4] == b"R 0 " else None
        if type(said) is not dict:
            self._discard("it speaks nonsense")
            return
        self._ready = True
        guarded = said.get("guarded") is True
        if not guarded and self._guarded is None:
            log.warning("codecs run without the kernel's filter: no seccomp on this system")
        self._guarded = guarded

    def _settle(self, line: bytes) -> None:
        """Give a line to the request it answers. A line that answers none means that the codec writes by itself."""
        letter, _, rest = line.partition(b" ")
        number, _, body = rest.partition(b" ")
        self._number += 1
        said = _json(body)
        if not self._flying or number != b"%d" % self._number or letter not in LETTERS or said is None:
            self._discard("it answered what nobody asked")
            return
        job = self._flying.popleft()
        standing = job.standing
        if letter == b"L":
            self._cannot_load(standing, str(said)[:1000])
        elif job.future is None:
            return
        elif standing.load_problem is not None:
            job.settle(Outcome(problem=standing.load_problem))
        elif letter == b"=":
            standing.kept_to_limits()
            job.settle(Outcome(said, brackets=body.count(b"{") + body.count(b"[")))
        elif letter == b"!":
            standing.kept_to_limits()
            job.settle(Outcome(problem=f"the codec failed: {str(said)[:1000]}"))
        else:
            self._blame(standing, f"the codec was stopped: {str(said)[:1000]}", [job])
            if letter == b"M":  # the worker ends over it; what it had not begun yet goes to the next
                self._send_again(self._flying)
                self.rest()
            self._replace()

    def _cannot_load(self, standing: Standing, reason: str) -> None:
        """Tell all who asked a codec that it will not do. Nothing but another text makes that better."""
        standing.load_problem = f"the codec {standing.setup.id} cannot be loaded: {reason}"
        log.warning("%s", standing.load_problem)
        for job in self._take_waiting(standing):
            job.settle(Outcome(problem=standing.load_problem))
        if not self.shared:
            jobs, self._flying = self._flying, deque()
            self.rest()
            for job in jobs:
                job.settle(Outcome(problem=standing.load_problem))

    def _discard(self, reason: str) -> None:
        """End a worker that cannot be believed any more."""
        worker = self._worker
        self.rest()
        if worker is not None:
            worker.kill(reason)
        self._accuse(reason)
        self._replace()

    def _gone(self, worker: WorkerProcess, reason: str) -> None:
        """A worker is dead and buried. If it was the one at work: whose fault was it, and start another."""
        self._leaving.discard(worker)
        if worker is not self._worker:
            return
        was_ready = self._ready
        self._worker = None
        self.rest()
        if self._flying:
            self._accuse(reason)
        if was_ready or self._waiting:
            self._replace()

    def _accuse(self, reason: str) -> None:
        """A worker was lost over what it had to do: find out whose fault it was.

        If that was one request it is to blame, and so is a load that was not answered: loads are told at once. Else
        each request goes again.
        """
        flying = list(self._flying)
        self._flying.clear()
        if flying and flying[0].future is None:
            standing = flying[0].standing
            mine = [job for job in flying if job.standing is standing] + self._take_waiting(standing)
            self._send_again(job for job in flying if job.standing is not standing)
            self._blame(standing, f"the codec's worker did not start: {reason}", mine)
            return
        asked = [job for job in flying if job.future is not None]
        if len(asked) > 1:
            for job in asked:
                job.alone = True
            self._send_again(asked)
        elif asked:
            self._blame(asked[0].standing, f"the codec was stopped: {reason}", asked)

    def _send_again(self, jobs: Iterable[_Job]) -> None:
        """Put requests that got no answer before those that wait; loads and the like are made anew."""
        again = [job for job in jobs if job.future is not None]
        self._flying.clear()
        self._waiting.extendleft(reversed(again))

    def _replace(self) -> None:
        """Have a worker ready for the next request, unless the codec is set aside."""
        if self._worker is not None:
            return
        if self._waiting:
            self._send_soon()
        elif not self.shared and not any(codec.refusal(self._clock()) for codec in self.codecs):
            self._start()
            if self._worker is not None:
                self._told |= self.codecs
                self._flying.extend(_Job(codec, codec.load_request()) for codec in self.codecs)
                self._hand_over(self._worker, ())

    # --- overruns ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._unwatch()
        if self._worker is None:
            return
        loading = not self.shared and bool(self._flying) and self._flying[0].future is None
        if self._ready and not loading:
            self._sent_cpu_s = self._worker.cpu_s()
            self._deadline = self._loop.call_later(self.limits.wall_s, self._stalled)
        else:
            reason = f"it did not start in {self.limits.start_s:g} s"
            self._deadline = self._loop.call_later(self.limits.start_s, self._worker.kill, reason)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stalled(self) -> None:
        """Nothing was heard for too long. A worker that never got the processor is not to blame, up to a point."""
        self._deadline = None
        if self._worker is None:
            return
        starved = self._worker.cpu_s() - self._sent_cpu_s < self.limits.cpu_s * self._program.shares
        if starved and self._extended < EXTENSIONS:
            self._extended += 1
            self._deadline = self._loop.call_later(self.limits.wall_s, self._stalled)
        else:
            self._worker.kill(f"it gave no answer within {self.limits.wall_s * (1 + self._extended):g} s")

    def _blame(self, standing: Standing, problem: str, jobs: list[_Job]) -> None:
        standing.overran += 1
        patience = standing.patience
        log.debug("codec %s: %s", standing.setup.id, problem)
        if patience.overrun(self._clock()):
            log.warning("codec %s is set aside for %g s: %s", standing.setup.id, patience.wait_s, problem)
            aside = Outcome(problem=standing.aside(patience.wait_s))
            for waiting in self._take_waiting(standing):
                waiting.settle(aside)
            if not self._flying and not self.shared:
                self.rest()
        for job in jobs:
            job.settle(Outcome(problem=problem))

    def _take_waiting(self, standing: Standing | None = None) -> list[_Job]:
        """Take out what waits, all of it or what waits for one codec."""
        jobs = [job for job in self._waiting if standing is None or job.standing is standing]
        self._waiting = deque(job for job in self._waiting if standing is not None and job.standing is not standing)
        self._wake_callers(len(self._callers))
        return jobs

    def _drop_errands(self) -> None:
        """Forget what only the worker that leaves had to be told."""
        self._waiting = deque(job for job in self._waiting if job.future is not None)

    def _wake_callers(self, room: int) -> None:
        while room > 0 and self._callers:
            turn = self._callers.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1


def _json(text: bytes) -> Any:
    """A worker is not believed: None when it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
