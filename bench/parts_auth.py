"""What it costs to check a password: the comparison by argon2id, and the memory of what was right a moment ago.

    python -m bench.parts_auth [--rounds N]

Prints a Markdown table: medians in microseconds. The memory alone is what the goal is about; the whole way through the
verifier adds the read of the login from the database, which is never remembered.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.figures import met, per_call
from policy.account import Account, State
from policy.login import Login, Password, new_name
from policy.options import Options
from policy.password import SALT_LENGTH, hash_password, new_password, verify
from policy.stores.migrate import migrate
from policy.stores.sql import SqlStore
from policy.verifier import CAPACITY, LIFETIME, Matches, Verifier

CACHED_GOAL, LOWEST, HIGHEST = 5.0, 20_000.0, 30_000.0  # microseconds


async def per_await(ask: Callable[[], Awaitable[object]], rounds: int) -> float:
    """The median time of what is awaited in microseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        assert await ask() is not None
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def login_with(password: str) -> Login:
    """A login that opens with `password`."""
    return Login(
        name=new_name(secrets.token_bytes(16)),
        account="bench",
        passwords=(Password(number=1, hash=hash_password(password, secrets.token_bytes(SALT_LENGTH)), created=0),),
        options=Options(),
        enabled=True,
        label="",
        created=0,
    )


def remembered(login: Login, password: bytes) -> Callable[[], object]:
    """The look into the memory of passwords, with nothing around it."""
    matches = Matches(lifetime=LIFETIME, capacity=CAPACITY, clock=time.monotonic)
    matches.add(matches.key(login.name, login.passwords[0].hash, password))

    def look() -> None:
        assert matches.key(login.name, login.passwords[0].hash, password) in matches

    return look


async def whole_way(store: SqlStore, login: Login, password: bytes, rounds: int) -> tuple[float, float]:
    """Through the verifier with its database: with the memory switched off, and with what it remembers."""
    forgetful = Verifier(store, workers=2, pending_limit=8, lifetime=0)
    verifier = Verifier(store, workers=2, pending_limit=8)
    try:
        fresh = await per_await(lambda: forgetful.verify(login.name, password), rounds)
        await verifier.verify(login.name, password)
        return fresh, await per_await(lambda: verifier.verify(login.name, password), rounds * 10)
    finally:
        forgetful.close()
        verifier.close()


def at_once(login: Login, password: bytes, rounds: int) -> float:
    """Comparisons a second with a thread for each core."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        assert all(pool.map(lambda _: verify(login.passwords[0].hash, password), range(rounds)))
        return rounds / (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    text = new_password(secrets.choice)
    login, password = login_with(text), text.encode()
    with tempfile.TemporaryDirectory(prefix="smtpeter-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'policy.db'}"
        migrate(url)
        store = SqlStore(url)
        store.add_account(Account(name="bench", state=State.APPROVED, created=0))
        store.add_login(login)
        fresh, cached = asyncio.run(whole_way(store, login, password, rounds))
        store.close()
    compared = per_call(lambda: verify(login.passwords[0].hash, password), rounds)
    memory = per_call(remembered(login, password), rounds, 1000)
    print("| check of a password | us | goal | |")
    print("|---|---|---|---|")
    print(f"| argon2id alone | {compared:.0f} | {LOWEST:.0f} - {HIGHEST:.0f} | {met(LOWEST <= compared <= HIGHEST)} |")
    print(f"| the memory alone | {memory:.2f} | <= {CACHED_GOAL:g} | {met(memory <= CACHED_GOAL)} |")
    print(f"| the verifier, not remembered | {fresh:.0f} | | |")
    print(f"| the verifier, remembered: database and memory | {cached:.0f} | | |")
    print(f"\n{at_once(login, password, rounds):.0f} comparisons a second with a thread for each core.")


if __name__ == "__main__":
    main()
