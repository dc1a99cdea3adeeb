"""Ports: how they are written, and what is said when one is taken."""

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from smtpeter.errors import UserError
from smtpeter.ports import Ports, holder, open_listener, require_free, unused_port

ALL = str(ipaddress.IPv4Address(0))


def test_the_order_is_smtp_submission_submissions() -> None:
    assert Ports.parse("2525, 2587,2465") == Ports(smtp=2525, submission=2587, submissions=2465)
    assert Ports().all() == (25, 587, 465)


@pytest.mark.parametrize("text", ["", "25", "25,587", "25,587,465,2525", "25,587,x", "25,587,0", "25,587,65536", "1,1,2"])
def test_what_is_not_three_ports_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(UserError, match=r"--ports takes three .*" + repr(text)):
        Ports.parse(text)


@pytest.fixture
def taken() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_taken_port_is_named_with_who_holds_it_and_the_way_out(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    name = Path("/proc/self/comm").read_text().strip()
    with pytest.raises(UserError) as caught:
        require_free(("127.0.0.1",), Ports(smtp=port, submission=1, submissions=2))
    assert str(caught.value) == (
        f"port {port} is in use by {name} (pid {os.getpid()}): stop it, or choose others with --ports 2525,2587,2465"
    )


def test_a_port_on_all_addresses_is_taken_when_one_address_has_it(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f"port {port} is in use"):
        require_free((ALL,), Ports(smtp=port, submission=1, submissions=2))


def test_nobody_visible_is_another_process(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    taken.close()
    assert holder(port) == "another process"


def test_free_ports_are_free(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    taken.close()
    require_free(("127.0.0.1",), Ports(smtp=port, submission=port, submissions=port))


def test_an_address_of_somebody_else_is_named() -> None:
    with pytest.raises(UserError, match="port 25 cannot be opened on 192.0.2.77: "):
        require_free(("192.0.2.77",), Ports())


def test_an_unused_port_can_be_opened_and_is_none_of_those_that_are_planned() -> None:
    planned = range(20_000, 31_800)
    for _ in range(20):
        port = unused_port("127.0.0.1", but=planned)
        assert port not in planned
        open_listener("127.0.0.1", port, "").close()


def test_without_an_unused_port_the_range_is_named() -> None:
    with pytest.raises(UserError, match="no port from 20000 to 31999 can be opened on 192.0.2.77"):
        unused_port("192.0.2.77", but=())


def test_a_listener_that_cannot_be_opened_comes_with_its_own_advice(taken: socket.socket) -> None:
    with pytest.raises(UserError, match="in use by .*: stop it, or take another$"):
        open_listener("127.0.0.1", taken.getsockname()[1], "take another")
