"""Looking for a device in the raw bytes of files, whatever they are: the proof that nothing of it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.store.erasing import Halted
from gateway.store.erasure_file import INTENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gateway.model import DevEui

CHUNK = 1 << 20


class Needle(NamedTuple):
    """What to look for: bytes as they are, and text in whatever letters."""

    content: bytes
    is_text: bool


def needles_of(dev_eui: DevEui, keys: Iterable[bytes]) -> list[Needle]:
    """A device's name and keys as they may lie in a file: in either order of bytes, and in hex."""
    name = bytes(dev_eui)
    found = [Needle(name, is_text=False), Needle(name[::-1], is_text=False), Needle(name.hex().encode(), is_text=True)]
    for key in keys:
        found += [Needle(key, is_text=False), Needle(key.hex().encode(), is_text=True)]
    return found


def files_with(folder: Path, needles: Sequence[Needle], halted: Callable[[], bool] = lambda: False) -> list[Path]:
    """The files in and below a folder that have any of these; a file that cannot be read counts as one."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.name == INTENT or path.is_symlink() or not path.is_file():
            continue
        try:
            if has_any(path, needles, halted):
                found.append(path)
        except FileNotFoundError:
            continue
        except OSError:
            found.append(path)
    return found


def has_any(path: Path, needles: Sequence[Needle], halted: Callable[[], bool] = lambda: False) -> bool:
    """Whether a file has any of these. OSError when it cannot be read."""
    overlap = max((len(needle.content) for needle in needles), default=1) - 1
    with path.open("rb") as file:
        before = b""
        while chunk := file.read(CHUNK):
            if halted():
                raise Halted
            content = before + chunk
            lower = content.lower()
            if any(needle.content in (lower if needle.is_text else content) for needle in needles):
                return True
            before = content[-overlap:] if overlap else b""
    return False
