"""Generated passwords, their hashes, and the hash nobody's password matches."""

import random

import pytest
from argon2 import extract_parameters
from hypothesis import given
from hypothesis import strategies as st

from policy.password import (
    ALPHABET,
    GROUP_LENGTH,
    GROUPS,
    SALT_LENGTH,
    UNKNOWN_LOGIN_HASH,
    hash_password,
    new_password,
    verify,
)

SALT = bytes(range(SALT_LENGTH))
PASSWORD = "abcd efgh  jkmn"
HASH = hash_password(PASSWORD, SALT)


@given(seed=st.integers())
def test_a_password_is_groups_with_single_inner_spaces(seed: int) -> None:
    password = new_password(random.Random(seed).choice)
    groups = password.split(" ")
    assert [len(group) for group in groups] == [GROUP_LENGTH] * GROUPS
    assert set("".join(groups)) <= set(ALPHABET)
    assert password == " ".join(password.split())


def test_a_password_holds_more_than_100_bits() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert len(ALPHABET) ** (GROUPS * GROUP_LENGTH) > 2**100
    assert not set("01lo") & set(ALPHABET)


def test_every_character_is_chosen_by_the_source() -> None:
    assert new_password(lambda alphabet: alphabet[-1]) == " ".join(["9999"] * GROUPS)


def test_a_hash_verifies_its_password_only() -> None:
    assert verify(HASH, PASSWORD.encode())
    for other in (PASSWORD + " ", " " + PASSWORD, PASSWORD.replace("  ", " "), PASSWORD.upper(), "", PASSWORD + "\0"):
        assert not verify(HASH, other.encode())


def test_octets_that_are_no_text_are_compared_all_the_same() -> None:
    assert not verify(HASH, b"\xff\xfe\0")


def test_a_hash_depends_on_its_salt_and_does_not_show_the_password() -> None:
    assert hash_password(PASSWORD, SALT) == HASH
    assert hash_password(PASSWORD, SALT[::-1]) != HASH
    assert PASSWORD not in HASH


def test_a_comparison_with_the_unknown_costs_what_a_real_one_costs() -> None:
    assert extract_parameters(UNKNOWN_LOGIN_HASH) == extract_parameters(HASH)
    assert not verify(UNKNOWN_LOGIN_HASH, PASSWORD.encode())
    assert not verify(UNKNOWN_LOGIN_HASH, b"")


@pytest.mark.parametrize("damaged", ["", "x", "{SSHA}abc", HASH[:30], "$argon2id$v=19$m=1"])
def test_a_damaged_hash_is_a_fault_not_a_mismatch(damaged: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        verify(damaged, PASSWORD.encode())
