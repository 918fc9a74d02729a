"""Who we are to a context broker: nobody, a name and password, a token from a file, or one that Keyrock gives out.

Brokers have no login of their own; a proxy stands before them (Wilma, Steelskin, APISIX, Kong) and looks for
`X-Auth-Token` or for `Authorization: Bearer`: both are sent. A token that was given out is renewed before it ends, and
once more when it is refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from gateway.delivery.http_line import HttpServer, open_http
from gateway.delivery.sink import SinkUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.wire.http_answer import Answer

USUAL_LIFE_S: Final = 3600.0  # Keyrock's default, for an answer without expires_in
EARLY_S: Final = 30.0  # a token is not used in its last seconds: it has to survive the way
_TOKEN: Final = "the token"  # noqa: S105 - what it is called
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the settings say of the login.

    With `oauth_url` a token is asked for there, by RFC 6749: section 4.3 with a user's name and password, else 4.4.
    """

    username: str | None = None
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None
    oauth_url: str | None = None
    client_id: str | None = None
    client_secret: Callable[[], str] | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def server(self, url: str, **more: Any) -> HttpServer:
        """A server that these certificates are for."""
        if url.startswith("https://"):
            more |= {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        return HttpServer(url, **more)

    @property
    def basic(self) -> Mapping[str, Any]:
        """A name and password that go along with every request, where no token does."""
        plain = self.oauth_url is None and self.token is None
        return {"username": self.username, "password": self.password} if plain else {}


class Pass:
    """The headers that let a request through; one for all links of a sink, so that a token lives as long as it may."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._token = ""
        self._until_s = 0.0
        self._asking = asyncio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """What to send with a request; SinkUnavailable when there is no token to be had."""
        credentials = self._credentials
        if credentials.oauth_url is not None:
            async with self._asking:
                if not self._token or asyncio.get_running_loop().time() > self._until_s:
                    await self._ask(credentials.oauth_url)
            token = self._token
        elif credentials.token is not None:
            token = await _secret(credentials.token, _TOKEN)
        else:
            return {}
        return {"X-Auth-Token": token, "Authorization": f"Bearer {token}"}

    def forget(self) -> bool:
        """The token was refused; whether another one can be asked for."""
        self._token = ""
        return self._credentials.oauth_url is not None

    async def _ask(self, url: str) -> None:
        credentials = self._credentials
        form = {"grant_type": "client_credentials"}
        if credentials.username is not None:
            password = "" if credentials.password is None else await _secret(credentials.password, "the password")
            form = {"grant_type": "password", "username": credentials.username, "password": password}
        body = "&".join(f"{name}={quote_plus(value)}" for name, value in form.items()).encode()
        server = credentials.server(url, username=credentials.client_id, password=credentials.client_secret)
        async with open_http(server) as line:
            answer = await line.ask("POST", "", body, _FORM)
            if not answer.ok:
                if answer.status in {400, 401}:  # RFC 6749, section 5.2: what we are or ask for is wrong
                    raise SinkUnavailable(f"{server}: gives no token: {answer}", alert=True)
                raise line.unavailable(answer)
        self._token, life_s = _token_of(answer, str(server))
        self._until_s = asyncio.get_running_loop().time() + max(life_s - EARLY_S, life_s / 2)


def _token_of(answer: Answer, server: str) -> tuple[str, float]:
    try:
        said = answer.json()
        token, life_s = said["access_token"], said.get("expires_in", USUAL_LIFE_S)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SinkUnavailable(f"{server}: answers {answer.status}, but not with a token", alert=True) from None
    if not isinstance(token, str) or not token or not _is_word(token):
        raise SinkUnavailable(f"{server}: its token is no word that a header can hold", alert=True)
    return token, float(life_s) if isinstance(life_s, int | float) and life_s > 0 else USUAL_LIFE_S


async def _secret(read: Callable[[], str], what: str) -> str:
    try:
        secret = (await asyncio.to_thread(read)).strip()
    except OSError as error:
        raise SinkUnavailable(f"cannot read {error.filename}: {error.strerror}", alert=True) from error
    except ValueError as error:
        raise SinkUnavailable(f"{what}: {error}", alert=True) from error
    if not secret or (what == _TOKEN and not _is_word(secret)):
        raise SinkUnavailable(f"{what} is empty, or has characters that no header can hold", alert=True)
    return secret


def _is_word(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
