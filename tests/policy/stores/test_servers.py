"""Which server is asked, how long anybody waits, and what becomes of connections."""

import threading
import time
from collections.abc import Iterator

import pytest

from policy.stores import StoreUnavailable
from policy.stores.servers import FEW, IDLE, PATIENCE, PAUSE, SLOW, Lost, Servers, Untouched


class Host:
    """Servers of a test: what each says, and how often each was connected to, asked and left."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.down: set[str] = set()
        self.hung: set[str] = set()
        self.released = threading.Event()
        self.opened: list[str] = []
        self.asked: list[str] = []
        self.closed: list[str] = []

    def connect(self, url: str) -> "Link":
        self.opened.append(url)
        if url in self.down:
            raise Lost("refused")
        return Link(self, url)

    def servers(self, *urls: str, timeout: float = 2.0, connections: int = 4) -> "Servers[Link]":
        return Servers(urls, connect=self.connect, timeout=timeout, connections=connections, clock=lambda: self.now)


class Link:
    """A connection of a test."""

    def __init__(self, host: Host, url: str) -> None:
        self.host, self.url = host, url

    def ask(self) -> str:
        self.host.asked.append(self.url)
        if self.url in self.host.hung:
            self.host.released.wait(60)
        if self.url in self.host.down:
            raise Lost("gone")
        return self.url

    def close(self) -> None:
        self.host.closed.append(self.url)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.released.set()


def test_the_first_server_is_asked_over_one_connection(host: Host) -> None:
    servers = host.servers("a", "b")
    assert host.opened == []
    assert [servers.ask(Link.ask) for _ in range(3)] == ["a", "a", "a"]
    assert host.opened == ["a"]
    servers.close()
    assert host.closed == ["a"]
    assert servers.ask(Link.ask) == "a"


def test_a_lost_connection_is_replaced_once(host: Host) -> None:
    servers = host.servers("a")
    servers.ask(Link.ask)
    host.down.add("a")
    with pytest.raises(StoreUnavailable, match=r"a: refused"):
        servers.ask(Link.ask)
    assert (host.opened, host.asked, host.closed) == (["a", "a"], ["a", "a"], ["a"])


def test_a_server_that_failed_is_left_alone_and_then_tried_by_one(host: Host) -> None:
    servers = host.servers("a", "b")
    host.down.add("a")
    assert [servers.ask(Link.ask) for _ in range(3)] == ["b", "b", "b"]
    assert host.opened == ["a", "b"]
    host.now += PAUSE
    host.down.clear()
    host.hung.add("a")
    first = threading.Thread(target=servers.ask, args=(Link.ask,))
    first.start()
    while host.asked[-1] != "a":
        time.sleep(0.001)
    assert servers.ask(Link.ask) == "b"  # nobody waits with the one who finds out
    host.hung.clear()
    host.released.set()
    first.join()
    assert servers.ask(Link.ask) == "a"


def test_all_servers_together_have_a_limit(host: Host) -> None:
    host.hung |= {"a", "b", "c"}
    servers = host.servers("a", "b", "c", timeout=0.05)
    with pytest.raises(StoreUnavailable, match=r"a: no answer within 0\.[01] s; b: no answer"):
        servers.ask(Link.ask)
    started = len(host.opened)
    with pytest.raises(StoreUnavailable):
        servers.ask(Link.ask)
    assert len(host.opened) == started == 3

    class Slow(Host):
        def connect(self, url: str) -> Link:
            self.now += PATIENCE  # time passes
            return super().connect(url)

    slow = Slow()
    slow.down |= {"a", "b"}
    with pytest.raises(StoreUnavailable, match=r"b: not asked, time was up"):
        slow.servers("a", "b").ask(Link.ask)
    assert slow.opened == ["a"]


def test_no_more_connections_are_made_than_allowed_and_a_busy_server_has_not_failed(host: Host) -> None:
    host.hung.add("a")
    servers = host.servers("a", timeout=0.3, connections=2)
    waiting = [threading.Thread(target=lambda: pytest.raises(StoreUnavailable, servers.ask, Link.ask)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    host.now += PAUSE
    with pytest.raises(StoreUnavailable, match="all connections are in use"):
        servers.ask(Link.ask)
    assert host.opened == ["a", "a"]
    host.hung.clear()
    host.released.set()
    host.now += PAUSE
    assert servers.ask(Link.ask) == "a"


def test_few_wait_for_what_was_slow_and_the_others_fail_at_once(host: Host) -> None:
    servers = host.servers("a", connections=FEW + 1)

    def answered_late(link: Link) -> str:
        host.now += SLOW + 0.1  # time passes
        return link.ask()

    def wait_for(count: int) -> list[threading.Thread]:
        host.hung.add("a")
        threads = [threading.Thread(target=servers.ask, args=(Link.ask,)) for _ in range(count)]
        before = len(host.asked)
        for thread in threads:
            thread.start()
        while len(host.asked) < before + count:
            time.sleep(0.001)
        host.hung.clear()
        return threads

    def let_go(threads: list[threading.Thread]) -> None:
        host.released.set()
        for thread in threads:
            thread.join()
        host.released.clear()

    quick = wait_for(FEW)
    assert servers.ask(Link.ask) == "a"
    let_go(quick)
    assert servers.ask(answered_late) == "a"
    slow = wait_for(FEW)
    with pytest.raises(StoreUnavailable, match="slow"):
        servers.ask(Link.ask)
    assert servers.ask_apart(Link.ask, host.connect) == "a"  # on threads of its own (policy.verifier)
    let_go(slow)
    quick = wait_for(FEW)
    assert servers.ask(Link.ask) == "a"
    let_go(quick)


def test_a_connection_unused_for_long_is_not_trusted(host: Host) -> None:
    servers = host.servers("a")
    servers.ask(Link.ask)
    host.now += IDLE
    servers.ask(Link.ask)
    assert (host.opened, host.closed) == (["a", "a"], ["a"])


def test_what_the_question_raises_is_raised_and_is_no_failure_of_the_server(host: Host) -> None:
    def question(link: Link) -> str:
        raise LookupError(link.url)

    servers = host.servers("a", "b")
    with pytest.raises(LookupError, match="a"):
        servers.ask(question)
    assert host.closed == ["a"]  # nobody knows what it was in the middle of
    assert servers.ask(Link.ask) == "a"


def test_a_question_apart_gets_a_connection_of_its_own(host: Host) -> None:
    servers = host.servers("a")
    servers.ask(Link.ask)
    assert servers.ask_apart(Link.ask, host.connect) == "a"
    assert (host.opened, host.closed) == (["a", "a"], ["a"])


def test_an_order_is_given_once(host: Host) -> None:
    def order(link: Link) -> str:
        host.asked.append(link.url)
        raise Untouched("elsewhere") if link.url == "a" else Lost("gone")

    servers = host.servers("a", "b", "c")
    with pytest.raises(StoreUnavailable, match="may have been changed, or not: gone"):
        servers.order(order)
    assert host.asked == ["a", "b"]
    assert host.closed == ["a", "b"]
