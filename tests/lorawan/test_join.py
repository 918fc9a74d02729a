"""Who may have a session: nonces of each version, forged and repeated requests, rejoins, the session before."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lorawan.crypto import KeySchedule, join_mic
from gateway.lorawan.frame import JoinRequest, RejoinRequest, parse
from gateway.lorawan.join import (
    JOIN_NONCE_MAX,
    Joined,
    JoinHistory,
    JoinTerms,
    UsedNonces,
    answer_join,
    answer_rejoin,
)
from gateway.lorawan.session_keys import AcceptSecret, js_int_key, keys_1_0, keys_1_1
from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, Refusal, Refused, RootKeys

DEV_EUI = DevEui.parse("70b3d57ed0000001")
JOIN_EUI = JoinEui.parse("70b3d57ed0000000")
APP_KEY, NWK_KEY = AesKey(b"a" * 16), AesKey(b"n" * 16)
ROOTS_1_0, ROOTS = RootKeys(APP_KEY), RootKeys(APP_KEY, NWK_KEY)
TERMS = JoinTerms(net_id=0x000013, dev_addr=DevAddr(0x26011BDA), rx2_data_rate=3, rx1_dr_offset=1, rx_delay_s=5)
DRAWING = [MacVersion.V1_0_0, MacVersion.V1_0_1, MacVersion.V1_0_2, MacVersion.V1_0_3]
COUNTING = [MacVersion.V1_0_4, MacVersion.V1_1_0]


def device(version=MacVersion.V1_0_3, **changes):
    return replace(Device(DEV_EUI, "meter", mac_version=version, join_eui=JOIN_EUI), **changes)


def roots(version):
    return ROOTS if version.is_1_1 else ROOTS_1_0


def join_request(dev_nonce, *, key=APP_KEY, join_eui=JOIN_EUI):
    unsigned = JoinRequest(join_eui, DEV_EUI, dev_nonce, bytes(4)).unsigned()
    return parse(unsigned + join_mic(KeySchedule(key), unsigned))


def rejoin_request(rejoin_type, rj_count, *, key, net_id=TERMS.net_id, join_eui=JOIN_EUI):
    whom = (None, join_eui) if rejoin_type == 1 else (net_id, None)
    unsigned = RejoinRequest(rejoin_type, *whom, DEV_EUI, rj_count, bytes(4)).unsigned()
    return parse(unsigned + join_mic(KeySchedule(key), unsigned))


def joined(version, dev_nonce, history=JoinHistory(), terms=TERMS):  # noqa: B008 - frozen
    key = NWK_KEY if version.is_1_1 else APP_KEY
    return answer_join(join_request(dev_nonce, key=key), device(version), roots(version), history, terms)


def reason(answer):
    assert isinstance(answer, Refused), answer
    assert answer.dev_eui == DEV_EUI
    return answer.reason


# --- a session ------------------------------------------------------------------------------------------------------


def test_a_device_of_1_0_gets_what_it_derives_itself():
    answer = joined(MacVersion.V1_0_3, 4141)
    assert isinstance(answer, Joined)
    said = AcceptSecret.of_1_0(APP_KEY).open(parse(answer.accept))
    assert (said.net_id, said.dev_addr, said.opt_neg) == (0x13, TERMS.dev_addr, False)
    assert (said.rx1_dr_offset, said.rx2_data_rate, said.rx_delay_s, said.cf_list) == (1, 3, 5, b"")
    keys = keys_1_0(APP_KEY, said.join_nonce, said.net_id, 4141)
    session = answer.session
    assert (session.f_nwk_s_int_key, session.app_s_key) == (keys.f_nwk_s_int_key, keys.app_s_key)
    assert (session.dev_addr, session.f_cnt_up, session.mac_version) == (TERMS.dev_addr, None, MacVersion.V1_0_3)


def test_a_device_of_1_1_gets_what_it_derives_itself():
    answer = joined(MacVersion.V1_1_0, 7, terms=replace(TERMS, cf_list=bytes(15) + b"\x01"))
    assert isinstance(answer, Joined)
    said = AcceptSecret.of_1_1(NWK_KEY, DEV_EUI, JOIN_EUI, 7).open(parse(answer.accept))
    assert said.opt_neg
    assert said.cf_list == bytes(15) + b"\x01"
    keys = keys_1_1(APP_KEY, NWK_KEY, said.join_nonce, JOIN_EUI, 7)
    session = answer.session
    assert (session.f_nwk_s_int_key, session.s_nwk_s_int_key) == (keys.f_nwk_s_int_key, keys.s_nwk_s_int_key)
    assert (session.nwk_s_enc_key, session.app_s_key) == (keys.nwk_s_enc_key, keys.app_s_key)


def test_a_device_of_1_1_entered_as_1_0_is_served_as_one():
    request = join_request(1, key=NWK_KEY)
    answer = answer_join(request, device(MacVersion.V1_0_2), ROOTS, JoinHistory(), TERMS)
    assert isinstance(answer, Joined)
    assert not AcceptSecret.of_1_0(NWK_KEY).open(parse(answer.accept)).opt_neg


def test_the_accept_shows_itself_nowhere():
    answer = joined(MacVersion.V1_0_3, 1)
    assert answer.accept.hex() not in repr(answer)
    assert repr(answer.accept) not in repr(answer)


@pytest.mark.parametrize("version", MacVersion)
def test_join_nonces_never_repeat(version):
    history, given_nonces = JoinHistory(), []
    for dev_nonce in range(40):
        answer = joined(version, dev_nonce, history)
        history = answer.history.answered() if dev_nonce % 5 == 0 else answer.history
        given_nonces.append(history.join_nonce)
    assert given_nonces[0] == 1
    assert given_nonces == sorted(set(given_nonces))


# --- nonces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", DRAWING)
def test_a_drawn_nonce_counts_once_for_ever_in_any_order(version):
    history = JoinHistory()
    for dev_nonce in (700, 3, 65535, 0):
        history = joined(version, dev_nonce, history).history
    history = JoinHistory.from_json(history.to_json())  # a year and a restart later
    for dev_nonce in (700, 3, 65535, 0):
        answer = joined(version, dev_nonce, history)
        assert reason(answer) is Refusal.REPLAY
        assert f"DevNonce {dev_nonce} was used before" in answer.detail
    assert isinstance(joined(version, 1, history), Joined)


@pytest.mark.parametrize("version", COUNTING)
def test_a_counted_nonce_has_to_grow(version):
    history = joined(version, 57).history
    for dev_nonce in (57, 56, 0):
        assert reason(joined(version, dev_nonce, history)) is Refusal.REPLAY
    assert "one of version 1.0.3" in joined(version, 3, history).detail
    assert isinstance(joined(version, 58, history), Joined)
    assert isinstance(joined(version, 65535, history), Joined)


def test_with_another_join_eui_a_counter_may_start_again_and_the_old_one_is_not_forgotten():
    version, other = MacVersion.V1_0_4, JoinEui.parse("0011223344556677")
    anywhere = device(version, join_eui=None)
    history = answer_join(join_request(57), anywhere, ROOTS_1_0, JoinHistory(), TERMS).history
    answer = answer_join(join_request(0, join_eui=other), anywhere, ROOTS_1_0, history, TERMS)
    assert isinstance(answer, Joined)
    assert answer.history.join_nonce == 2
    assert answer.history.join_eui == other
    assert reason(answer_join(join_request(57), anywhere, ROOTS_1_0, answer.history, TERMS)) is Refusal.REPLAY


def test_a_changed_version_forgets_no_nonce():
    history = joined(MacVersion.V1_0_3, 500).history
    history = joined(MacVersion.V1_0_4, 20, history).history
    assert reason(joined(MacVersion.V1_0_4, 500, history)) is Refusal.REPLAY
    assert reason(joined(MacVersion.V1_0_3, 500, history)) is Refusal.REPLAY
    assert reason(joined(MacVersion.V1_0_3, 20, history)) is Refusal.REPLAY


def test_accepts_that_stay_unused_reach_the_nonce_of_the_server_before():
    """A device that was joined 5,000 times elsewhere takes no accept below that."""
    history, asked = JoinHistory(), 0
    while history.join_nonce <= 5_000:
        history = joined(MacVersion.V1_1_0, asked, history).history
        asked += 1
    assert asked < 20
    used = history.answered()
    assert joined(MacVersion.V1_1_0, asked, used).history.join_nonce == history.join_nonce + 1


def test_a_device_out_of_reach_does_not_use_up_its_join_nonces():
    history = JoinHistory()
    for _ in range(3_000):
        history = joined(MacVersion.V1_0_4, 0, replace(history, nonces=())).history
    assert history.join_nonce < 80_000
    last = replace(history, nonces=(), join_nonce=JOIN_NONCE_MAX - 1)
    answer = joined(MacVersion.V1_0_4, 0, last)
    assert answer.history.join_nonce == JOIN_NONCE_MAX
    assert reason(joined(MacVersion.V1_0_4, 1, answer.history)) is Refusal.JOIN_NOT_SERVED


# --- who is not served ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", MacVersion)
def test_a_forged_join_is_refused_before_its_nonce_is_looked_at(version):
    history = joined(version, 9).history
    forged = join_request(9, key=AesKey(bytes(16)))
    assert reason(answer_join(forged, device(version), roots(version), history, TERMS)) is Refusal.BAD_MIC


def test_a_join_of_1_1_signed_with_the_application_key_is_forged():
    request = join_request(1, key=APP_KEY)
    answer = answer_join(request, device(MacVersion.V1_1_0), ROOTS, JoinHistory(), TERMS)
    assert reason(answer) is Refusal.BAD_MIC
    assert "is the device one of 1.0.x?" in answer.detail


def test_a_device_without_root_keys_is_not_served():
    answer = answer_join(join_request(1), device(), None, JoinHistory(), TERMS)
    assert reason(answer) is Refusal.JOIN_NOT_SERVED
    one_key = answer_join(join_request(1), device(MacVersion.V1_1_0), ROOTS_1_0, JoinHistory(), TERMS)
    assert "nwk_key is not entered" in one_key.detail


def test_a_device_that_asks_another_join_server_is_not_served():
    request = join_request(1, join_eui=JoinEui(bytes(8)))
    answer = answer_join(request, device(), ROOTS_1_0, JoinHistory(), TERMS)
    assert reason(answer) is Refusal.JOIN_NOT_SERVED
    assert str(JOIN_EUI) in answer.detail


# --- rejoins --------------------------------------------------------------------------------------------------------


def _rejoined(request, sessions, history, terms=TERMS, device_=None):
    return answer_rejoin(request, device_ or device(MacVersion.V1_1_0), ROOTS, sessions, history, terms)


@pytest.mark.parametrize("rejoin_type", [0, 2])
def test_a_rejoin_signed_with_the_session_gets_a_new_one(rejoin_type):
    first = joined(MacVersion.V1_1_0, 0)
    old = first.session
    terms = replace(TERMS, dev_addr=DevAddr(0x26011BDB))
    request = rejoin_request(rejoin_type, 0, key=old.s_nwk_s_int_key)
    answer = _rejoined(request, [old], first.history, terms)
    assert isinstance(answer, Joined)
    assert answer.rejoin_type == rejoin_type
    said = AcceptSecret.of_1_1(NWK_KEY, DEV_EUI, JOIN_EUI, 0, rejoin_type).open(parse(answer.accept))
    assert (said.dev_addr, said.join_nonce, said.opt_neg) == (terms.dev_addr, 2, True)
    assert answer.session.app_s_key == keys_1_1(APP_KEY, NWK_KEY, 2, JOIN_EUI, 0).app_s_key
    # it counts once, and the next one goes on
    assert reason(_rejoined(request, [old], answer.history, terms)) is Refusal.REPLAY
    again = rejoin_request(2 - rejoin_type, 1, key=old.s_nwk_s_int_key)
    assert isinstance(_rejoined(again, [old], answer.history, terms), Joined)


def test_each_session_counts_its_rejoins_from_zero():
    first = joined(MacVersion.V1_1_0, 0)
    terms = replace(TERMS, dev_addr=DevAddr(2))
    second = _rejoined(rejoin_request(0, 9, key=first.session.s_nwk_s_int_key), [first.session], first.history, terms)
    sessions = [first.session, second.session]
    fresh = rejoin_request(0, 0, key=second.session.s_nwk_s_int_key)
    third = _rejoined(fresh, sessions, second.history, replace(TERMS, dev_addr=DevAddr(3)))
    assert isinstance(third, Joined)
    history = JoinHistory.from_json(third.history.to_json())
    assert reason(_rejoined(fresh, sessions, history)) is Refusal.REPLAY
    old = rejoin_request(0, 9, key=first.session.s_nwk_s_int_key)
    assert reason(_rejoined(old, sessions, history)) is Refusal.REPLAY


def test_a_rejoin_of_a_device_whose_session_was_lost_is_served_by_its_root_key():
    request = rejoin_request(1, 3, key=js_int_key(NWK_KEY, DEV_EUI))
    answer = _rejoined(request, [], JoinHistory())
    assert isinstance(answer, Joined)
    said = AcceptSecret.of_1_1(NWK_KEY, DEV_EUI, JOIN_EUI, 3, 1).open(parse(answer.accept))
    assert said.join_nonce == 1
    history = JoinHistory.from_json(answer.history.to_json())
    for rj_count in (3, 2):
        late = rejoin_request(1, rj_count, key=js_int_key(NWK_KEY, DEV_EUI))
        assert reason(_rejoined(late, [], history)) is Refusal.REPLAY
    # a later join forgets nothing of it
    history = joined(MacVersion.V1_1_0, 0, history).history
    assert reason(_rejoined(request, [], history)) is Refusal.REPLAY


def test_a_rejoin_that_is_not_ours_is_not_served():
    first = joined(MacVersion.V1_1_0, 0)
    old, key = first.session, first.session.s_nwk_s_int_key
    forged = rejoin_request(0, 0, key=AesKey(bytes(16)))
    assert reason(_rejoined(forged, [old], first.history)) is Refusal.BAD_MIC
    assert reason(_rejoined(rejoin_request(0, 0, key=key), [], first.history)) is Refusal.BAD_MIC
    elsewhere = rejoin_request(0, 0, key=key, net_id=1)
    assert reason(_rejoined(elsewhere, [old], first.history)) is Refusal.JOIN_NOT_SERVED
    js_key = js_int_key(NWK_KEY, DEV_EUI)
    assert reason(_rejoined(rejoin_request(1, 0, key=key), [old], first.history)) is Refusal.BAD_MIC
    other = rejoin_request(1, 0, key=js_key, join_eui=JoinEui(bytes(8)))
    assert reason(_rejoined(other, [old], first.history)) is Refusal.JOIN_NOT_SERVED
    unknown = _rejoined(
        rejoin_request(0, 0, key=key), [old], JoinHistory(), device_=device(MacVersion.V1_1_0, join_eui=None)
    )
    assert reason(unknown) is Refusal.JOIN_NOT_SERVED
    old_device = answer_rejoin(rejoin_request(0, 0, key=key), device(), ROOTS_1_0, [old], first.history, TERMS)
    assert reason(old_device) is Refusal.JOIN_NOT_SERVED


# --- as text --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.builds(
        JoinHistory,
        join_nonce=st.integers(0, JOIN_NONCE_MAX),
        unused=st.integers(0, 99),
        nonces=st.lists(
            st.builds(
                UsedNonces,
                join_eui=st.binary(min_size=8, max_size=8).map(JoinEui),
                last=st.none() | st.integers(0, 0xFFFF),
                drawn=st.frozensets(st.integers(0, 0xFFFF), max_size=40),
                rj_count1=st.none() | st.integers(0, 0xFFFF),
            ),
            max_size=3,
        ).map(tuple),
        rj_counts0=st.lists(
            st.tuples(st.integers(0, 0xFFFF_FFFF).map(DevAddr), st.integers(0, 0xFFFF)), max_size=3
        ).map(tuple),
    )
)
def test_a_history_comes_back_as_it_was(history):
    assert JoinHistory.from_json(history.to_json()) == history


@pytest.mark.parametrize(
    "drawn", [range(1), range(65_536), range(0, 65_536, 2), range(7, 65_536, 137)], ids=lambda drawn: f"{len(drawn)}"
)
def test_nonces_are_kept_in_little_room(drawn):
    history = JoinHistory(nonces=(UsedNonces(JOIN_EUI, drawn=frozenset(drawn)),))
    text = history.to_json()
    assert JoinHistory.from_json(text) == history
    assert len(text) < 11_000


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"v":2,"n":0,"u":0,"e":[],"r":[]}',
        '{"v":1,"n":-1,"u":0,"e":[],"r":[]}',
        '{"v":1,"n":0,"u":0,"e":[["70b3d57ed0000000",70000,"",null]],"r":[]}',
        '{"v":1,"n":0,"u":0,"e":[["70b3",null,"",null]],"r":[]}',
        '{"v":1,"n":0,"u":0,"e":[["70b3d57ed0000000",null,"zzzz",null]],"r":[]}',
        '{"v":1,"n":0,"u":0,"e":[],"r":[[-1,0]]}',
        '{"v":1,"n":0,"u":0,"e":[],"r":[1]}',
    ],
)
def test_a_damaged_history_is_no_empty_one(damaged):
    with pytest.raises(ValueError):
        JoinHistory.from_json(damaged)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 0xFFFF), st.binary(min_size=4, max_size=4), st.sampled_from(MacVersion))
def test_nobody_joins_without_the_key(dev_nonce, mic, version):
    request = JoinRequest(JOIN_EUI, DEV_EUI, dev_nonce, mic)
    answer = answer_join(request, device(version), roots(version), JoinHistory(), TERMS)
    assert isinstance(answer, Refused)
