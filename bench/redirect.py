"""What it costs to send a visitor on: the tracking host against uvicorn with an application that only says 302.

    python -m bench.redirect [--seconds 3] [--rounds 5]

Needs wrk (apt-get install wrk) and two processors: the server runs on the first, wrk with 32 connections on the second. The
requests are what a web server in front hands on: 1,000 links of 1,000 recipients, 40 browsers, 500 visitors' addresses. Each
visit is written to the spool and synced to disk as in service. The rounds of both servers are interleaved. Prints Markdown;
exit status 2: something is missing or went wrong, a sentence says what.
"""

import argparse
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from bench.figures import met, per_call
from bench.redirect_servers import LINKS, RING, server
from journal.links import read, tracked
from journal.seal import KEY_LENGTH
from journal.segment import SUFFIX, read_segment

CONNECTIONS = 32
EXACT = 2000  # requests that are counted one by one
ROUNDS, CALLS = 15, 5000  # of the seal
RATE_GOAL, LATENCY_GOAL, SEAL_GOAL = 35_000, 3.0, 4.0  # a second; milliseconds; microseconds
BROWSERS = [
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    for version in range(90, 130)
]
SCRIPT = """
local requests, at = {}, 0
for line in io.lines("%s") do requests[#requests + 1] = (line:gsub("|", "\\r\\n")) end
request = function() at = at %% #requests + 1; return requests[at] end
"""


class Broken(Exception):
    """Something is missing or did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of wrk: answers, answers a second, latencies in milliseconds, the server's processor time in microseconds."""

    answers: int
    rate: float
    median: float
    p99: float
    cost: float


# -- the load --------------------------------------------------------------------------------------------------------------


def write_script(folder: Path) -> Path:
    """The requests for wrk, a line each, and the script that sends one after the other."""
    lines = []
    for number, link in enumerate(LINKS):
        fields = (
            "Host: clicks.example.com", f"User-Agent: {BROWSERS[number % len(BROWSERS)]}", "Accept: text/html,*/*;q=0.8",
            "Accept-Encoding: gzip, deflate, br", "Accept-Language: en-US,en;q=0.9", "X-Forwarded-Proto: https",
            f"X-Forwarded-For: 192.0.{number % 2}.{number // 2 % 250}",
        )  # fmt: skip
        lines.append("|".join((f"GET {link} HTTP/1.1", *fields, "", "")))
    (folder / "requests").write_text("\n".join(lines) + "\n")
    script = folder / "requests.lua"
    script.write_text(SCRIPT % (folder / "requests"))
    return script


def load(port: int, pid: int, script: Path, seconds: int) -> Run:
    """One run of wrk on the second processor. Raises Broken where an answer was wrong."""
    before = _spent(pid)
    done = subprocess.run(
        ("wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency", "--script", script,
         f"http://127.0.0.1:{port}/"),
        preexec_fn=lambda: os.sched_setaffinity(0, {1}), capture_output=True, text=True, timeout=seconds + 30, check=False,
    )  # fmt: skip
    spent = _spent(pid) - before
    text = done.stdout
    if done.returncode or "Non-2xx" in text or "Socket errors" in text:
        raise Broken(f"wrk had trouble: {text}{done.stderr}")
    found = {name: re.search(pattern, text) for name, pattern in _PATTERNS.items()}
    if not all(found.values()):
        raise Broken(f"wrk said something unexpected: {text}")
    values = {name: match[1] for name, match in found.items() if match}
    answers = int(values["answers"])
    return Run(
        answers=answers, rate=float(values["rate"]), median=_milliseconds(values["median"]), p99=_milliseconds(values["p99"]),
        cost=spent / answers * 1e6,
    )  # fmt: skip


_PATTERNS = {
    "answers": r"(\d+) requests in",
    "rate": r"Requests/sec: +([\d.]+)",
    "median": r"50% +([\d.]+[mu]?s)",
    "p99": r"99% +([\d.]+[mu]?s)",
}


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([mu]?s)", text).groups()  # type: ignore[union-attr]  # _PATTERNS has matched
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _spent(pid: int) -> float:
    """The processor time of a process in seconds (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask_one_by_one(port: int) -> None:
    """Exactly EXACT requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for number in range(EXACT):
        connection.request("GET", LINKS[number % len(LINKS)])
        answer = connection.getresponse()
        answer.read()
        if answer.status != 302:
            raise Broken(f"a link was answered with {answer.status}")
    connection.close()


def written(folder: Path) -> int:
    """The visits in the spool."""
    return sum(len(read_segment(path, 0).lines) for path in folder.glob(f"*{SUFFIX}"))


# -- the seal --------------------------------------------------------------------------------------------------------------


def seal_table() -> None:
    """Sealing and unsealing the identifier of an ordinary link, and what the cipher alone takes."""
    payload, purpose, associated = b"\x03" + bytes(10) + b"example.com", b"link", b"/shop/item?utm_source=mail&id=1"
    cipher, sealed = AESSIV(bytes(KEY_LENGTH)), RING.seal(payload, purpose, associated)
    octets = cipher.encrypt(payload, [purpose, associated])
    path, _, query = LINKS[1].encode().partition(b"?")
    link = "https://www.example.com/shop/item-1?utm_source=mail&id=1"
    rows = (
        (
            "seal",
            lambda: RING.seal(payload, purpose, associated),
            lambda: cipher.encrypt(payload, [purpose, associated]),
            SEAL_GOAL,
        ),
        (
            "unseal",
            lambda: RING.unseal(sealed, purpose, associated),
            lambda: cipher.decrypt(octets, [purpose, associated]),
            SEAL_GOAL,
        ),
        ("a whole link, made", lambda: tracked(RING, bytes(9), 1, link, ""), None, None),
        ("a whole link, read", lambda: read(RING, path, query), None, None),
    )
    print("\n| identifier | us | AES-SIV alone | goal | |\n|---|---|---|---|---|")
    for name, call, bare, goal in rows:
        took = per_call(call, ROUNDS, CALLS)
        alone = f"{per_call(bare, ROUNDS, CALLS):.2f}" if bare else ""
        print(f"| {name} | {took:.2f} | {alone} | {f'<= {goal:g}' if goal else ''} | {met(took <= goal) if goal else ''} |")


# --------------------------------------------------------------------------------------------------------------------------


def compare(folder: Path, rounds: int, seconds: int) -> None:
    """Runs both servers in turns and prints what came of it."""
    script = write_script(folder)
    spool = folder / "spool"
    spool.mkdir()
    runs: dict[str, list[Run]] = {"peer": [], "ours": []}
    with server("peer", spool) as peer, server("ours", spool) as ours:
        for place in (peer, ours):
            load(*place, script, 1)
        for _ in range(rounds):
            runs["peer"].append(load(*peer, script, seconds))
            runs["ours"].append(load(*ours, script, seconds))
    warm = written(spool)
    with server("ours", spool) as (port, _):
        ask_one_by_one(port)
    exact = written(spool) - warm
    print("| server | answers/s | lowest - highest | of the peer | p50 ms | p99 ms | CPU us | goal | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, label in (("peer", "uvicorn, only 302"), ("ours", "the tracking host")):
        rates = [run.rate for run in runs[name]]
        share = statistics.median(run.rate / other.rate for run, other in zip(runs[name], runs["peer"], strict=True))
        rate, p99 = statistics.median(rates), statistics.median(run.p99 for run in runs[name])
        goal = f">= {RATE_GOAL}/s, p99 <= {LATENCY_GOAL:g} ms | {met(rate >= RATE_GOAL and p99 <= LATENCY_GOAL)}"
        print(
            f"| {label} | {rate:.0f} | {min(rates):.0f} - {max(rates):.0f} | {share:.2f}"
            f" | {statistics.median(run.median for run in runs[name]):.2f} | {p99:.2f}"
            f" | {statistics.median(run.cost for run in runs[name]):.1f} | {goal if name == 'ours' else '| '} |"
        )
    counted = sum(run.answers for run in runs["ours"])
    print(f"\n{exact} visits in the spool after {EXACT} requests, one by one: {met(exact == EXACT)}.")
    # wrk does not count what it asked for in its last moment, nor is its first second in the sum.
    print(f"{warm} visits after the {counted} answers that wrk counted and those of its first second.")


def check() -> None:
    """Raises Broken where something is missing."""
    if shutil.which("wrk") is None:
        raise Broken("wrk is missing: apt-get install wrk")
    if not {0, 1} <= os.sched_getaffinity(0):
        raise Broken("the processors 0 and 1 are needed, one for the server and one for wrk")


def main() -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    try:
        check()
        with tempfile.TemporaryDirectory(prefix="smtpeter-bench-") as name:
            compare(Path(name), given.rounds, given.seconds)
        seal_table()
    except Broken as error:
        print(f"bench.redirect: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
