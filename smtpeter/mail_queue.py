"""How much waits in Postfix's queue, and for how long: postqueue(1) is asked now and then, since a long queue takes a while."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM = Path("/etc/postfix")  # where Postfix's commands look by themselves
QUEUES = ("active", "deferred", "hold", "incoming", "maildrop")
LONGEST = 60.0  # seconds of one look; what was found by then is not told
SECONDS = 15.0  # between two looks
SHARE = 10  # a look may take this part of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many messages each queue has, and when the oldest of them came (UTC, since 1970), None where there is none."""

    messages: dict[str, int]
    oldest: int | None


def postqueue(config: Path, *words: str) -> tuple[str, ...]:
    """The command on the Postfix whose main.cf is in that folder."""
    # The sbin folders are not in the PATH of every user.
    program = shutil.which("postqueue", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "postqueue"
    # Of a program with rights of its own Postfix does not believe every folder that is named; its own it knows.
    return (program, *(() if config == SYSTEM else ("-c", str(config))), *words)


def depth(lines: Iterable[str], but: str = "") -> Depth:
    """What the lines of `postqueue -j` come to: one JSON object for each message. Raises ValueError for others.

    Messages to the address `but` are left out: a canary that was left behind is nobody's mail.
    """
    messages, oldest = dict.fromkeys(QUEUES, 0), None
    for line in lines:
        found: dict[str, Any] = json.loads(line)
        name, arrived = str(found.get("queue_name", "")), int(found.get("arrival_time", 0))
        if name in messages and [recipient.get("address") for recipient in found.get("recipients", ())] != [but]:
            messages[name] += 1
            oldest = arrived if oldest is None else min(oldest, arrived)
    return Depth(messages=messages, oldest=oldest)


def look(command: Sequence[str], but: str = "", longest: float = LONGEST) -> Depth:
    """The queue that a command such as `postqueue -j` tells of within `longest` seconds, without mail to `but`.

    Raises OSError and ValueError.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        stopper = threading.Timer(longest, process.kill)
        stopper.daemon = True
        stopper.start()
        try:
            found = depth(process.stdout or (), but)
            process.wait()
        finally:
            process.kill()  # one that has ended is not signalled
            stopper.cancel()
    if process.returncode:
        raise ValueError(f"{command[0]} ended with status {process.returncode}")
    return found


class MailQueue:
    """Looks at the queue again and again, in a thread of its own; `found` is the last answer, None while there is none.

    `command` and `but` as in `look`.
    """

    def __init__(self, command: Sequence[str], but: str) -> None:
        self.found: Depth | None = None
        self._command, self._but = command, but

    def start(self) -> None:
        """Begins to look. Signals that are blocked now stay so in the thread."""
        threading.Thread(target=self._run, name="queue", daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.found = look(self._command, self._but)
            except (OSError, ValueError):
                self.found = None
            time.sleep(max(SECONDS, SHARE * (time.monotonic() - began)))
