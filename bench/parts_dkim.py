"""What a DKIM signature costs: ours, dkimpy as it is shipped, and OpenSSL alone, which is the limit.

    python -m bench.parts_dkim [--rounds N]

Prints a Markdown table: medians of interleaved rounds in milliseconds, and ratios to the limit (one RSA-2048 signature by
OpenSSL and one SHA-256 of the body). The messages are newsletters in quoted-printable with much indentation, the worst
usual case; the one of 10 MB is a newsletter with an attachment.
"""

import argparse
import hashlib
import statistics
import time
import tracemalloc
from base64 import encodebytes
from collections.abc import Callable, Iterator
from random import Random

import dkim
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from bench import newsletter
from filters.mail.message import Message
from filters.sign_dkim import KeySigner
from policy.domains import Algorithm, new_private_key

NOW = 1_700_000_000
GOALS = {"5 kB": 1.5, "100 kB": 2.0, "10 MB": 1.5}


def with_attachment(size: int, letter: int = 30_000) -> bytes:
    """A newsletter of `letter` octets and an attachment, `size` octets together."""
    header, _, body = newsletter.message(letter).partition(b"\r\n\r\n")
    fields = header.split(b"\r\n")
    first = next(at for at, line in enumerate(fields) if line.lower().startswith(b"content-type"))
    kept, content_type = fields[:first], fields[first:]
    room = max(size - len(body), 0) * 57 // 78
    attachment = encodebytes(Random(size).randbytes(room)).replace(b"\n", b"\r\n")
    outer = b'Content-Type: multipart/mixed; boundary="outermost"'
    return b"\r\n".join(
        [*kept, outer, b"", b"--outermost", *content_type, b"", body]
        + [b"--outermost", b"Content-Type: application/pdf", b"Content-Transfer-Encoding: base64", b"", attachment]
        + [b"--outermost--", b""]
    )


def samples() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each message."""
    yield "5 kB", newsletter.message(3_000)
    yield "100 kB", newsletter.message(90_000)
    yield "10 MB", with_attachment(10_000_000)


def compare(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each way in milliseconds; each round tries all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def ways(raw: bytes) -> dict[str, Callable[[], object]]:
    """The ways to sign one message."""
    pem = new_private_key(Algorithm.RSA)
    message = Message.parse(raw)
    signer = KeySigner.load("example.com", "bench", Algorithm.RSA, pem)
    ed25519 = KeySigner.load("example.com", "bench", Algorithm.ED25519, new_private_key(Algorithm.ED25519))
    key = signer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    prehashed = utils.Prehashed(hashes.SHA256())

    def limit() -> bytes:
        return key.sign(hashlib.sha256(message.body).digest(), padding.PKCS1v15(), prehashed)

    def stock() -> bytes:
        return dkim.DKIM(raw).sign(b"bench", b"example.com", pem, canonicalize=(b"relaxed", b"relaxed"))

    return {
        "limit": limit,
        "ours": lambda: signer.sign(message, NOW),
        "ours, Ed25519": lambda: ed25519.sign(message, NOW),
        "dkimpy": stock,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    print("| message | octets | limit ms | ours ms | ratio | goal | Ed25519 ms | dkimpy ms | dkimpy/ours |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, raw in samples():
        found = compare(ways(raw), rounds if len(raw) < 1_000_000 else max(rounds // 8, 5))
        ratio = found["ours"] / found["limit"]
        print(
            f"| {name} | {len(raw)} | {found['limit']:.3f} | {found['ours']:.3f} | {ratio:.2f} | {GOALS[name]} "
            f"| {found['ours, Ed25519']:.3f} | {found['dkimpy']:.2f} | {found['dkimpy'] / found['ours']:.1f} |"
        )
    print(f"\nSigning 10 MB takes {memory(with_attachment(10_000_000)) / 1e6:.2f} MB beside the message at its peak.")


def memory(raw: bytes) -> int:
    """The peak of memory that Python allocates while it signs, in octets."""
    message = Message.parse(raw)
    signer = KeySigner.load("example.com", "bench", Algorithm.RSA, new_private_key(Algorithm.RSA))
    tracemalloc.start()
    try:
        signer.sign(message, NOW)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
