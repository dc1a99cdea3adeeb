"""What an LDAP server can do wrong: none of it is a verdict, and none of it makes anybody wait for long."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from policy.login import Login, Password
from policy.options import Options
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.directory import Place, check_filter, escaped, normal_dn
from policy.stores.own_schema import OwnLogins
from policy.stores.servers import PATIENCE

LOGIN = Login(
    name="a" * 32,
    account="shop",
    passwords=(Password(number=1, hash="$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", created=1),),
    options=Options(),
    created=1_700_000_000,
)
LIMIT = PATIENCE + 0.5  # seconds; what a caller of ours waits at most


@pytest.fixture
def store(place: Place) -> Iterator[OwnLogins]:
    """A store with one login, which has a connection that was used."""
    found = OwnLogins(place)
    found.add_login(LOGIN)
    assert found.login(LOGIN.name) == LOGIN
    yield found
    found.close()


def unavailable(store: OwnLogins, match: str = "no directory server answers") -> None:
    """The store is unavailable, says so in time, and at once when asked again."""
    for limit in (LIMIT, 0.5):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=match):
            store.login(LOGIN.name)
        assert time.monotonic() - begun < limit


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of something that answers connections in its own way."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            try:
                answer(connection)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"ldap://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in taken:
            connection.close()
        thread.join()


def free_url() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"ldap://127.0.0.1:{probe.getsockname()[1]}"


def test_a_server_that_was_killed_is_no_verdict_and_comes_back(slapd, store: OwnLogins, wait_for) -> None:
    slapd.stop(9)
    unavailable(store)
    slapd.start()

    def back() -> bool:
        try:
            return store.login(LOGIN.name) == LOGIN
        except StoreUnavailable:
            return False

    wait_for(back)


def test_a_server_that_was_restarted_costs_nobody_anything(slapd, store: OwnLogins) -> None:
    slapd.stop()
    slapd.start()
    assert store.login(LOGIN.name) == LOGIN


def test_a_server_that_hangs_costs_one_wait(slapd, store: OwnLogins) -> None:
    slapd.pause()
    unavailable(store, "no answer within 2.0 s")


@pytest.mark.parametrize("secure", [False, True], ids=["starttls", "ldaps"])
def test_a_server_that_hangs_from_the_start_costs_one_wait(slapd, place: Place, secure: bool) -> None:
    slapd.pause()
    unavailable(OwnLogins(replace(place, urls=(slapd.tls_url if secure else slapd.url,))))


def test_two_servers_that_swallow_everything_are_within_the_limit(place: Place) -> None:
    with answering(lambda connection: None) as first, answering(lambda connection: None) as second:
        unavailable(OwnLogins(replace(place, urls=(first, second))))


def test_the_next_server_answers_for_one_that_does_not(slapd, store: OwnLogins, place: Place) -> None:
    with answering(lambda connection: None) as silent:
        for url in (free_url(), silent, "ldap://nowhere.invalid"):
            other = OwnLogins(replace(place, urls=(url, slapd.tls_url), timeout=0.5))
            assert other.login(LOGIN.name) == LOGIN
            other.close()


def garbage(seed: int) -> bytes:
    return Random(seed).randbytes(300)


@pytest.mark.parametrize("tls", [True, False], ids=["starttls", "plain"])
@pytest.mark.parametrize(
    "answer",
    [
        *(garbage(seed) for seed in range(6)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\0" * 100,
        b"0\x84\x7f\xff\xff\xff",  # a length of 2 GB
        b"0\x0c\x02\x01\x01a\x07\n\x01",  # half of a success
        b"0\x0c\x02\x01\x07a\x07\n\x01\0\x04\0\x04\0",  # the answer to something else
        b"0\x0c\x02\x01\x01e\x07\n\x01\0\x04\0\x04\0",  # a search has ended that never began
        b"",
    ],
)
def test_nonsense_is_no_verdict(place: Place, answer: bytes, tls: bool) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)
        if not answer:
            connection.close()

    with answering(talk) as url:
        unavailable(OwnLogins(replace(place, urls=(url,), starttls=tls, timeout=0.5)))


def test_nothing_is_said_before_the_connection_is_encrypted(place: Place) -> None:
    """A server without StartTLS, or somebody between who takes it away (RFC 4513 3.1.3)."""
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard.append(connection.recv(1000))
        connection.sendall(b"0\x0c\x02\x01\x01x\x07\n\x01\x02\x04\0\x04\0")  # protocolError
        heard.append(connection.recv(1000))

    with answering(talk) as url:
        unavailable(OwnLogins(replace(place, urls=(url,))))
    assert b"1.3.6.1.4.1.1466.20037" in heard[0]
    assert b"secret" not in b"".join(heard)
    assert b"cn=admin" not in b"".join(heard)


@pytest.mark.parametrize("secure", [False, True], ids=["starttls", "ldaps"])
@pytest.mark.parametrize("wrong", ["expired", "other host", "other authority"])
def test_a_certificate_that_is_none_for_it_is_not_accepted(authority, make_slapd, place: Place, secure: bool, wrong: str) -> None:
    if wrong == "expired":
        certificate = authority.issue("127.0.0.1", lifetime=timedelta(days=-1))
    else:
        certificate = authority.issue("ldap.example.com" if wrong == "other host" else "127.0.0.1")
    server = make_slapd(certificate)
    ca = None if wrong == "other authority" else place.ca
    store = OwnLogins(replace(place, urls=(server.tls_url if secure else server.url,), ca=ca, base=server.base))
    unavailable(store)
    if not secure:
        unavailable(store, "expired, or is for another host, or of an unknown authority")
    assert OwnLogins(replace(place, urls=(server.url,), starttls=False, base=server.base)).login(LOGIN.name) is None
    server.stop()


def test_what_the_directory_refuses_is_told_and_is_no_verdict(slapd, store: OwnLogins, place: Place) -> None:
    nobody = OwnLogins(replace(place, bind_dn="", bind_password_file=None))
    assert nobody.login(LOGIN.name) == replace(LOGIN, passwords=())  # anybody may look, but not at hashes
    with pytest.raises(StoreUnavailable, match="the directory says: "):
        nobody.change_login(LOGIN.name, lambda login: replace(login, label="mine"))
    with pytest.raises(StoreUnavailable, match="the directory says: "):
        OwnLogins(replace(place, base=f"ou=nothing,{place.base}")).login(LOGIN.name)
    assert store.login(LOGIN.name) == LOGIN


def test_an_entry_that_cannot_be_read_is_no_verdict(slapd, store: OwnLogins, place: Place) -> None:
    dn = f"smtpeterName={LOGIN.name},{place.base}"
    for attribute, value in (
        ("smtpeterPassword", "secret"),
        ("smtpeterOption", "trackclicks=maybe"),
        ("smtpeterOption", "colour=blue"),
        ("smtpeterLimit", "messages-hour=many"),
        ("smtpeterDialect", "klingon"),
        ("smtpeterNetwork", "here"),
    ):
        slapd.change(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")
        with pytest.raises(StoreUnavailable, match=f"the entry {dn} cannot be read") as told:
            store.login(LOGIN.name)
        assert "secret" not in str(told.value)
        slapd.change(f"dn: {dn}\nchangetype: modify\ndelete: {attribute}\n")
    assert store.login(LOGIN.name) == replace(LOGIN, passwords=())


def test_only_what_changed_is_written(slapd, store: OwnLogins, place: Place) -> None:
    dn = f"smtpeterName={LOGIN.name},{place.base}"
    slapd.change(f"dn: {dn}\nchangetype: modify\nreplace: smtpeterSender\nsmtpeterSender: EXAMPLE.com\n")
    raced = []

    def change(login: Login) -> Login:
        if not raced:
            raced.append(True)
            slapd.change(f"dn: {dn}\nchangetype: modify\nreplace: smtpeterAccount\nsmtpeterAccount: moved\n")
        return replace(login, label=f"of {login.account}")

    assert store.change_login(LOGIN.name, change).label == "of moved"
    assert store.login(LOGIN.name) == replace(LOGIN, account="moved", label="of moved", senders=("example.com",))
    assert "smtpeterSender: EXAMPLE.com\n" in slapd.search(dn)


def test_a_change_that_others_always_come_before_gives_up(slapd, store: OwnLogins, place: Place) -> None:
    dn = f"smtpeterName={LOGIN.name},{place.base}"
    number = 0

    def change(login: Login) -> Login:
        nonlocal number
        number += 1
        slapd.change(f"dn: {dn}\nchangetype: modify\nreplace: smtpeterLabel\nsmtpeterLabel: {number}\n")
        return replace(login, enabled=False)

    with pytest.raises(StoreUnavailable, match="all the time"):
        store.change_login(LOGIN.name, change)
    assert store.login(LOGIN.name).enabled


def test_a_login_that_goes_while_it_is_changed_is_not_there(slapd, store: OwnLogins, place: Place) -> None:
    def change(login: Login) -> Login:
        slapd.change(f"dn: smtpeterName={LOGIN.name},{place.base}\nchangetype: delete\n")
        return replace(login, enabled=False)

    with pytest.raises(NotFound, match=LOGIN.name):
        store.change_login(LOGIN.name, change)


def test_more_logins_than_a_server_gives_at_once_are_listed(slapd, place: Place) -> None:
    slapd.change(
        "".join(
            f"dn: smtpeterName={number:04},{place.base}\nobjectClass: smtpeterLogin\nsmtpeterName: {number:04}\n"
            f"smtpeterAccount: {'shop' if number % 2 else '*'}\n\n"
            for number in range(1100)
        )
    )
    store = OwnLogins(place)
    assert [login.name for login in store.logins()] == [f"{number:04}" for number in range(1100)]
    assert len(store.logins("shop")) == len(store.logins("*")) == 550  # and not all of them
    assert store.logins("sho*") == ()


def test_logins_may_be_moved_below_the_base_but_not_be_there_twice(slapd, store: OwnLogins, place: Place) -> None:
    slapd.change(f"dn: ou=old,{place.base}\nobjectClass: organizationalUnit\nou: old\n")
    dn = f"smtpeterName={LOGIN.name},{place.base}"
    slapd.change(
        f"dn: {dn}\nchangetype: modrdn\nnewrdn: smtpeterName={LOGIN.name}\ndeleteoldrdn: 0\nnewsuperior: ou=old,{place.base}\n"
    )
    assert store.login(LOGIN.name) == LOGIN
    with pytest.raises(Conflict, match="already"):
        store.add_login(LOGIN)
    slapd.change(f"dn: {dn}\nobjectClass: smtpeterLogin\nsmtpeterName: {LOGIN.name}\nsmtpeterAccount: other\n")
    assert store.login(LOGIN.name) is None


@pytest.mark.parametrize("name", ["A" * 32, "a,dc=example", "é", "", "*", "a" * 65])
def test_a_login_that_could_not_be_asked_for_is_not_added(place: Place, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        OwnLogins(place).add_login(replace(LOGIN, name=name))


def test_a_password_that_changes_is_read_with_the_next_connection(place: Place, store: OwnLogins, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    other = OwnLogins(replace(place, bind_password_file=file))
    assert other.login(LOGIN.name) == LOGIN
    file.write_text("wrong")
    assert other.login(LOGIN.name) == LOGIN
    other.close()
    unavailable(other, "its password is wrong")


def test_many_threads_share_few_connections(slapd, store: OwnLogins, place: Place, in_threads) -> None:
    few = OwnLogins(replace(place, connections=2))

    def work(number: int) -> None:
        for _ in range(25):
            assert few.login(LOGIN.name) == LOGIN

    before = len(slapd.connections())
    in_threads(work)
    assert len(slapd.connections()) - before <= 2
    few.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a,dc=example,dc=com", "CN=A, DC=Example,DC=COM"),
        ("cn=a\\2Cb,dc=example", "cn=a\\,b,dc=example"),
        ("cn=a+ou=b,dc=example", "OU=b+CN=a,dc=example"),
    ],
)
def test_names_are_the_same_however_they_are_written(one: str, other: str) -> None:
    assert normal_dn(one) == normal_dn(other)
    assert normal_dn(one) != normal_dn("ou=x," + other)


@pytest.mark.parametrize("name", ["staff", "cn", "cn=a,,dc=b", "cn=a\\"])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an entry"):
        normal_dn(name)


@pytest.mark.parametrize("text", ["*)(uid=*", "\\00", "\0", "((((", "a\\2ab", "*" * 1000])
def test_escaped_text_is_one_value(text: str) -> None:
    check_filter(f"(uid={escaped(text)})")
    assert not set("*()\0") & set(escaped(text))
