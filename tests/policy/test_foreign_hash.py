"""Hashes made by the programs they come from."""

import subprocess
from dataclasses import dataclass

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from policy import foreign_hash, host_crypt
from policy.foreign_hash import SLOW, TOO_SLOW, UnknownHash, kept, plain, seconds, split
from policy.password import hash_password, is_ours, verify

PASSWORD = "Grüße, {x} $1$ 100%"


def output(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def dovecot(scheme: str, password: str = PASSWORD) -> str:
    return output("doveadm", "pw", "-s", scheme, "-p", password, "-u", "someone@example.com")


@dataclass(frozen=True)
class Made:
    """Who makes a hash, and how long passwords may be that differ in nothing that counts."""

    command: tuple[str, ...]
    text: str = ""
    counts: int = 1024


MAKERS = {
    "openssl -6": Made(("openssl", "passwd", "-6", PASSWORD)),
    "openssl -5": Made(("openssl", "passwd", "-5", PASSWORD)),
    "openssl -1": Made(("openssl", "passwd", "-1", PASSWORD)),
    "mkpasswd yescrypt": Made(("mkpasswd", "-m", "yescrypt", "-s"), PASSWORD),
    "mkpasswd bcrypt": Made(("mkpasswd", "-m", "bcrypt", "-R", "5", "-s"), PASSWORD, 72),
    "mkpasswd sha512crypt": Made(("mkpasswd", "-m", "sha512crypt", "-R", "20000", "-s"), PASSWORD),
    "mkpasswd descrypt": Made(("mkpasswd", "-m", "descrypt", "-s"), PASSWORD, 8),
    "slappasswd SSHA": Made(("/usr/sbin/slappasswd", "-n", "-h", "{SSHA}", "-s", PASSWORD)),
    "slappasswd SHA": Made(("/usr/sbin/slappasswd", "-n", "-h", "{SHA}", "-s", PASSWORD)),
    "slappasswd SMD5": Made(("/usr/sbin/slappasswd", "-n", "-h", "{SMD5}", "-s", PASSWORD)),
    "slappasswd MD5": Made(("/usr/sbin/slappasswd", "-n", "-h", "{MD5}", "-s", PASSWORD)),
    "slappasswd CRYPT": Made(("/usr/sbin/slappasswd", "-n", "-h", "{CRYPT}", "-c", "$5$%.8s", "-s", PASSWORD)),
}
DOVECOT = (
    *("SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "CRYPT", "BLF-CRYPT", "DES-CRYPT", "PBKDF2", "ARGON2I", "ARGON2ID", "MD5"),
    *("SSHA", "SSHA256", "SSHA512", "SHA", "SHA1", "SHA256", "SHA512", "SMD5", "LDAP-MD5", "PLAIN-MD5"),
    *("SSHA.HEX", "SSHA256.B64", "SSHA512.HEX", "SHA.HEX", "SHA256.HEX", "SHA512.HEX", "SMD5.HEX", "SHA512-CRYPT.B64"),
)


@pytest.mark.parametrize("scheme", DOVECOT)
def test_a_hash_of_dovecot_opens_to_its_password_only(scheme: str) -> None:
    found = kept(*split(dovecot(scheme)))
    assert verify(found, PASSWORD.encode())
    for other in ("", PASSWORD.upper(), "x" + PASSWORD, "\0" + PASSWORD):
        assert not verify(found, other.encode())
    assert not verify(found, b"\xff\xfe")
    assert not is_ours(found)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_hash_of_another_program_opens_to_its_password_only(maker: str) -> None:
    made = MAKERS[maker]
    found = kept(*split(output(*made.command, text=made.text)))
    assert verify(found, PASSWORD.encode())
    assert verify(found, PASSWORD.encode() + b"more") is (len(PASSWORD.encode()) >= made.counts)
    assert not verify(found, PASSWORD.swapcase().encode())


@pytest.mark.parametrize("scheme", ["BLF-CRYPT", "DES-CRYPT"])
def test_what_the_other_server_left_out_is_left_out_here(scheme: str) -> None:
    found = kept(*split(dovecot(scheme, "y" * 80)))
    assert verify(found, b"y" * 80)
    assert verify(found, b"y" * 80 + b"z")
    assert not verify(found, b"z" + b"y" * 79)


@pytest.mark.parametrize("scheme", ["PLAIN", "CLEAR", "CLEARTEXT", "PLAIN.B64", "PLAIN.HEX"])
def test_a_password_in_the_clear_is_told_and_never_a_hash(scheme: str) -> None:
    found = split(dovecot(scheme))
    assert plain(*found) == PASSWORD
    with pytest.raises(UnknownHash):
        kept(*found)


@pytest.mark.parametrize("scheme", ["CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_what_only_answers_challenges_is_refused(scheme: str) -> None:
    assert plain(*split(dovecot(scheme))) is None
    with pytest.raises(UnknownHash, match="challenges"):
        kept(*split(dovecot(scheme)))


def test_a_hash_without_a_prefix_is_of_the_scheme_that_is_told() -> None:
    bare = dovecot("SSHA256").removeprefix("{SSHA256}")
    assert kept(*split(bare, "ssha256")) == "{SSHA256}" + bare
    bare = dovecot("ARGON2ID").removeprefix("{ARGON2ID}")
    assert kept(*split(bare)) == bare
    with pytest.raises(UnknownHash):
        kept(*split(dovecot("SSHA256").removeprefix("{SSHA256}")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{FOO}bar", "not known"),
        ("", "crypt"),
        ("x", "crypt"),
        ("$6$salt$short", "crypt"),
        ("{SSHA}", "damaged"),
        ("{SSHA}####", "damaged"),
        ("{SSHA}" + "L55TUjtiq8FBorTWAZ0jy6g129A=", "damaged"),  # no salt
        ("{SHA}" + "A" * 8, "damaged"),
        ("{SHA256.HEX}zz", "damaged"),
        ("{PBKDF2}$1$salt$0$" + "0" * 40, "damaged"),
        ("{PBKDF2}$1$salt$5000$00", "damaged"),
        ("{ARGON2ID}$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$" + "A" * 22, "damaged"),
        ("{ARGON2ID}$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHQ$" + "A" * 22, "1024 MiB"),
        ("{ARGON2ID}$argon2id$v=19$m=65536,t=100,p=1$c2FsdHNhbHQ$" + "A" * 22, "would take about 5 s"),
        ("$6$rounds=999999999$salt$" + "a" * 86, "would take about 700 s"),
        ("$5$rounds=5000000$salt$" + "a" * 43, "would take about 4 s"),
        ("$2b$31$" + "e" * 53, "would take about"),
        ("$2y$16$" + "e" * 53, "would take about 4 s"),
        ("{PBKDF2}$1$salt$999999999$" + "0" * 40, "would take about"),
        ("$y$jFT$abc$" + "a" * 43, "1024 MiB"),
        ("{SSHA512}" + "A" * 400, "longer than 255"),
    ],
)
def test_what_cannot_be_compared_within_bounds_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnknownHash, match=reason) as caught:
        kept(*split(text))
    assert not text or text not in str(caught.value)


def test_common_hashes_are_quick_enough_not_to_be_noticed_and_the_estimate_knows_slow_ones() -> None:
    for scheme in DOVECOT:
        assert seconds(kept(*split(dovecot(scheme)))) < SLOW
    assert SLOW < seconds("{CRYPT}$2y$14$" + "e" * 53) < TOO_SLOW
    assert SLOW < seconds("{CRYPT}$6$rounds=656000$salt$" + "a" * 86) < TOO_SLOW
    assert seconds("{CRYPT}$y$j9T$abc$" + "a" * 43) < SLOW


@given(text=st.text(max_size=80), scheme=st.sampled_from(["", *foreign_hash._DIGESTS, "CRYPT", "PBKDF2", "ARGON2ID", "MD5"]))
def test_nothing_but_a_refusal_comes_of_nonsense(text: str, scheme: str) -> None:
    try:
        found = kept(*split(f"{{{scheme}}}{text}" if scheme else text))
    except UnknownHash:
        return
    assert verify(found, b"x") in (True, False)


@given(text=st.text(max_size=80), scheme=st.sampled_from([*foreign_hash._DIGESTS, "CRYPT", "PBKDF2", "FOO"]))
def test_a_damaged_hash_that_is_kept_is_a_fault_not_a_mismatch(text: str, scheme: str) -> None:
    try:
        assert not verify(f"{{{scheme}}}{text}", b"x")
    except ValueError as error:
        assert "damaged" in str(error)


def test_only_argon2id_as_we_make_it_is_ours() -> None:
    assert is_ours(hash_password(PASSWORD, bytes(16)))
    assert is_ours(hash_password(b"\xff", bytes(16)))
    assert not is_ours(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD))
    assert not is_ours("{SSHA}AAAA")
    with pytest.raises(ValueError, match="damaged"):
        is_ours("x")


def test_yescrypt_is_not_taken_where_the_host_cannot_compare_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = output("mkpasswd", "-m", "yescrypt", "-s", text=PASSWORD)
    monkeypatch.setattr(host_crypt, "LIBRARY", "libcrypt.so.none")
    host_crypt._crypt.cache_clear()
    try:
        with pytest.raises(UnknownHash, match="yescrypt"):
            kept(*split(found))
        with pytest.raises(ValueError, match="cannot be computed"):
            verify("{CRYPT}" + found, PASSWORD.encode())
    finally:
        host_crypt._crypt.cache_clear()
