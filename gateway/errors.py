"""The errors that reach a person. Each says what happened, with which thing, and what to do about it.

    GatewayError                problem + hint
    ├── SettingsError           exit 2: every problem of a settings or import file, `FILE:LINE key problem`
    ├── UsageError              exit 2: the command was asked for something that cannot be
    ├── RadioError              exit 3: the concentrator, its bus, its pins
    ├── StorageError            exit 4: the data folder, the disk, a file that cannot be read
    │   ├── DiskTrouble         the disk takes no writing now: full, read-only, failing; the gateway goes on in memory
    │   └── StoreFull           a state, counted and shown: the limit is reached and the settings keep the oldest
    └── NotRunning              exit 1: the daemon this command talks to does not answer

What happens daily is no error but a value: `model.Refusal`, `model.TxResult`, a codec's `problem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class GatewayError(Exception):
    """Something a person has to know: the problem in one sentence, and the next step."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def lines(self) -> list[str]:
        """What the console prints, one line each."""
        return [self.problem, *([f"→ {self.hint}"] if self.hint else [])]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where, in which key, what."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.key} {self.text}"


class SettingsError(GatewayError):
    """A file that people write has mistakes; all of them at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        super().__init__(f"{len(problems)} problem{'s'[: len(problems) != 1]}", hint=hint)
        self.problems = tuple(problems)

    def lines(self) -> list[str]:
        """One line for each problem, in the order of the file."""
        return [*map(str, self.problems), *([f"→ {self.hint}"] if self.hint else [])]


class UsageError(GatewayError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class RadioError(GatewayError):
    """No concentrator can be had."""

    exit_code = 3


class StorageError(GatewayError):
    """The data folder cannot be used."""

    exit_code = 4


class DiskTrouble(StorageError):  # noqa: N818 - a state of the machine, not of the data
    """The disk takes no writing now, whatever the files on it are like."""


class StoreFull(StorageError):  # noqa: N818 - a state, counted and shown
    """The store's limit is reached and the settings keep the oldest: what comes now is not kept."""


class DeviceForgotten(StorageError):  # noqa: N818 - a state of the device
    """The device was erased because a person asked for it: what comes of it is not kept."""


class NotRunning(GatewayError):  # noqa: N818 - reads as the sentence it is
    """The daemon does not answer on its socket."""
