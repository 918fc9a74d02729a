"""Dice that throw the same for the same question.

A sequence of random numbers depends on who draws first, so one more device or another rhythm of polling would change
everything that follows. Here every throw has a name ("the fading of this frame at that gateway") and is read off a
hash of seed and name: the order of asking, the number of askers and the Python version do not matter.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_UNIT = 1 / (1 << 53)


class Chance:
    """Throws named by labels. `about` gives the dice of a part: its throws have nothing to do with those of others."""

    __slots__ = ("_key",)

    def __init__(self, seed: int | str | bytes) -> None:
        self._key = seed if isinstance(seed, bytes) else blake2b(str(seed).encode(), digest_size=16).digest()

    def about(self, *labels: object) -> Chance:
        """The dice of one part of the whole."""
        return Chance(self.octets(16, *labels))

    def octets(self, size: int, *labels: object) -> bytes:
        """`size` bytes, at most 64."""
        # The length before each label keeps ("1", "11") apart from ("11", "1").
        name = "".join(f"{len(text)}:{text}" for text in map(str, labels))
        return blake2b(name.encode(), digest_size=size, key=self._key).digest()

    def unit(self, *labels: object) -> float:
        """A number of [0, 1)."""
        return (int.from_bytes(self.octets(8, *labels), "big") >> 11) * _UNIT

    def between(self, low: float, high: float, *labels: object) -> float:
        """A number of [low, high), all alike."""
        return low + (high - low) * self.unit(*labels)

    def whole(self, low: int, high: int, *labels: object) -> int:
        """A whole number of low … high, both included, all alike."""
        return low + int((high - low + 1) * self.unit(*labels))

    def normal(self, mean: float, deviation: float, *labels: object) -> float:
        """A number of the bell curve (Box and Muller)."""
        octets = self.octets(16, *labels)
        # The radius wants a number of (0, 1]: the logarithm of zero is none.
        first = 1.0 - (int.from_bytes(octets[:8], "big") >> 11) * _UNIT
        second = (int.from_bytes(octets[8:], "big") >> 11) * _UNIT
        return mean + deviation * math.sqrt(-2.0 * math.log(first)) * math.cos(math.tau * second)

    def pick(self, things: Sequence[T], *labels: object) -> T:
        """One of the things; IndexError when there is none."""
        return things[self.whole(0, len(things) - 1, *labels)]
