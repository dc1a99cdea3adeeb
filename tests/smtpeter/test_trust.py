"""Which certificates are good for us as a client: those that are good for clients, whatever Python runs here."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from smtpeter.trust import client_context

HOST = "mail.example.com"


@pytest.fixture
def served(authority) -> Callable[..., tuple[str, int]]:
    """Makes a server that shows a certificate for `HOST` once; where it listens."""

    def serve() -> tuple[str, int]:
        certificate, key = authority.issue(HOST)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        listener = socket.create_server(("127.0.0.1", 0))

        def show() -> None:
            with listener, listener.accept()[0] as plain, suppress(OSError), context.wrap_socket(plain, server_side=True):
                pass

        threading.Thread(target=show, daemon=True).start()
        return listener.getsockname()

    return serve


def test_an_authority_of_ones_own_is_trusted(authority, served) -> None:
    with (
        socket.create_connection(served(), 30) as plain,
        client_context(authority.file).wrap_socket(plain, server_hostname=HOST) as wrapped,
    ):
        assert ("DNS", HOST) in wrapped.getpeercert()["subjectAltName"]


@pytest.mark.parametrize(("own", "host"), [(False, HOST), (True, "mail.example.org")])
def test_a_stranger_and_another_name_are_not(authority, served, own: bool, host: str) -> None:
    context = client_context(authority.file if own else None)
    with socket.create_connection(served(), 30) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname=host)


def test_what_clients_do_not_ask_for_is_not_asked_for() -> None:
    assert not client_context().verify_flags & ssl.VERIFY_X509_STRICT


def test_a_file_that_is_none_is_an_error(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ssl.SSLError):
        client_context(tmp_path / "ca.pem")
    with pytest.raises(FileNotFoundError):
        client_context(tmp_path / "none.pem")
