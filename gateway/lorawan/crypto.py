"""The cipher and the MICs of LoRaWAN 1.0.x and 1.1.

Setting up an AES key costs more than using it, so a key is set up once: `KeySchedules` keeps the last few thousand.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), 4.3.3 and 4.4; LoRaWAN 1.1, 4.3.1.6, 4.3.3 and 4.4, with the change request
"FCntDwn usage in FOpts encryption" (v2), which all network servers follow; AES-CMAC is RFC 4493.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from gateway.lorawan.frame import MIC_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.lorawan.frame import Direction
    from gateway.model import AesKey, DevAddr

KEYS_KEPT = 4_096
"""Keys kept ready by default: two for each of 2,048 sessions of 1.0.x, about 9 MB."""

_BLOCK = 16
# 0x49 | ConfFCnt | TxDr | TxCh | Dir | DevAddr | FCnt | 0x00 | length of the message
_MIC_BLOCK = struct.Struct("<BHBBBIIxB")
# 0x01 | 0x00000000 | Dir | DevAddr | FCnt | 0x00 | i, where the fourth zero is 1 or 2 with FOpts
_CIPHER_BLOCK = struct.Struct("<BxxxBBIIxB")


class KeySchedule:
    """One AES-128 key, ready to use. Not for two threads at once."""

    __slots__ = ("_cmac", "_key", "encrypt")

    encrypt: Callable[[bytes], bytes]
    """AES-ECB over whole blocks of 16 bytes."""

    def __init__(self, key: AesKey) -> None:
        # ECB has no state between blocks, so one encryptor serves for ever.
        self.encrypt = Cipher(AES(key), ECB()).encryptor().update  # noqa: S305 - LoRaWAN builds its counter mode on it
        self._key = key
        self._cmac: CMAC | None = None  # an AppSKey never signs

    def cmac(self, message: bytes) -> bytes:
        """The 16 bytes of AES-CMAC (RFC 4493)."""
        if self._cmac is None:
            self._cmac = CMAC(AES(self._key))
        # A copy starts from the prepared subkeys: a third of the time of CBC by hand over `encrypt`.
        running = self._cmac.copy()
        running.update(message)
        return running.finalize()


class KeySchedules:
    """The keys used last, ready to use; the oldest give way."""

    __slots__ = ("_bound", "_kept")

    def __init__(self, bound: int = KEYS_KEPT) -> None:
        self._bound = bound
        self._kept: OrderedDict[AesKey, KeySchedule] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: AesKey) -> KeySchedule:
        """The schedule of this key, kept or set up now."""
        schedule = self._kept.get(key)
        if schedule is not None:
            self._kept.move_to_end(key)
            return schedule
        schedule = self._kept[key] = KeySchedule(key)
        if len(self._kept) > self._bound:
            self._kept.popitem(last=False)
        return schedule


def crypt_payload(key: KeySchedule, direction: Direction, dev_addr: DevAddr, f_cnt: int, payload: bytes) -> bytes:
    """FRMPayload encrypted or decrypted, which is the same (4.3.3). `f_cnt` has 32 bits.

    The key is AppSKey, or on FPort 0 NwkSKey (1.0.x) or NwkSEncKey (1.1).
    """
    size = len(payload)
    blocks = -(-size // _BLOCK)
    stream = key.encrypt(
        b"".join(
            [_CIPHER_BLOCK.pack(1, 0, direction.value, dev_addr, f_cnt, i) for i in range(1, blocks + 1)],
        )
    )
    return _xor(payload, stream[:size])


def crypt_f_opts(
    key: KeySchedule, direction: Direction, dev_addr: DevAddr, f_cnt: int, f_opts: bytes, *, a_f_cnt_down: bool = False
) -> bytes:
    """FOpts of a 1.1 frame encrypted or decrypted with NwkSEncKey, which is the same (4.3.1.6 as changed).

    `a_f_cnt_down` says that `f_cnt` is the counter of the application's downlinks, not of the network's.
    """
    counter = 2 if a_f_cnt_down else 1
    stream = key.encrypt(_CIPHER_BLOCK.pack(1, counter, direction.value, dev_addr, f_cnt, 1))
    return _xor(f_opts, stream[: len(f_opts)])


def data_mic(key: KeySchedule, direction: Direction, dev_addr: DevAddr, f_cnt: int, unsigned: bytes) -> bytes:
    """The MIC of a 1.0.x data frame with NwkSKey (4.4); `unsigned` is the frame from MHDR up to the MIC.

    With FNwkSIntKey its first two bytes are the half of a 1.1 uplink's MIC that the forwarding network checks.
    """
    block = _MIC_BLOCK.pack(0x49, 0, 0, 0, direction.value, dev_addr, f_cnt, len(unsigned))
    return key.cmac(block + unsigned)[:MIC_SIZE]


def uplink_mic_1_1(
    f_key: KeySchedule,
    s_key: KeySchedule,
    dev_addr: DevAddr,
    f_cnt: int,
    unsigned: bytes,
    *,
    conf_f_cnt: int,
    tx_dr: int,
    tx_ch: int,
) -> bytes:
    """The MIC of a 1.1 uplink (4.4.2): two bytes with SNwkSIntKey, then two with FNwkSIntKey.

    `conf_f_cnt` is the counter, modulo 65,536, of the confirmed downlink that the frame acknowledges; 0 without ACK.
    """
    s_half = serving_half(s_key, dev_addr, f_cnt, unsigned, conf_f_cnt=conf_f_cnt, tx_dr=tx_dr, tx_ch=tx_ch)
    return s_half + forwarding_half(f_key, dev_addr, f_cnt, unsigned)


def serving_half(
    s_key: KeySchedule, dev_addr: DevAddr, f_cnt: int, unsigned: bytes, *, conf_f_cnt: int, tx_dr: int, tx_ch: int
) -> bytes:
    """The first two bytes of a 1.1 uplink's MIC: they cover how the frame was sent, and what it acknowledges."""
    block = _MIC_BLOCK.pack(0x49, conf_f_cnt, tx_dr, tx_ch, 0, dev_addr, f_cnt, len(unsigned))
    return s_key.cmac(block + unsigned)[:2]


def forwarding_half(f_key: KeySchedule, dev_addr: DevAddr, f_cnt: int, unsigned: bytes) -> bytes:
    """The last two bytes of a 1.1 uplink's MIC: they cover the frame alone."""
    block = _MIC_BLOCK.pack(0x49, 0, 0, 0, 0, dev_addr, f_cnt, len(unsigned))
    return f_key.cmac(block + unsigned)[:2]


def downlink_mic_1_1(
    s_key: KeySchedule, dev_addr: DevAddr, f_cnt: int, unsigned: bytes, *, conf_f_cnt: int = 0
) -> bytes:
    """The MIC of a 1.1 downlink with SNwkSIntKey (4.4.1); `conf_f_cnt` as in `uplink_mic_1_1`."""
    block = _MIC_BLOCK.pack(0x49, conf_f_cnt, 0, 0, 1, dev_addr, f_cnt, len(unsigned))
    return s_key.cmac(block + unsigned)[:MIC_SIZE]


def join_mic(key: KeySchedule, message: bytes) -> bytes:
    """The MIC of a join-request (AppKey in 1.0.x, NwkKey in 1.1), a rejoin-request or a join-accept (6.2).

    Its blocks have no prefix of their own: `message` is all that is signed.
    """
    return key.cmac(message)[:MIC_SIZE]


def _xor(left: bytes, right: bytes) -> bytes:
    number = int.from_bytes(left, "big") ^ int.from_bytes(right, "big")
    return number.to_bytes(len(left), "big")
