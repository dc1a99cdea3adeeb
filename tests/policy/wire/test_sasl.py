"""PLAIN and LOGIN: what is read as credentials, what is asked, what is refused unread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.password import MAX_LENGTH
from policy.wire.sasl import MAX_LOGIN, MECHANISMS, Challenge, Credentials, Login, Malformed, Plain

USER, PASSWORD = b"0123456789abcdef0123456789abcdef", b"abcd efgh  ijkl "
GOOD = Credentials(login=USER.decode(), password=PASSWORD)

MALFORMED = {
    "nothing": b"",
    "no NUL": b"user",
    "one NUL": USER + b"\0" + PASSWORD,
    "three NULs": b"\0" + USER + b"\0" + PASSWORD + b"\0",
    "NUL in the password": b"\0" + USER + b"\0pass\0word",
    "empty login": b"\0\0" + PASSWORD,
    "empty password": b"\0" + USER + b"\0",
    "nothing but NULs": b"\0\0",
    "other identity": b"admin\0" + USER + b"\0" + PASSWORD,
    "identity differs in case": USER.upper() + b"\0" + USER + b"\0" + PASSWORD,
    "identity with a blank": USER + b" \0" + USER + b"\0" + PASSWORD,
    "login not UTF-8": b"\0\xff\xfe\0" + PASSWORD,
    "password not UTF-8": b"\0" + USER + b"\0\xc3(",
    "surrogate": b"\0" + USER + b"\0\xed\xa0\x80",
    "long login": b"\0" + b"a" * (MAX_LOGIN + 1) + b"\0" + PASSWORD,
    "long password": b"\0" + USER + b"\0" + b"a" * (MAX_LENGTH + 1),
}


@pytest.mark.parametrize("message", [b"\0" + USER + b"\0" + PASSWORD, USER + b"\0" + USER + b"\0" + PASSWORD])
def test_plain_reads_credentials_with_and_without_an_authorization_identity(message: bytes) -> None:
    assert Plain().start(message) == GOOD
    plain = Plain()
    assert plain.start(None) == Challenge(data=b"")
    assert plain.feed(message) == GOOD


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_plain_refuses_unread(message: bytes) -> None:
    assert isinstance(Plain().start(message), Malformed)


def test_plain_takes_the_longest_allowed() -> None:
    step = Plain().start(b"\0" + b"l" * MAX_LOGIN + b"\0" + b"p" * MAX_LENGTH)
    assert step == Credentials(login="l" * MAX_LOGIN, password=b"p" * MAX_LENGTH)


def test_login_asks_for_both() -> None:
    login = Login()
    assert login.start(None) == Challenge(data=b"Username:")
    assert login.feed(USER) == Challenge(data=b"Password:")
    assert login.feed(PASSWORD) == GOOD


def test_login_with_an_initial_response_asks_for_the_password_only() -> None:
    login = Login()
    assert login.start(USER) == Challenge(data=b"Password:")
    assert login.feed(PASSWORD) == GOOD


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (USER, b""),
        (USER, b"a" * (MAX_LENGTH + 1)),
        (b"a" * (MAX_LOGIN + 1), PASSWORD),
        (USER, b"\xff"),
        (b"\xff", PASSWORD),
        (USER + b"\0", PASSWORD),
        (USER, PASSWORD + b"\0"),
    ],
)
def test_login_refuses_unread(user: bytes, password: bytes) -> None:
    login = Login()
    assert login.start(user) == Challenge(data=b"Password:")
    assert isinstance(login.feed(password), Malformed)


def test_login_refuses_an_empty_user_name_at_once() -> None:
    assert isinstance(Login().start(b""), Malformed)
    login = Login()
    login.start(None)
    assert isinstance(login.feed(b""), Malformed)


def test_the_order_offered_is_plain_then_login() -> None:
    assert tuple(MECHANISMS) == ("PLAIN", "LOGIN")


def test_the_password_is_not_shown() -> None:
    assert "efgh" not in repr(GOOD)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(name=NAMES, password=NAMES)
def test_every_pair_is_read_back_byte_for_byte(name: str, password: str) -> None:
    expected = Credentials(login=name, password=password.encode())
    assert Plain().start(f"\0{name}\0{password}".encode()) == expected
    login = Login()
    login.start(name.encode())
    assert login.feed(password.encode()) == expected


WHYS = {
    "empty login or password",
    "login or password too long",
    "NUL in login or password",
    "not UTF-8",
    "wrong number of NULs",
    "authorization identity differs",
}


@given(message=st.binary(max_size=80))
def test_any_bytes_end_in_credentials_or_a_refusal(message: bytes) -> None:
    step = Plain().start(message)
    if isinstance(step, Credentials):
        authzid, authcid, passwd = message.split(b"\0")
        assert step.login.encode() == authcid
        assert step.password == passwd
        assert authzid in (b"", authcid)
    else:
        assert isinstance(step, Malformed)
        assert step.why in WHYS  # fixed texts: nothing the client sent
