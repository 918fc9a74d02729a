"""One codec and its worker: requests wait in a lane, go over in batches, and each gets exactly one outcome.

A worker of its own for each codec, because then whatever a codec does, it does to itself: a crash or a stall holds up
nobody else's devices, and no codec can change what another one says.

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

from gateway.decoding.patience import Patience
from gateway.decoding.process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LETTERS = frozenset({b"=", b"!", b"T", b"M"})  # how an answer begins, see worker.py
EXTENSIONS = 4  # how many more times `wall_s` a worker may have that hardly got the processor


@dataclass(frozen=True, slots=True)
class Limits:
    """What a codec may use."""

    cpu_s: float = 0.1  # one call; The Things Stack and ChirpStack allow the same
    wall_s: float = 1.0  # no answer for this long ends the worker
    load_cpu_s: float = 2.0  # compiling and importing; a codec's first lines
    start_s: float = 20.0  # until a new worker is ready, on a machine that has better things to do
    memory_bytes: int = 64 << 20  # above what the interpreter itself takes
    result_bytes: int = 64 << 10  # one result as JSON
    overruns: int = 5  # in a row, then the codec is set aside
    batch: int = 256  # requests in one message
    queue: int = 4096  # requests that wait for one codec; more wait in the callers
    workers: int = 16  # processes at once; an idle one gives way


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is started with."""

    id: str  # VENDOR/DEVICE@version
    module: str  # the worker's program
    file: str  # the codec's name in its messages
    source: str
    defaults: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: the codec's result as JSON value, or why there is none."""

    result: Any = None
    problem: str | None = None
    brackets: int = 0  # in the result's JSON text


@dataclass(slots=True)
class _Job:
    request: tuple[Any, ...]
    future: asyncio.Future[Outcome]
    alone: bool = False

    def settle(self, outcome: Outcome) -> None:
        if not self.future.done():  # its caller may have gone
            self.future.set_result(outcome)


@dataclass(frozen=True, slots=True)
class CodecHealth:
    """How a codec does, for `status` and the console; `detail` is a sentence for a person."""

    codec: str
    state: str  # "idle", "starting", "working", "set aside", "cannot load"
    detail: str
    answered: int  # calls that kept to the limits, errors of the codec included
    overruns: int  # calls that did not: time, memory, a dead worker
    restarts: int
    guarded: bool | None  # whether the kernel's filter holds; None before the first start
    pid: int | None


class Lane:
    """A codec, ready to be asked. Made and used inside a running event loop."""

    def __init__(
        self, setup: Setup, limits: Limits, clock: Callable[[], float], before_start: Callable[[], None]
    ) -> None:
        """Nothing is started yet; `before_start` is called each time a worker is about to be."""
        self.setup = setup
        self.limits = limits
        self.used_s = 0.0  # when it was last asked
        self._clock = clock
        self._before_start = before_start
        self._patience = Patience(limits.overruns)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._flying: deque[_Job] = deque()  # gone over to the worker, in this order
        self._callers: deque[asyncio.Future[None]] = deque()  # wait for room in the queue
        self._worker: WorkerProcess | None = None
        self._leaving: set[WorkerProcess] = set()
        self._ready = False  # the worker has loaded the codec
        self._send_due = False
        self._load_problem: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._sent_cpu_s = 0.0
        self._extended = 0
        self._number = 0  # of the worker's answers
        self._answered = self._overran = self._starts = 0
        self._guarded: bool | None = None

    # --- asked ------------------------------------------------------------------------------------------------------

    async def ask(self, request: tuple[Any, ...]) -> Outcome:
        """Put a request to the codec; what came of it, always."""
        while len(self._waiting) >= self.limits.queue:
            turn = self._loop.create_future()
            self._callers.append(turn)
            await turn
        self.used_s = now_s = self._clock()
        if self._load_problem is not None:
            return Outcome(problem=self._load_problem)
        if wait_s := self._patience.waiting_s(now_s):
            return Outcome(problem=self._aside(wait_s))
        job = _Job(request, self._loop.create_future())
        self._waiting.append(job)
        if not self._flying:
            self._send_soon()
        return await job.future

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting or self._flying)

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self._worker is not None

    async def close(self) -> None:
        """Let what waits be answered, within the limits, then end the worker and wait until it is gone."""
        while self.busy:
            await asyncio.wait([job.future for job in (*self._flying, *self._waiting)])
        self.rest()
        while self._leaving:
            await asyncio.wait([worker.ended for worker in self._leaving])

    def rest(self) -> None:
        """Let go of the worker; the next request starts another."""
        self._unwatch()
        self._ready = False
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

    def health(self) -> CodecHealth:
        """The state now."""
        wait_s = self._patience.waiting_s(self._clock())
        if self._load_problem is not None:
            state, detail = "cannot load", self._load_problem
        elif wait_s:
            state, detail = "set aside", self._aside(wait_s)
        elif self._worker is not None and not self._ready:
            state, detail = "starting", "its worker starts"
        elif self.busy:
            state, detail = "working", f"{len(self._waiting) + len(self._flying)} payloads wait for it"
        else:
            state, detail = "idle", "waits for payloads"
        return CodecHealth(
            codec=self.setup.id,
            state=state,
            detail=detail,
            answered=self._answered,
            overruns=self._overran,
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
        if self._worker is None or not self._ready:
            return
        self._flying.append(self._waiting.popleft())
        if not self._flying[0].alone:
            while len(self._flying) < self.limits.batch and self._waiting and not self._waiting[0].alone:
                self._flying.append(self._waiting.popleft())
        self._wake_callers(self.limits.queue - len(self._waiting))
        self._extended = 0
        self._watch()
        self._worker.send([job.request for job in self._flying])

    def _start(self) -> None:
        limits, setup = self.limits, self.setup
        self._before_start()
        try:
            worker = WorkerProcess(setup.module, self._heard, self._gone, longest_line=limits.result_bytes + 1024)
        except OSError as error:
            self._blame(f"the codec's worker cannot be started: {error}", self._take_waiting())
            return
        self._worker = worker
        self._starts += 1
        self._deadline = self._loop.call_later(limits.start_s, worker.kill, f"it did not start in {limits.start_s:g} s")
        worker.send(
            {
                "source": setup.source,
                "file": setup.file,
                "defaults": setup.defaults,
                "cpu_s": limits.cpu_s,
                "load_cpu_s": limits.load_cpu_s,
                "memory_bytes": limits.memory_bytes,
                "result_bytes": limits.result_bytes,
            },
        )

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _heard(self, worker: WorkerProcess, lines: list[bytes]) -> None:
        for line in lines:
            if worker is not self._worker:
                return
            if self._ready:
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
        said = _json(line[2:])
        if line[:2] == b"R " and type(said) is dict:
            self._ready = True
            self._number = 0
            guarded = said.get("guarded") is True
            if not guarded and self._guarded is None:
                log.warning("codec %s runs without the kernel's filter: no seccomp on this system", self.setup.id)
            self._guarded = guarded
            return
        reason = said if type(said) is str else "its worker speaks nonsense"
        self._load_problem = f"the codec {self.setup.id} cannot be loaded: {reason[:1000]}"
        log.warning("%s", self._load_problem)
        self.rest()
        for job in self._take_waiting():
            job.settle(Outcome(problem=self._load_problem))

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
        if letter == b"=":
            self._kept_to_limits()
            job.settle(Outcome(said, brackets=body.count(b"{") + body.count(b"[")))
        elif letter == b"!":
            self._kept_to_limits()
            job.settle(Outcome(problem=f"the codec failed: {str(said)[:1000]}"))
        else:
            self._blame(f"the codec was stopped: {str(said)[:1000]}", [job])
            if letter == b"M":  # the worker ends over it; what it had not begun yet goes to the next
                self._waiting.extendleft(reversed(self._flying))
                self._flying.clear()
                self.rest()
            self._replace()

    def _kept_to_limits(self) -> None:
        self._answered += 1
        if self._patience.in_a_row:
            self._patience.answered()

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
        self._unwatch()
        self._worker = None
        if not self._ready:
            self._blame(f"the codec's worker did not start: {reason}", self._take_waiting())
            return
        self._ready = False
        if self._flying:
            self._accuse(reason)
        self._replace()

    def _accuse(self, reason: str) -> None:
        """A worker was lost over what it had to do: if that was one request it is to blame, else each goes again."""
        flying = list(self._flying)
        self._flying.clear()
        if len(flying) > 1:
            for job in flying:
                job.alone = True
            self._waiting.extendleft(reversed(flying))
        else:
            self._blame(f"the codec was stopped: {reason}", flying)

    def _replace(self) -> None:
        """Have a worker ready for the next request, unless the codec is set aside."""
        if self._worker is None and not self._patience.waiting_s(self._clock()):
            self._start()

    # --- overruns ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._unwatch()
        if self._worker is not None:
            self._sent_cpu_s = self._worker.cpu_s()
            self._deadline = self._loop.call_later(self.limits.wall_s, self._stalled)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stalled(self) -> None:
        """Nothing was heard for too long. A worker that never got the processor is not to blame, up to a point."""
        self._deadline = None
        if self._worker is None:
            return
        starved = self._worker.cpu_s() - self._sent_cpu_s < self.limits.cpu_s / 2
        if starved and self._extended < EXTENSIONS:
            self._extended += 1
            self._deadline = self._loop.call_later(self.limits.wall_s, self._stalled)
        else:
            self._worker.kill(f"it gave no answer within {self.limits.wall_s * (1 + self._extended):g} s")

    def _blame(self, problem: str, jobs: list[_Job]) -> None:
        self._overran += 1
        log.debug("codec %s: %s", self.setup.id, problem)
        if self._patience.overrun(self._clock()):
            log.warning("codec %s is set aside for %g s: %s", self.setup.id, self._patience.wait_s, problem)
            aside = Outcome(problem=self._aside(self._patience.wait_s))
            for waiting in self._take_waiting():
                waiting.settle(aside)
            if not self._flying:
                self.rest()
        for job in jobs:
            job.settle(Outcome(problem=problem))

    def _take_waiting(self) -> list[_Job]:
        jobs = list(self._waiting)
        self._waiting.clear()
        self._wake_callers(len(self._callers))
        return jobs

    def _wake_callers(self, room: int) -> None:
        while room > 0 and self._callers:
            turn = self._callers.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    def _aside(self, wait_s: float) -> str:
        return (
            f"the codec {self.setup.id} is set aside: it overran its limits {self._patience.in_a_row} times in a row;"
            f" it is tried again in {wait_s:.0f} s"
        )


def _json(text: bytes) -> Any:
    """A worker is not believed: None when it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
