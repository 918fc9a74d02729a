"""Session keys from root keys, and the join-accept that lets a device derive the same ones.

A join-accept is encrypted with the cipher's inverse, so that a device needs only its forward half to read it.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), 6.2.6; LoRaWAN 1.1, 6.1.1.3, 6.1.1.4 and 6.2.3. AppNonce is the name that
LoRaWAN 1.0 to 1.0.3 has for JoinNonce, AppEUI that for JoinEUI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from gateway.lorawan.crypto import KeySchedule, join_mic
from gateway.lorawan.frame import MIC_SIZE, JoinAccept, MalformedFrame
from gateway.model import AesKey, DevAddr

if TYPE_CHECKING:
    from gateway.model import DevEui, JoinEui

JOIN_REQUEST_TYPE = 0xFF
"""JoinReqType of a join-request in the MIC of a 1.1 accept; a rejoin's is its own type."""

CF_LIST_SIZE = 16

_MHDR_JOIN_ACCEPT = b"\x20"
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What a join gives; in 1.0.x the first three are one key, NwkSKey."""

    f_nwk_s_int_key: AesKey
    s_nwk_s_int_key: AesKey
    nwk_s_enc_key: AesKey
    app_s_key: AesKey


def keys_1_0(root_key: AesKey, join_nonce: int, net_id: int, dev_nonce: int) -> SessionKeys:
    """The keys of a session without OptNeg. The root key is AppKey; a 1.1 device in a 1.0 network takes NwkKey."""
    root = KeySchedule(root_key)
    nonces = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_nonce.to_bytes(2, "little")
    network = _derived(root, 0x01, nonces)
    return SessionKeys(network, network, network, _derived(root, 0x02, nonces))


def keys_1_1(app_key: AesKey, nwk_key: AesKey, join_nonce: int, join_eui: JoinEui, dev_nonce: int) -> SessionKeys:
    """The keys of a session with OptNeg; after a rejoin, its RJcount stands for `dev_nonce`."""
    network = KeySchedule(nwk_key)
    nonces = join_nonce.to_bytes(3, "little") + join_eui[::-1] + dev_nonce.to_bytes(2, "little")
    return SessionKeys(
        f_nwk_s_int_key=_derived(network, 0x01, nonces),
        s_nwk_s_int_key=_derived(network, 0x03, nonces),
        nwk_s_enc_key=_derived(network, 0x04, nonces),
        app_s_key=_derived(KeySchedule(app_key), 0x02, nonces),
    )


def js_int_key(nwk_key: AesKey, dev_eui: DevEui) -> AesKey:
    """The key of a device's life that signs 1.1 join-accepts and rejoin-requests of type 1."""
    return _derived(KeySchedule(nwk_key), 0x06, dev_eui[::-1])


def js_enc_key(nwk_key: AesKey, dev_eui: DevEui) -> AesKey:
    """The key of a device's life that encrypts the join-accept after a rejoin."""
    return _derived(KeySchedule(nwk_key), 0x05, dev_eui[::-1])


def _derived(root: KeySchedule, purpose: int, rest: bytes) -> AesKey:
    return AesKey(root.encrypt(bytes((purpose,)) + rest + bytes(_BLOCK - 1 - len(rest))))


@dataclass(frozen=True, slots=True)
class AcceptFields:
    """What a join-accept says."""

    join_nonce: int  # 24 bits
    net_id: int  # 24 bits
    dev_addr: DevAddr
    opt_neg: bool  # the session is one of 1.1
    rx1_dr_offset: int
    rx2_data_rate: int
    rx_delay_s: int  # 0 means 1
    cf_list: bytes = b""  # 16 bytes with its type, or none

    def __post_init__(self) -> None:
        """Refuse what does not fit its field."""
        for value, bits, what in (
            (self.join_nonce, 24, "JoinNonce"),
            (self.net_id, 24, "NetID"),
            (self.rx1_dr_offset, 3, "RX1DROffset"),
            (self.rx2_data_rate, 4, "RX2DataRate"),
            (self.rx_delay_s, 4, "RxDelay"),
        ):
            if not 0 <= value < 1 << bits:
                raise MalformedFrame(f"{what} {value} does not fit its {bits} bits")
        if len(self.cf_list) not in (0, CF_LIST_SIZE):
            raise MalformedFrame(f"{len(self.cf_list)} bytes of CFList, it has {CF_LIST_SIZE} or is left out")

    def to_bytes(self) -> bytes:
        """The fields in their order on the air, not signed and not encrypted."""
        return (
            self.join_nonce.to_bytes(3, "little")
            + self.net_id.to_bytes(3, "little")
            + self.dev_addr.to_bytes(4, "little")
            + bytes((self.opt_neg << 7 | self.rx1_dr_offset << 4 | self.rx2_data_rate, self.rx_delay_s))
            + self.cf_list
        )


@dataclass(frozen=True, slots=True)
class AcceptSecret:
    """How an accept is signed and encrypted: by what it answers, and by its version."""

    signing_key: AesKey
    encrypting_key: AesKey
    signed_before: bytes = b""  # 1.1 signs what was asked together with the answer

    @classmethod
    def of_1_0(cls, root_key: AesKey) -> AcceptSecret:
        """For a join-request of 1.0.x."""
        return cls(root_key, root_key)

    @classmethod
    def of_1_1(
        cls, nwk_key: AesKey, dev_eui: DevEui, join_eui: JoinEui, dev_nonce: int, rejoin_type: int | None = None
    ) -> AcceptSecret:
        """For a join-request of 1.1, or for a rejoin-request of this type with `dev_nonce` its RJcount."""
        asked = JOIN_REQUEST_TYPE if rejoin_type is None else rejoin_type
        return cls(
            signing_key=js_int_key(nwk_key, dev_eui),
            encrypting_key=nwk_key if rejoin_type is None else js_enc_key(nwk_key, dev_eui),
            signed_before=bytes((asked,)) + join_eui[::-1] + dev_nonce.to_bytes(2, "little"),
        )

    def seal(self, fields: AcceptFields) -> bytes:
        """The PHYPayload of this accept: 17 bytes, or 33 with a CFList."""
        plain = fields.to_bytes()
        mic = join_mic(KeySchedule(self.signing_key), self.signed_before + _MHDR_JOIN_ACCEPT + plain)
        decryptor = Cipher(AES(self.encrypting_key), ECB()).decryptor()  # noqa: S305 - 6.2.3: aes128_decrypt by blocks
        return JoinAccept(decryptor.update(plain + mic)).to_bytes()

    def open(self, accept: JoinAccept) -> AcceptFields | None:
        """The device's side: what an accept says; None when it is not signed for this request."""
        plain = KeySchedule(self.encrypting_key).encrypt(accept.encrypted)
        fields, mic = plain[:-MIC_SIZE], plain[-MIC_SIZE:]
        if join_mic(KeySchedule(self.signing_key), self.signed_before + _MHDR_JOIN_ACCEPT + fields) != mic:
            return None
        settings = fields[10]
        return AcceptFields(
            join_nonce=int.from_bytes(fields[:3], "little"),
            net_id=int.from_bytes(fields[3:6], "little"),
            dev_addr=DevAddr(int.from_bytes(fields[6:10], "little")),
            opt_neg=bool(settings & 0x80),
            rx1_dr_offset=settings >> 4 & 7,
            rx2_data_rate=settings & 0x0F,
            rx_delay_s=fields[11] & 0x0F,
            cf_list=fields[12:],
        )
