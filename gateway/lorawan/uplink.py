"""The device's side: an uplink as a device sends it, for simulated devices, tests and benchmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import KeySchedules, crypt_f_opts, crypt_payload, data_mic, uplink_mic_1_1
from gateway.lorawan.frame import F_CNT_MAX, MIC_SIZE, DataFrame, Direction, MalformedFrame, MType, UplinkControl

if TYPE_CHECKING:
    from gateway.model import Session


def seal(
    session: Session,
    *,
    f_cnt: int,
    f_port: int | None,
    payload: bytes = b"",
    confirmed: bool = False,
    adr: bool = False,
    adr_ack_req: bool = False,
    ack: bool = False,
    class_b: bool = False,
    f_opts: bytes = b"",
    tx_dr: int = 0,
    tx_ch: int = 0,
    conf_f_cnt: int = 0,
    schedules: KeySchedules | None = None,
) -> bytes:
    """The PHYPayload that the device of this session sends: encrypted and signed.

    `f_cnt` has 32 bits; `payload` and `f_opts` are plain. What the MIC of 1.1 covers besides the frame is given by
    `tx_dr`, `tx_ch` (the data rate and channel it is sent with) and, with `ack`, `conf_f_cnt`; 1.0.x ignores them.
    Who seals often passes its own `schedules`. Raises MalformedFrame for what cannot be sent.
    """
    if not 0 <= f_cnt <= F_CNT_MAX:
        raise MalformedFrame(f"a counter of {f_cnt}, it ends at {F_CNT_MAX} and then a device joins again")
    keys = schedules if schedules is not None else KeySchedules()
    is_1_1 = session.mac_version.is_1_1
    payload_key = session.nwk_s_enc_key if f_port == 0 else session.app_s_key
    header = (Direction.UP, session.dev_addr, f_cnt)
    draft = DataFrame(
        mtype=MType.CONFIRMED_DATA_UP if confirmed else MType.UNCONFIRMED_DATA_UP,
        dev_addr=session.dev_addr,
        f_ctrl=UplinkControl(adr=adr, adr_ack_req=adr_ack_req, ack=ack, class_b=class_b),
        f_cnt16=f_cnt & 0xFFFF,
        f_opts=f_opts,
        f_port=f_port,
        frm_payload=crypt_payload(keys.of(payload_key), *header, payload),
        mic=bytes(MIC_SIZE),
    )
    if is_1_1 and f_opts:
        draft = replace(draft, f_opts=crypt_f_opts(keys.of(session.nwk_s_enc_key), *header, f_opts))
    unsigned = draft.unsigned()
    f_key = keys.of(session.f_nwk_s_int_key)
    if not is_1_1:
        return unsigned + data_mic(f_key, *header, unsigned)
    return unsigned + uplink_mic_1_1(
        f_key,
        keys.of(session.s_nwk_s_int_key),
        session.dev_addr,
        f_cnt,
        unsigned,
        conf_f_cnt=conf_f_cnt & 0xFFFF if ack else 0,
        tx_dr=tx_dr,
        tx_ch=tx_ch,
    )
