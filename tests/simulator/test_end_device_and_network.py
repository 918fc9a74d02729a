"""Two readings of the specification in one house, the device's and the network's: they have to agree, bit for bit."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lorawan.frame import parse
from gateway.lorawan.join import Joined, JoinHistory, JoinTerms, answer_join, answer_rejoin
from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, RootKeys
from gateway.regions.eu868 import EU868
from gateway.simulator.end_device.joining import (
    JOIN_REQUEST,
    Identity,
    Question,
    join_request,
    read_accept,
    rejoin_request,
)

KEYS = st.binary(min_size=16, max_size=16).map(AesKey)
EUIS = st.binary(min_size=8, max_size=8)
TERMS = st.builds(
    JoinTerms,
    net_id=st.integers(0, 0xFF_FFFF),
    dev_addr=st.integers(0, 0xFFFF_FFFF).map(DevAddr),
    rx2_data_rate=st.integers(0, 15),
    rx1_dr_offset=st.integers(0, 7),
    rx_delay_s=st.integers(1, 15),
    cf_list=st.sampled_from([b"", EU868.cf_list((867_100_000, 867_300_000))]),
)


@st.composite
def devices(draw, versions=tuple(MacVersion)):
    version = draw(st.sampled_from(versions))
    keys = RootKeys(draw(KEYS), draw(KEYS) if version.is_1_1 else None)
    join_eui, dev_eui = JoinEui(draw(EUIS)), DevEui(draw(EUIS))
    device = Device(dev_eui, "one", mac_version=version, join_eui=join_eui)
    return device, keys, Identity.of(dev_eui, join_eui, keys, version)


def agrees(accept, joined, terms):
    assert accept.session == joined.session
    assert (accept.net_id, accept.session.dev_addr, accept.join_nonce) == (
        terms.net_id,
        terms.dev_addr,
        joined.history.join_nonce,
    )
    assert (accept.rx1_dr_offset, accept.rx2_data_rate) == (terms.rx1_dr_offset, terms.rx2_data_rate)
    assert (accept.rx_delay_s, accept.cf_list) == (terms.rx_delay_s, terms.cf_list)


@settings(deadline=None, max_examples=80)
@given(one=devices(), nonce=st.integers(0, 0xFFFF), terms=TERMS)
def test_a_join_gives_both_the_same_session(one, nonce, terms):
    device, keys, identity = one
    request = parse(join_request(identity, nonce))
    joined = answer_join(request, device, keys, JoinHistory(), terms)
    assert isinstance(joined, Joined)
    accept = read_accept(identity, Question(JOIN_REQUEST, nonce), joined.accept)
    agrees(accept, joined, terms)
    assert accept.opt_neg is device.mac_version.is_1_1
    assert read_accept(identity, Question(JOIN_REQUEST, nonce ^ 1), joined.accept) is None or not accept.opt_neg


@settings(deadline=None, max_examples=80)
@given(
    one=devices(versions=(MacVersion.V1_1_0,)),
    rejoin_type=st.sampled_from([0, 1, 2]),
    count=st.integers(0, 0xFFFF),
    first=TERMS,
    terms=TERMS,
)
def test_a_rejoin_gives_both_the_same_session(one, rejoin_type, count, first, terms):
    device, keys, identity = one
    terms = replace(terms, net_id=first.net_id)
    joined = answer_join(parse(join_request(identity, 1)), device, keys, JoinHistory(), first)
    assert isinstance(joined, Joined)
    request = parse(rejoin_request(identity, joined.session, first.net_id, rejoin_type, count))
    again = answer_rejoin(request, device, keys, [joined.session], joined.history, terms)
    assert isinstance(again, Joined), again
    accept = read_accept(identity, Question(rejoin_type, count), again.accept)
    agrees(accept, again, terms)
    assert accept.join_nonce > joined.history.join_nonce
    assert accept.session.app_s_key != joined.session.app_s_key
