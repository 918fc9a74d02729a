"""Names that say nothing."""

from __future__ import annotations

import hashlib

import pytest

from gateway.wire.pseudonym import Pseudonyms

DEV_EUI = "70b3d57ed0000001"


def test_a_name_has_one_pseudonym_under_one_key_and_another_under_another():
    ours, theirs = Pseudonyms(b"k" * 16), Pseudonyms(b"l" * 16)
    assert ours.of("dev_eui", DEV_EUI) == Pseudonyms(b"k" * 16).of("dev_eui", DEV_EUI)
    assert ours.of("dev_eui", DEV_EUI) != theirs.of("dev_eui", DEV_EUI)
    assert ours.of("dev_eui", DEV_EUI) != ours.of("dev_eui", "70b3d57ed0000002")


@pytest.mark.parametrize(("kind", "digits"), [("dev_eui", 16), ("id", 32), ("record_id", 32)])
def test_a_pseudonym_has_the_shape_of_what_it_stands_for(kind, digits):
    assert len(bytes.fromhex(Pseudonyms(b"k" * 40).of(kind, DEV_EUI))) * 2 == digits


def test_kinds_do_not_betray_each_other():
    names = Pseudonyms(b"k" * 16)
    assert names.of("id", DEV_EUI) != names.of("record_id", DEV_EUI)
    assert not names.of("id", DEV_EUI).startswith(names.of("dev_eui", DEV_EUI))


def test_all_of_a_long_key_counts():
    assert Pseudonyms(b"k" * 64 + b"a").of("id", "x") != Pseudonyms(b"k" * 64 + b"b").of("id", "x")


def test_it_is_no_hash_that_anybody_could_make():
    plain = {hashlib.new(name, DEV_EUI.encode()).hexdigest()[:16] for name in ("md5", "sha1", "sha256", "blake2s")}
    assert Pseudonyms(b"k" * 16).of("dev_eui", DEV_EUI) not in plain


def test_a_short_key_is_refused_and_no_key_is_shown():
    with pytest.raises(ValueError, match="at least 16 bytes, this one has 15") as caught:
        Pseudonyms(b"secret-key-here")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Pseudonyms(b"secret-key-here-"))
