"""Web sockets to a Basics Station server; what goes wrong on the way is Away."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

from gateway.lns.station_trouble import Away, away_for
from gateway.wire.station_json import MESSAGE_MAX

CONNECT_S: Final = 10.0  # for TCP and TLS
ANSWER_S: Final = CONNECT_S + 2.0  # until it is a web socket


class Dial:
    """Opens web sockets with what the settings say about trust; what goes wrong is Away."""

    def __init__(self, session: aiohttp.ClientSession, context: Any) -> None:
        self._session = session
        self._context = context

    def open(self, uri: str) -> _Opened:
        return _Opened(self._session, uri, self._context if uri.startswith("wss:") else None)


class _Opened:
    def __init__(self, session: aiohttp.ClientSession, uri: str, context: Any) -> None:
        self._session = session
        self._uri = uri
        self._context = context
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientWebSocketResponse:
        secured = {} if self._context is None else {"ssl": self._context}
        try:
            async with asyncio.timeout(ANSWER_S) as limit:
                self._socket = await self._session.ws_connect(
                    self._uri, autoping=False, max_msg_size=MESSAGE_MAX, compress=0, **secured
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if limit.expired():
                raise Away("it takes the connection and does not answer; does this port speak web sockets?") from None
            raise away_for(error) from None
        return self._socket

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        try:
            # A server that does not answer the close must not hold up the next attempt.
            async with asyncio.timeout(1.0):
                await self._socket.close()
        except TimeoutError:
            pass
