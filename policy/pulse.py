"""Does an event loop turn, and do its pools of threads still get anything done?"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor

from policy.overseer import Overseer

EVERY = 2.0  # seconds between two looks
STUCK = 120.0  # seconds in which a pool ends something: many times what a server that is away may hold it up


async def beat(overseer: Overseer, pools: Iterable[Executor]) -> None:
    """Tells `overseer` that work gets done, for as long as that is so; until it is cancelled."""
    loop = asyncio.get_running_loop()
    pools, asked = tuple(pools), loop.time()
    answers: list[asyncio.Future[None]] = []
    while True:
        if all(answer.done() for answer in answers):
            asked, answers = loop.time(), [loop.run_in_executor(pool, _nothing) for pool in pools]
        if loop.time() - asked < STUCK:
            overseer.alive()
        await asyncio.sleep(EVERY)


def _nothing() -> None:
    pass
