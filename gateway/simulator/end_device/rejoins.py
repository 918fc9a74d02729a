"""When a device of LoRaWAN 1.1 sends rejoin requests, and how it counts them (6.2.4, 5.12, 5.13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.lorawan.mac_commands import ForceRejoinReq
    from gateway.model import Session
    from gateway.simulator.chance import Chance
    from gateway.simulator.end_device.parameters import Parameters

RJ_COUNT_MAX = 0xFFFF
"""After so many rejoin requests a device sends no more of that type, until it joins again (6.2.4)."""

NEVER_US = 1 << 62


@dataclass(slots=True)
class _Forced:
    """A ForceRejoinReq that is being obeyed."""

    rejoin_type: int
    data_rate: int
    period_us: int
    left: int
    at_us: int


class Rejoins:
    """What is due. Type 0 comes from RejoinParamSetupReq, type 1 from the device's owner, all from ForceRejoinReq."""

    def __init__(self, type_1_every_us: int) -> None:
        self._type_1_every_us = type_1_every_us
        self._type_1_us = type_1_every_us or NEVER_US
        self._since_us = 0
        self._frames = 0
        self._count0 = self._count1 = -1  # the last ones used; that of type 1 is never reset
        self._forced: _Forced | None = None

    def joined(self, now_us: int) -> None:
        """A new session: RJcount0 starts again."""
        self._count0 = -1
        self._since_us, self._frames = now_us, 0
        self._type_1_us = now_us + self._type_1_every_us if self._type_1_every_us else NEVER_US
        self._forced = None

    def frame_sent(self) -> None:
        """An uplink more."""
        self._frames += 1

    def forced(self, request: ForceRejoinReq, now_us: int) -> None:
        """The network wants one now: type 0 or 2 as it says, anything else means 0."""
        self._forced = _Forced(
            rejoin_type=2 if request.rejoin_type == 2 else 0,
            data_rate=request.data_rate,
            period_us=32_000_000 << request.period,
            left=1 + request.max_retries,
            at_us=now_us,
        )

    @property
    def data_rate(self) -> int | None:
        """What ForceRejoinReq said about it."""
        return None if self._forced is None else self._forced.data_rate

    def due_us(self, session: Session, parameters: Parameters) -> int:
        """When the next one is due, if ever."""
        if not session.mac_version.is_1_1:
            return NEVER_US
        return min(at_us for at_us, _ in self._wishes(parameters))

    def next(self, now_us: int, parameters: Parameters, chance: Chance) -> tuple[int, int]:
        """The type and the RJcount of the one that is sent now."""
        _, rejoin_type = min(self._wishes(parameters))
        forced = self._forced
        if forced is not None and rejoin_type == forced.rejoin_type:
            forced.left -= 1
            # 5.12: 32 s * 2**Period, and by chance up to 32 s more.
            forced.at_us = now_us + forced.period_us + chance.whole(0, 32_000_000, "forced rejoin", now_us)
            self._forced = forced if forced.left else None
        if rejoin_type == 1:
            self._type_1_us = now_us + self._type_1_every_us
            self._count1 += 1
            return rejoin_type, self._count1
        self._since_us, self._frames = now_us, 0
        self._count0 += 1
        return rejoin_type, self._count0

    def _wishes(self, parameters: Parameters) -> list[tuple[int, int]]:
        """When which type is due; none of a type whose count is used up."""
        wishes = [(NEVER_US, 0)]
        if self._count1 < RJ_COUNT_MAX:
            wishes.append((self._type_1_us, 1))
        if self._count0 < RJ_COUNT_MAX:
            wishes.append((self._type_0_us(parameters), 0))
            if self._forced is not None:
                wishes.append((self._forced.at_us, self._forced.rejoin_type))
        return wishes

    def _type_0_us(self, parameters: Parameters) -> int:
        if parameters.rejoin_every_us is None or parameters.rejoin_every_frames is None:
            return NEVER_US
        if self._frames >= parameters.rejoin_every_frames:
            return self._since_us
        return self._since_us + parameters.rejoin_every_us
