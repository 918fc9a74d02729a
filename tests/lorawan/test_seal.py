"""The device's side makes the frames that devices make."""

import pytest
from published_frames import UPLINKS

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.frame import F_CNT_MAX, MalformedFrame, parse
from gateway.lorawan.uplink import seal

COMPLETE = [frame for frame in UPLINKS if frame.payload is not None and frame.f_opts is not None]


def _sealed(published, schedules=None):
    return seal(
        published.session,
        f_cnt=published.f_cnt,
        f_port=published.f_port,
        payload=published.payload,
        confirmed=published.confirmed,
        adr=published.adr,
        ack=published.ack,
        f_opts=published.f_opts,
        tx_dr=published.tx_dr,
        tx_ch=published.tx_ch,
        conf_f_cnt=published.conf_f_cnt,
        schedules=schedules,
    )


@pytest.mark.parametrize("published", COMPLETE, ids=lambda published: published.source)
def test_what_is_sealed_is_the_published_frame_to_the_last_byte(published):
    assert _sealed(published) == published.phy


def test_kept_schedules_seal_the_same():
    schedules = KeySchedules(bound=3)
    for published in COMPLETE * 2:
        assert _sealed(published, schedules) == published.phy


def test_nothing_is_acknowledged_without_the_bit():
    session = COMPLETE[-2].session
    assert seal(session, f_cnt=1, f_port=1, conf_f_cnt=7) == seal(session, f_cnt=1, f_port=1)
    assert seal(session, f_cnt=1, f_port=1, conf_f_cnt=7, ack=True) != seal(session, f_cnt=1, f_port=1, ack=True)


def test_the_flags_of_a_device_are_on_the_air():
    sent = parse(seal(COMPLETE[0].session, f_cnt=1, f_port=None, adr_ack_req=True, class_b=True))
    assert (sent.f_ctrl.adr, sent.f_ctrl.adr_ack_req, sent.f_ctrl.ack, sent.f_ctrl.class_b) == (
        False,
        True,
        False,
        True,
    )
    assert sent.f_port is None


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"f_cnt": F_CNT_MAX + 1}, "joins again"),
        ({"f_cnt": -1}, "joins again"),
        ({"f_port": None, "payload": b"x"}, "without an FPort"),
        ({"f_port": 256}, "FPort 256"),
        ({"f_opts": bytes(16)}, "16 bytes of FOpts"),
        ({"f_port": 0, "f_opts": b"\x02"}, "on FPort 0"),
        ({"payload": bytes(243)}, "256 bytes"),
    ],
)
@pytest.mark.parametrize("published", [COMPLETE[0], COMPLETE[-2]], ids=["1.0", "1.1"])
def test_what_no_device_may_send_is_refused(published, wrong, complaint):
    with pytest.raises(MalformedFrame, match=complaint):
        seal(published.session, **{"f_cnt": 1, "f_port": 1, "payload": b"", **wrong})
