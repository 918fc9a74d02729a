"""Session keys and join-accepts against what others publish."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_joins import (
    ACCEPT_1_1_PHY,
    ACCEPTS,
    ANSWERS,
    CHIRPSTACK_1_0,
    CHIRPSTACK_1_1,
    CHIRPSTACK_ROOT,
    JOIN_REQUESTS,
    NET_ID_PREFIXES,
    REJOIN_REQUESTS,
)

from gateway.lorawan.crypto import KeySchedules, join_mic
from gateway.lorawan.frame import JoinAccept, MalformedFrame, parse
from gateway.lorawan.net_id import address_bits, dev_addr_in
from gateway.lorawan.session_keys import AcceptSecret, keys_1_0, keys_1_1
from gateway.model import AesKey, DevAddr, DevEui, JoinEui

_ZEROS = AesKey(bytes(16))
_EUI = JoinEui.parse("0807060504030201")


def _keys(keys):
    return (
        keys.f_nwk_s_int_key.hex(),
        keys.s_nwk_s_int_key.hex(),
        keys.nwk_s_enc_key.hex(),
        keys.app_s_key.hex(),
    )


@pytest.mark.parametrize(("phy", "key"), JOIN_REQUESTS.values(), ids=JOIN_REQUESTS)
def test_a_published_join_request_has_the_published_mic(phy, key):
    request = parse(bytes.fromhex(phy))
    assert join_mic(KeySchedules().of(AesKey.parse(key)), request.unsigned()) == request.mic


@pytest.mark.parametrize(("phy", "rejoin_type", "count"), REJOIN_REQUESTS.values(), ids=REJOIN_REQUESTS)
def test_a_published_rejoin_request_has_the_published_mic(phy, rejoin_type, count):
    request = parse(bytes.fromhex(phy))
    assert (request.rejoin_type, request.rj_count) == (rejoin_type, count)
    assert join_mic(KeySchedules().of(_ZEROS), request.unsigned()) == request.mic


def test_keys_of_1_0_are_the_published_ones():
    keys = keys_1_0(AesKey.parse(CHIRPSTACK_ROOT), join_nonce=65536, net_id=0x010203, dev_nonce=258)
    network, application = CHIRPSTACK_1_0
    assert _keys(keys) == (network, network, network, application)


def test_keys_of_1_1_are_the_published_ones():
    keys = keys_1_1(_ZEROS, AesKey.parse(CHIRPSTACK_ROOT), join_nonce=65536, join_eui=_EUI, dev_nonce=258)
    assert _keys(keys) == CHIRPSTACK_1_1


@pytest.mark.parametrize("published", ACCEPTS, ids=lambda published: published.source)
def test_a_published_accept_is_made_and_read(published):
    secret = AcceptSecret.of_1_0(AesKey.parse(published.app_key))
    assert secret.seal(published.fields).hex() == published.phy
    assert secret.open(parse(bytes.fromhex(published.phy))) == published.fields


def test_the_published_accept_of_1_1_is_made_and_read():
    key = AesKey.parse(ACCEPTS[1].app_key)
    fields = replace(ACCEPTS[1].fields, opt_neg=True)
    asked = AcceptSecret.of_1_1(_ZEROS, DevEui(bytes(8)), _EUI, 258).signed_before
    secret = AcceptSecret(key, key, asked)
    assert secret.seal(fields).hex() == ACCEPT_1_1_PHY
    assert secret.open(parse(bytes.fromhex(ACCEPT_1_1_PHY))) == fields


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.phy[:12]} type {answer.rejoin_type}")
def test_an_accept_and_its_keys_are_what_others_make_of_them(answer):
    app_key, fields, join_eui = AesKey.parse(answer.app_key), answer.fields, JoinEui.parse(answer.join_eui)
    if answer.nwk_key is None:
        secret = AcceptSecret.of_1_0(app_key)
        keys = keys_1_0(app_key, fields.join_nonce, fields.net_id, answer.dev_nonce)
    else:
        nwk_key, dev_eui = AesKey.parse(answer.nwk_key), DevEui.parse(answer.dev_eui)
        secret = AcceptSecret.of_1_1(nwk_key, dev_eui, join_eui, answer.dev_nonce, answer.rejoin_type)
        keys = keys_1_1(app_key, nwk_key, fields.join_nonce, join_eui, answer.dev_nonce)
    assert secret.seal(fields).hex() == answer.phy
    assert secret.open(parse(bytes.fromhex(answer.phy))) == fields
    assert _keys(keys) == answer.keys


def test_an_accept_for_another_request_is_none():
    fields = ACCEPTS[1].fields
    secret = AcceptSecret.of_1_1(_ZEROS, DevEui(bytes(8)), _EUI, 258)
    accept = parse(secret.seal(fields))
    assert secret.open(accept) == fields
    for other in (
        AcceptSecret.of_1_1(_ZEROS, DevEui(bytes(8)), _EUI, 259),
        AcceptSecret.of_1_1(_ZEROS, DevEui(bytes(8)), _EUI, 258, 0),
        AcceptSecret.of_1_0(_ZEROS),
    ):
        assert other.open(accept) is None


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32))
def test_bytes_that_nobody_signed_are_no_accept(encrypted):
    assert AcceptSecret.of_1_0(_ZEROS).open(JoinAccept(encrypted)) is None


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"join_nonce": 1 << 24}, "JoinNonce"),
        ({"net_id": -1}, "NetID"),
        ({"rx1_dr_offset": 8}, "RX1DROffset 8"),
        ({"rx2_data_rate": 16}, "RX2DataRate 16"),
        ({"rx_delay_s": 16}, "RxDelay 16"),
        ({"cf_list": bytes(15)}, "15 bytes of CFList"),
    ],
)
def test_what_no_accept_can_say_is_refused(wrong, complaint):
    with pytest.raises(MalformedFrame, match=complaint):
        replace(ACCEPTS[0].fields, **wrong)


@pytest.mark.parametrize(("net_id", "first", "fixed"), NET_ID_PREFIXES, ids=lambda value: f"{value:x}")
def test_a_network_s_addresses_carry_its_published_prefix(net_id, first, fixed):
    assert address_bits(net_id) == 32 - fixed
    assert dev_addr_in(net_id, 0) == DevAddr(first)
    assert dev_addr_in(net_id, (1 << 32 - fixed) - 1) == DevAddr(first | (1 << 32 - fixed) - 1)
    with pytest.raises(ValueError, match="does not fit"):
        dev_addr_in(net_id, 1 << 32 - fixed)


def test_a_net_id_beyond_its_bits_is_refused():
    with pytest.raises(ValueError, match="24 bits"):
        address_bits(1 << 24)
