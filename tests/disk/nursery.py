"""A process under trouble.c that has everything loaded and forks a child for each life: a run takes milliseconds.

The child may be killed at any call, may hang (an alarm ends it) or fail; what it told before that has arrived.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trouble import Trouble

T = TypeVar("T")

PROJECT = Path(__file__).parents[2]
HUNG_AFTER_S = 20
EXHAUSTIVE = bool(os.environ.get("CRASH_EXHAUSTIVE"))  # `make crash`
SHOWN = int(os.environ.get("DISK_SHOWN", "8"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a child told, in order, and how it ended."""

    facts: list[list[Any]]
    signal: int
    error: str

    def of(self, kind: str) -> list[Any]:
        """The facts of a kind; of each its only word."""
        return [fact[1] for fact in self.facts if fact[0] == kind]

    @property
    def breaches(self) -> list[str]:
        """What went wrong, in words."""
        ended = [f"ended by {signal.Signals(self.signal).name}"] if self.signal else []
        return [*self.of("breach"), *ended, *([self.error] if self.error else [])]


class Nursery:
    """The test's side: `run` a function of lives.py, kept_promises.py or formats in a child of its own."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def __enter__(self) -> Self:
        paths = [str(PROJECT), str(PROJECT / "tests"), str(Path(__file__).parent)]
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **self._trouble.environment, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(HUNG_AFTER_S)
        self._process.stdout.close()

    def run(self, function: str, folder: Path, *words: Any, **more: Any) -> Outcome:
        """`module.function` with a folder and plain values."""
        self._process.stdin.write(json.dumps([function, str(folder), words, more]) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


def some(cases: Iterable[T], most: int) -> list[T]:
    """All cases in `make crash`; else so many of them, the same ones at each run."""
    every = [*cases]
    if EXHAUSTIVE or len(every) <= most:
        return every
    return [every[index] for index in sorted(random.Random(len(every)).sample(range(len(every)), most))]


def fresh_copy(source: Path, target: Path) -> Path:
    """The target, made anew as a copy of the source, if there is one."""
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target)
    return target


def told_briefly(broken: Sequence[str]) -> str:
    """Enough of many breaches to see what is wrong."""
    return "\n".join([f"{len(broken)} promises broken", *broken[:SHOWN], *(["…"] if len(broken) > SHOWN else [])])


def _serve() -> None:
    import kept_promises  # noqa: F401
    import lives  # noqa: F401 - loaded once, before the children; so are the next two
    import trouble  # noqa: F401

    from gateway.store.database import open_database

    open_database(Path(":memory:"), "keys").close()  # loads what a child that becomes nobody could not load any more
    gc.freeze()  # children share what they never touch
    for line in sys.stdin:
        function, folder, words, more = json.loads(line)
        sys.stdout.write(json.dumps(_child(function, Path(folder), words, more)) + "\n")
        sys.stdout.flush()


def _child(function: str, folder: Path, words: list[Any], more: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os._exit(_live(writing, function, folder, words, more))
    os.close(writing)
    with open(reading, encoding="utf-8") as told:  # noqa: PTH123 - a descriptor
        facts = [json.loads(line) for line in told]
    _, status = os.waitpid(child, 0)
    errors = [fact[1] for fact in facts if fact[0] == "error"]
    return {
        "facts": [fact for fact in facts if fact[0] != "error"],
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "error": errors[0] if errors else "",
    }


def _live(writing: int, function: str, folder: Path, words: list[Any], more: dict[str, Any]) -> int:
    from trouble import mark

    def tell(*fact: Any) -> None:
        text = json.dumps(fact)
        os.write(writing, text.encode() + b"\n")
        mark(text)

    signal.alarm(HUNG_AFTER_S)
    module, _, name = function.partition(".")
    try:
        getattr(sys.modules[module], name)(tell, folder, *words, **more)
    except BaseException:  # noqa: BLE001 - told to whoever asked
        tell("error", traceback.format_exc(limit=-4))
        return 1
    return 0


if __name__ == "__main__":
    _serve()
