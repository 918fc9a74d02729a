"""Where a Basics Station connects, and with what: as the settings say, or as a CUPS server changed it.

What CUPS sends is kept in one file, replaced as a whole, and only when all of it can be used: a new address with
credentials that cannot be read would leave the gateway with neither. A program is never taken.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from gateway.lns.station_access import Access
from gateway.lns.station_trouble import Away, away_for
from gateway.wire.cups import Credentials, UpdateInfo, read_update_info, write_update_info
from gateway.wire.station_json import MalformedMessage

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import GatewayEui

log = logging.getLogger(__name__)

ANSWER_MAX: Final = 256_000  # bytes: URIs and credentials are a few thousand
ANSWER_S: Final = 20.0
ASK_AGAIN_S: Final = 24 * 3600.0  # after an answer; Station does the same


@dataclass(frozen=True, slots=True)
class Told:
    """What CUPS has said so far; None: nothing about that."""

    cups_uri: str | None = None
    tc_uri: str | None = None
    cups: Credentials | None = None
    tc: Credentials | None = None


class Cups:
    """One CUPS server. `file` keeps what it said; None: it is asked again after each start."""

    def __init__(self, name: str, uri: str, eui: GatewayEui, file: Path | None, *, station: str, model: str) -> None:
        self._name, self._uri, self._eui, self._file = name, uri, eui, file
        self._station, self._model = station, model
        self.told = _load(file)
        self.programs_refused = 0
        self._asked_s: float | None = None

    async def ask(self, access: Access, server: str | None, *, again: bool) -> None:
        """Ask when it is time, or `again`; Away when there is no usable answer."""
        now_s = asyncio.get_running_loop().time()
        if not again and self._asked_s is not None and now_s - self._asked_s < ASK_AGAIN_S:
            return
        ours = Credentials(access.trust, access.certificate, access.key)
        question = write_update_info(
            self._eui,
            cups_uri=self.told.cups_uri or self._uri,
            tc_uri=self.told.tc_uri or server,
            cups=self.told.cups or ours,
            tc=self.told.tc or (ours if server else Credentials()),
            station=self._station,
            model=self._model,
            package=None,
        )
        try:
            self._take(read_update_info(await self._post(question, access_of(self.told.cups) or access)))
        except (MalformedMessage, ValueError) as fault:
            raise Away(f"what CUPS sent cannot be used: {fault}", alert=True) from None
        self._asked_s = now_s

    async def _post(self, question: bytes, access: Access) -> bytes:
        address = urlsplit(self.told.cups_uri or self._uri)
        headers = {"Content-Type": "application/json", **access.headers()}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.post(
                    f"{address.scheme}://{address.netloc}/update-info",
                    data=question,
                    ssl=access.context() if address.scheme == "https" else True,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    raise Away(f"CUPS answers with status {response.status}; does it know this gateway?", alert=True)
                return await response.content.read(ANSWER_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise away_for(error, "CUPS: ") from None

    def _take(self, found: UpdateInfo) -> None:
        """Keep what is new; ValueError when one of it cannot be used, and then nothing is kept."""
        if found.program_bytes:
            self.programs_refused += 1
            log.warning("lns %s: CUPS sends a program of %d bytes; refused", self._name, found.program_bytes)
        for credentials in (found.cups_credentials, found.tc_credentials):
            access = access_of(credentials)
            if access is not None:
                access.headers()
                access.context()
        before = self.told
        self.told = Told(
            cups_uri=found.cups_uri or before.cups_uri,
            tc_uri=found.tc_uri or before.tc_uri,
            cups=found.cups_credentials or before.cups,
            tc=found.tc_credentials or before.tc,
        )
        if self.told != before:
            log.info("lns %s: CUPS sends us to %s", self._name, self.told.tc_uri)
            _save(self._file, self.told)


def access_of(credentials: Credentials | None) -> Access | None:
    """To be used for TLS and requests."""
    if credentials is None:
        return None
    return Access(credentials.trust, credentials.certificate, credentials.key)


def _save(file: Path | None, told: Told) -> None:
    if file is None:
        return
    pieces = {
        name: None if kept is None else [base64.b64encode(piece).decode() for piece in _pieces(kept)]
        for name, kept in (("cups", told.cups), ("tc", told.tc))
    }
    beside = file.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writing:  # noqa: PTH123
        writing.write(orjson.dumps({"cups_uri": told.cups_uri, "tc_uri": told.tc_uri, **pieces}))
        writing.flush()
        os.fsync(writing.fileno())
    beside.replace(file)


def _load(file: Path | None) -> Told:
    """What was kept; nothing where there is no such file, or none that can be read: CUPS is asked again then."""
    try:
        kept = orjson.loads(file.read_bytes()) if file is not None else {}
        found = {
            name: None if kept.get(name) is None else Credentials(*(base64.b64decode(piece) for piece in kept[name]))
            for name in ("cups", "tc")
        }
        return Told(kept.get("cups_uri"), kept.get("tc_uri"), found["cups"], found["tc"])
    except FileNotFoundError:
        return Told()
    except (OSError, ValueError, TypeError, AttributeError, ssl.SSLError) as error:
        log.warning("%s cannot be read (%s); CUPS is asked again", file, error)
        return Told()


def _pieces(credentials: Credentials) -> tuple[bytes, bytes, bytes]:
    return credentials.trust, credentials.certificate, credentials.key
