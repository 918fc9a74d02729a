"""Several gateways, one broker: whoever marks a frame in Orion first delivers it, the others leave it to them.

Each gateway heard the frame at a time of its own, so to Orion their copies are different observations, and history
would have all of them. What they have in common is the frame id. A mark is an entity with that in its id, whose owner
stands in it; Orion creates it once (`appendStrict`: what is there already is not changed) and forgets it by itself
(`dateExpires`). A gateway that is stopped between marking and delivering finds its own mark when it comes back, and
delivers then; only what it never delivers because it is gone for good, a batch at most, is lost with it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.sink import SinkUnavailable
from gateway.wire import ngsi_v2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.delivery.ngsi_broker import Broker
    from gateway.model import GatewayEui

MAY_NOT_READ: Final = 'this login may not read, but others write to the same entities: let it, or set copies = "home"'
_JSON: Final = {"Content-Type": "application/json"}
_ATTEMPTS: Final = 2
_AT_ONCE: Final = 200


class Marks:
    """The marks of one gateway in one Orion."""

    def __init__(self, orion: Broker, owner: GatewayEui, lifetime_s: float) -> None:
        """`lifetime_s`: how much later than the first a copy may come and is still recognised."""
        self._orion = orion
        self._owner = str(owner)
        self._lifetime_s = lifetime_s

    async def claim(self, frame_ids: Sequence[str]) -> set[str]:
        """Those of the frames that are ours to deliver. SinkUnavailable when that cannot be known."""
        ours = set[str]()
        for start in range(0, len(frame_ids), _AT_ONCE):
            ours |= await self._claim(dict.fromkeys(frame_ids[start : start + _AT_ONCE]))
        return ours

    async def _claim(self, wanted: dict[str, None]) -> set[str]:
        ours = set[str]()
        for _ in range(_ATTEMPTS):
            expires_ms = round((time.time() + self._lifetime_s) * 1000)
            body = ngsi_v2.marks_bytes([*wanted], self._owner, expires_ms)
            answer = await self._orion.ask("POST", "/v2/op/update", body, _JSON)
            verdict = ngsi_v2.verdict(answer)
            if verdict is ngsi_v2.Verdict.TAKEN:
                return ours | wanted.keys()
            if verdict is not ngsi_v2.Verdict.REFUSED:
                raise self._orion.line.unavailable(answer)
            # Somebody was faster with one of them at least; the answer does not say with which.
            owners = await self._owners([*wanted])
            ours |= {frame_id for frame_id, owner in owners.items() if owner == self._owner}
            wanted = {frame_id: None for frame_id in wanted if frame_id not in owners}
            if not wanted:
                return ours
        raise SinkUnavailable(f"{self._orion.line.server}: it takes no marks of frames: {answer}", alert=True)

    async def _owners(self, frame_ids: Sequence[str]) -> dict[str, Any]:
        keys = [(ngsi_v2.mark_id(frame_id), ngsi_v2.MARK) for frame_id in frame_ids]
        answer = await self._orion.ask("POST", f"/v2/op/query?limit={len(keys)}", ngsi_v2.query_bytes(keys), _JSON)
        try:
            found = ngsi_v2.entities_of(answer.json()) if answer.status == 200 else None
        except ValueError:
            found = None
        if answer.status in ngsi_v2.NO_READING:
            raise SinkUnavailable(f"{self._orion.line.server}: {MAY_NOT_READ}: it answers {answer}", alert=True)
        if found is None:
            raise self._orion.line.unavailable(answer)
        return {ngsi_v2.frame_of_mark(one["id"]): ngsi_v2.owner_of(one) for one in found}
