"""An overseer hears of an event loop for as long as its pools of threads get something done."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from policy import pulse
from policy.overseer import Overseer
from policy.pulse import beat


class Listening(Overseer):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def alive(self) -> None:
        self.heard += 1


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stuck", ["hangs", "closed"])
def test_a_pool_that_gets_nothing_done_is_noticed(monkeypatch: pytest.MonkeyPatch, stuck: str) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.01)
    monkeypatch.setattr(pulse, "STUCK", 0.2)
    overseer, release = Listening(), threading.Event()

    async def silent() -> bool:
        """Whether nothing was heard for much longer than a beat takes."""
        before = overseer.heard
        await asyncio.sleep(1.0)
        return overseer.heard == before

    async def run() -> None:
        with ThreadPoolExecutor(1) as good, ThreadPoolExecutor(1) as bad:
            beating = asyncio.create_task(beat(overseer, (good, bad)))
            await until(lambda: overseer.heard > 30)
            if stuck == "closed":
                bad.shutdown()
            else:
                bad.submit(release.wait)
            async with asyncio.timeout(30):
                while not await silent():
                    pass
            if stuck == "hangs":
                before = overseer.heard
                release.set()
                await until(lambda: overseer.heard > before + 5)
            beating.cancel()
            await asyncio.wait((beating,))
            assert beating.cancelled() == (stuck == "hangs")
            if stuck == "closed":
                assert isinstance(beating.exception(), RuntimeError)

    asyncio.run(run())
