"""Joins and rejoins: who may have a new session, and what goes out to give it.

A nonce is used once. LoRaWAN 1.0 to 1.0.3 draws DevNonces by chance, so every one a device ever used is remembered;
since 1.0.4 it is a counter, so the last one is enough (TS001-1.0.4, 6.2.5). Our own JoinNonce is a counter for every
device of every version: 1.0.x asks for a value that was not used (6.2.6), 1.1 for a growing one (6.2.3).

What must be on disk before the accept goes on the air is one value, `Joined`: its history (or the nonce would count
twice after a power cut) and its session (or the device would use one that nobody knows). After a cut in between, the
device hears nothing and asks again with the next nonce.

The session that a device had goes on beside the new one: whether the accept was heard shows only when the device uses
the new session. Until then frames of both are taken. The first frame of the new one ends the old one, in 1.0.x and in
1.1, where that frame carries RekeyInd and is answered with RekeyConf (LoRaWAN 1.1, 5.10).
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from gateway.lorawan.crypto import KeySchedule, join_mic
from gateway.lorawan.session_keys import AcceptFields, AcceptSecret, js_int_key, keys_1_0, keys_1_1
from gateway.model import DevAddr, JoinEui, MacVersion, Refusal, Refused, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.lorawan.frame import JoinRequest, RejoinRequest
    from gateway.lorawan.session_keys import SessionKeys
    from gateway.model import AesKey, Device, RootKeys

SESSIONS_OF_REJOINS = 4
"""Sessions of a device whose rejoins are counted: the one it uses, those it was offered since, and one more."""

JOIN_NONCE_MAX = 0xFF_FFFF
_LEAP_AFTER = 3  # accepts in a row that no device took
_LEAP_MAX = 1 << 12
_LEAP_END = 1 << 16  # no server that counts gets there: a device has no more DevNonces to ask with
_NONCES = 1 << 16
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class UsedNonces:
    """What a device has used with one JoinEUI; with another one, its counters may start again (6.2.5)."""

    join_eui: JoinEui
    last: int | None = None  # the last DevNonce of a device that counts them
    drawn: frozenset[int] = frozenset()  # all DevNonces of a device that draws them
    rj_count1: int | None = None  # the last one of a rejoin-request of type 1

    def has(self, dev_nonce: int) -> bool:
        """Whether a device that draws its nonces has had this one."""
        return dev_nonce in self.drawn or (self.last is not None and dev_nonce <= self.last)


@dataclass(frozen=True, slots=True)
class JoinHistory:
    """What must never be forgotten of a device's joins: one value for its whole life, kept beside its root keys."""

    join_nonce: int = 0  # the last one given; the first is 1
    unused: int = 0  # accepts given since the device last used the session of one
    nonces: tuple[UsedNonces, ...] = ()
    rj_counts0: tuple[tuple[DevAddr, int], ...] = ()  # last RJcount0 of each session, the newest first

    @property
    def join_eui(self) -> JoinEui | None:
        """The JoinEUI of the last join; rejoins of type 0 and 2 derive their keys with it and do not name it."""
        return self.nonces[0].join_eui if self.nonces else None

    def of(self, join_eui: JoinEui) -> UsedNonces:
        """What was used with this JoinEUI."""
        return next((used for used in self.nonces if used.join_eui == join_eui), UsedNonces(join_eui))

    def answered(self) -> JoinHistory:
        """The history once the device has used a session it was given."""
        return replace(self, unused=0) if self.unused else self

    def rj_count0(self, session: Session) -> int | None:
        """The last RJcount0 taken under this session, which counts its own."""
        return next((count for dev_addr, count in self.rj_counts0 if dev_addr == session.dev_addr), None)

    def to_json(self) -> str:
        """All of it as text: tens of bytes, and at most 11 kB for a device that has drawn half of its nonces."""
        return json.dumps(
            {
                "v": _FORMAT,
                "n": self.join_nonce,
                "u": self.unused,
                "e": [[str(u.join_eui), u.last, _packed(u.drawn), u.rj_count1] for u in self.nonces],
                "r": [[int(dev_addr), count] for dev_addr, count in self.rj_counts0],
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote; ValueError for anything else."""
        try:
            kept: dict[str, Any] = json.loads(text)
            if kept["v"] != _FORMAT:
                raise ValueError(f"a join history of format {kept['v']}, only {_FORMAT} is known")
            return cls(
                join_nonce=_counter(kept["n"], JOIN_NONCE_MAX),
                unused=_counter(kept["u"], JOIN_NONCE_MAX),
                nonces=tuple(
                    UsedNonces(JoinEui.parse(eui), _maybe(last), _unpacked(drawn), _maybe(rj_count1))
                    for eui, last, drawn, rj_count1 in kept["e"]
                ),
                rj_counts0=tuple((DevAddr(dev_addr), _counter(count)) for dev_addr, count in kept["r"]),
            )
        except (TypeError, KeyError, AttributeError, zlib.error) as damage:
            raise ValueError(f"no join history: {damage!r}") from damage


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """What the network offers with a session. `dev_addr` is one that no other session of this device has."""

    net_id: int
    dev_addr: DevAddr
    rx2_data_rate: int
    rx1_dr_offset: int = 0
    rx_delay_s: int = 1
    cf_list: bytes = b""


@dataclass(frozen=True, slots=True)
class Joined:
    """A device has a new session. All of it is on disk before `accept` is on the air."""

    device: Device
    session: Session  # not used yet: f_cnt_up is None, and both downlink counters start at 0
    history: JoinHistory
    accept: bytes = field(repr=False)  # the PHYPayload; in the join windows, 5 s and 6 s after the request
    join_eui: JoinEui
    rejoin_type: int | None = None  # None: a join-request


def answer_join(
    request: JoinRequest, device: Device, root_keys: RootKeys | None, history: JoinHistory, terms: JoinTerms
) -> Joined | Refused:
    """The session this join-request gets, or why none; the MIC is judged before everything else it says."""
    if root_keys is None:
        return _not_served(device, "no root keys are entered: the device was given its session")
    root = _signer(request, device, root_keys)
    if root is None:
        return _refused(device, Refusal.BAD_MIC, _wrong_key(request, device, root_keys))
    if device.join_eui is not None and request.join_eui != device.join_eui:
        return _not_served(device, f"it asks join server {request.join_eui}, {device.join_eui} is entered")
    used = history.of(request.join_eui)
    spent = _spent(used, request.dev_nonce, device)
    if spent is not None:
        return _refused(device, Refusal.REPLAY, spent)
    join_nonce = _next_join_nonce(history, device.mac_version)
    if join_nonce is None:
        return _not_served(device, "all JoinNonces are used: it needs a new root key")
    if _counts(device.mac_version):
        used = replace(used, last=request.dev_nonce)
    else:
        used = replace(used, drawn=used.drawn | {request.dev_nonce})
    if device.mac_version.is_1_1 and root_keys.nwk_key is not None:
        nwk_key = root_keys.nwk_key
        keys = keys_1_1(root_keys.app_key, nwk_key, join_nonce, request.join_eui, request.dev_nonce)
        secret = AcceptSecret.of_1_1(nwk_key, device.dev_eui, request.join_eui, request.dev_nonce)
    else:
        keys = keys_1_0(root, join_nonce, terms.net_id, request.dev_nonce)
        secret = AcceptSecret.of_1_0(root)
    return Joined(
        device=device,
        session=_session(device, terms, keys),
        history=_with(history, used, join_nonce),
        accept=secret.seal(_fields(device, terms, join_nonce)),
        join_eui=request.join_eui,
    )


def answer_rejoin(
    request: RejoinRequest,
    device: Device,
    root_keys: RootKeys | None,
    sessions: Sequence[Session],
    history: JoinHistory,
    terms: JoinTerms,
) -> Joined | Refused:
    """The session this rejoin-request of LoRaWAN 1.1 gets, or why none (6.2.4).

    Types 0 and 2 are signed with a session's key, so `sessions` are all that the device may use now; type 1 is signed
    with a root key. After type 2 a device keeps its radio parameters: `terms` then have to name those of its MAC state.
    """
    nwk_key = root_keys.nwk_key if root_keys is not None else None
    if root_keys is None or nwk_key is None or not device.mac_version.is_1_1:
        return _not_served(device, "rejoins belong to LoRaWAN 1.1 devices with two root keys")
    join_eui = request.join_eui or device.join_eui or history.join_eui
    if join_eui is None:
        return _not_served(device, "its JoinEUI is not known: enter it, or let it join once")
    if request.rejoin_type == 1:
        known = _known_to_join_server(request, device, join_eui, nwk_key, history)
    else:
        known = _known_to_network(request, device, sessions, history, terms)
    if isinstance(known, Refused):
        return known
    join_nonce = _next_join_nonce(history, device.mac_version)
    if join_nonce is None:
        return _not_served(device, "all JoinNonces are used: it needs a new root key")
    secret = AcceptSecret.of_1_1(nwk_key, device.dev_eui, join_eui, request.rj_count, request.rejoin_type)
    return Joined(
        device=device,
        session=_session(device, terms, keys_1_1(root_keys.app_key, nwk_key, join_nonce, join_eui, request.rj_count)),
        history=_with(known, known.of(join_eui), join_nonce),
        accept=secret.seal(_fields(device, terms, join_nonce)),
        join_eui=join_eui,
        rejoin_type=request.rejoin_type,
    )


def _known_to_join_server(
    request: RejoinRequest, device: Device, join_eui: JoinEui, nwk_key: AesKey, history: JoinHistory
) -> JoinHistory | Refused:
    """The history with the count of a rejoin of type 1, or why that does not count."""
    if not _signed(request, js_int_key(nwk_key, device.dev_eui)):
        return _refused(device, Refusal.BAD_MIC, "the rejoin-request is signed with another key")
    if device.join_eui not in (None, join_eui):
        return _not_served(device, f"it asks join server {join_eui}, {device.join_eui} is entered")
    used = history.of(join_eui)
    if used.rj_count1 is not None and request.rj_count <= used.rj_count1:
        return _refused(device, Refusal.REPLAY, f"RJcount1 {request.rj_count}, but {used.rj_count1} was used before")
    return _with_nonces(history, replace(used, rj_count1=request.rj_count))


def _known_to_network(
    request: RejoinRequest, device: Device, sessions: Sequence[Session], history: JoinHistory, terms: JoinTerms
) -> JoinHistory | Refused:
    """The history with the count of a rejoin of type 0 or 2, or why that does not count."""
    signer = next((one for one in sessions if _signed(request, one.s_nwk_s_int_key)), None)
    if signer is None:
        return _refused(device, Refusal.BAD_MIC, f"sessions of it: {len(sessions)}, none signed the rejoin-request")
    if request.net_id != terms.net_id:
        return _not_served(device, f"it belongs to NetID {request.net_id:06x}, this network is {terms.net_id:06x}")
    last = history.rj_count0(signer)
    if last is not None and request.rj_count <= last:
        return _refused(device, Refusal.REPLAY, f"RJcount0 {request.rj_count}, but {last} was used before")
    others = tuple(one for one in history.rj_counts0 if one[0] != signer.dev_addr)
    return replace(history, rj_counts0=((signer.dev_addr, request.rj_count), *others)[:SESSIONS_OF_REJOINS])


# --- the rules -------------------------------------------------------------------------------------------------------


def _counts(version: MacVersion) -> bool:
    """Whether DevNonce is a counter."""
    return version >= MacVersion.V1_0_4


def _signer(request: JoinRequest, device: Device, root_keys: RootKeys) -> AesKey | None:
    """The root key that signed a join-request.

    A 1.1 device signs with NwkKey also in a network of 1.0.x, so a device entered as 1.0.x may have two keys.
    """
    keys = (root_keys.nwk_key,) if device.mac_version.is_1_1 else (root_keys.app_key, root_keys.nwk_key)
    return next((key for key in keys if key is not None and _signed(request, key)), None)


def _wrong_key(request: JoinRequest, device: Device, root_keys: RootKeys) -> str:
    if not device.mac_version.is_1_1:
        return "the join-request is signed with another key"
    if root_keys.nwk_key is None:
        return "a device of LoRaWAN 1.1 joins with two keys, nwk_key is not entered"
    if _signed(request, root_keys.app_key):
        return "the join-request is signed with app_key: is the device one of 1.0.x?"
    return "the join-request is signed with another key than nwk_key"


def _signed(request: JoinRequest | RejoinRequest, key: AesKey) -> bool:
    return join_mic(KeySchedule(key), request.unsigned()) == request.mic


def _spent(used: UsedNonces, dev_nonce: int, device: Device) -> str | None:
    """Why a nonce does not count; None when it does."""
    if not _counts(device.mac_version):
        return f"DevNonce {dev_nonce} was used before" if used.has(dev_nonce) else None
    if used.last is not None and dev_nonce <= used.last:
        return (
            f"DevNonce {dev_nonce}, but {used.last} was used before and LoRaWAN {device.mac_version} counts upwards; "
            "a device that forgets its count is one of version 1.0.3"
        )
    return f"DevNonce {dev_nonce} was used before" if dev_nonce in used.drawn else None


def _next_join_nonce(history: JoinHistory, version: MacVersion) -> int | None:
    """The JoinNonce of the next accept; None when none is left.

    A device that checks it ignores accepts until ours passes the one it had from another server. So when accepts stay
    unused in a row, the steps grow, up to where no counting server can have been.
    """
    step = 1
    if _counts(version) and history.unused >= _LEAP_AFTER and history.join_nonce < _LEAP_END:
        step = min(1 << history.unused - _LEAP_AFTER + 1, _LEAP_MAX)
    following = history.join_nonce + step
    return following if following <= JOIN_NONCE_MAX else None


def _with(history: JoinHistory, used: UsedNonces, join_nonce: int) -> JoinHistory:
    """The history with one more accept."""
    unused = min(history.unused + 1, JOIN_NONCE_MAX)
    return _with_nonces(replace(history, join_nonce=join_nonce, unused=unused), used)


def _with_nonces(history: JoinHistory, used: UsedNonces) -> JoinHistory:
    others = tuple(one for one in history.nonces if one.join_eui != used.join_eui)
    return replace(history, nonces=(used, *others))


def _fields(device: Device, terms: JoinTerms, join_nonce: int) -> AcceptFields:
    return AcceptFields(
        join_nonce=join_nonce,
        net_id=terms.net_id,
        dev_addr=terms.dev_addr,
        opt_neg=device.mac_version.is_1_1,
        rx1_dr_offset=terms.rx1_dr_offset,
        rx2_data_rate=terms.rx2_data_rate,
        rx_delay_s=terms.rx_delay_s,
        cf_list=terms.cf_list,
    )


def _session(device: Device, terms: JoinTerms, keys: SessionKeys) -> Session:
    return Session(
        dev_eui=device.dev_eui,
        dev_addr=terms.dev_addr,
        mac_version=device.mac_version,
        f_nwk_s_int_key=keys.f_nwk_s_int_key,
        s_nwk_s_int_key=keys.s_nwk_s_int_key,
        nwk_s_enc_key=keys.nwk_s_enc_key,
        app_s_key=keys.app_s_key,
    )


def _not_served(device: Device, why: str) -> Refused:
    return _refused(device, Refusal.JOIN_NOT_SERVED, why)


def _refused(device: Device, reason: Refusal, detail: str) -> Refused:
    return Refused(reason, detail, dev_eui=device.dev_eui)


# --- as text ---------------------------------------------------------------------------------------------------------


def _packed(nonces: frozenset[int]) -> str:
    """A bit for each nonce that was drawn, deflated."""
    if not nonces:
        return ""
    bits = bytearray(_NONCES // 8)
    for nonce in nonces:
        bits[nonce >> 3] |= 1 << (nonce & 7)
    return base64.b85encode(zlib.compress(bits, 9)).decode()


def _unpacked(text: str) -> frozenset[int]:
    if not text:
        return frozenset()
    inflater = zlib.decompressobj()
    bits = inflater.decompress(base64.b85decode(text), _NONCES // 8 + 1)
    if not inflater.eof or len(bits) != _NONCES // 8:
        raise ValueError("more drawn nonces than there can be, or only a part of them")
    return frozenset(at << 3 | bit for at, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1)


def _counter(value: Any, highest: int = 0xFFFF) -> int:
    if not isinstance(value, int) or not 0 <= value <= highest:
        raise ValueError(f"{value!r} is no counter up to {highest}")
    return value


def _maybe(value: Any) -> int | None:
    return None if value is None else _counter(value)
