"""Commands of the platform behind a webhook: signed as our own requests are, fresh, and each carried out once.

Wrong or missing signature: 401. Too old or too new: 403, with the gateway's time, so that a platform whose clock is
wrong can find that out. The same body again: the same answer again. An `Idempotency-Key` that comes back with another
body: 422 (IETF draft httpapi-idempotency-key-header). Results are POSTed to the webhook's own url as events.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.delivery.command_door import Reply
from gateway.errors import GatewayError, StorageError
from gateway.model import UNDATED
from gateway.wire.commands import SIGNATURE, WINDOW_S, is_signed, read_command
from gateway.wire.own_downlink import NoDownlink
from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.delivery.command_door import CommandDesk, Knock
    from gateway.model import Stamp

_MOST_KEYS = 10_000
_LONGEST_KEY = 255


class WebhookDoor:
    """A `command_door.Doorkeeper`."""

    def __init__(self, sink: str, secret: Callable[[], str], only_tags: Mapping[str, str]) -> None:
        """`secret` is called for each request, in a thread; devices without these tags are as good as unknown."""
        self._sink = sink
        self._secret = secret
        self._only_tags = only_tags
        self._keys: OrderedDict[str, bytes] = OrderedDict()  # Idempotency-Key: digest of the body it came with

    async def answer(self, knock: Knock, desk: CommandDesk, now: Stamp) -> Reply:
        """202 with the reference under which results come; else why not."""
        try:
            secret = (await asyncio.to_thread(self._secret)).encode()
        except (OSError, ValueError, GatewayError) as error:
            raise StorageError(f"the key of signatures cannot be read: {error}") from error
        if not secret or not is_signed(secret, knock.body, knock.headers.get(SIGNATURE)):
            return Reply(401, {"error": "X-Signature is not that of this body"})
        try:
            command = read_command(knock.body)
        except NoDownlink as problem:
            return Reply(400, {"error": str(problem), "ref": problem.ref})
        if now.quality in UNDATED:
            return Reply(503, {"error": "the gateway does not know the time yet"}, retry_after_s=30)
        if abs(now.utc_us - command.at_us) > WINDOW_S * 1e6:
            words = f"at is more than {WINDOW_S:.0f} s from the gateway's time"
            return Reply(403, {"error": words, "time": rfc3339(now.utc_us)})
        if not self._is_same(knock.headers.get("idempotency-key"), knock.body):
            return Reply(422, {"error": "this Idempotency-Key came with another body before"})
        entry = await desk.ask_once(command.dev_eui, command.asked, self._sink, self._only_tags)
        if entry is None:
            return Reply(404, {"error": f"no device {command.dev_eui} is known here"})
        return Reply(202, {"id": entry.ref, "state": str(entry.state)})

    def _is_same(self, key: str | None, body: bytes) -> bool:
        """Whether a key is new, or the body is the one it came with before."""
        if key is None:
            return True
        digest = hashlib.sha256(body).digest()
        before = self._keys.setdefault(key[:_LONGEST_KEY], digest)
        if len(self._keys) > _MOST_KEYS:
            self._keys.popitem(last=False)
        return before == digest
