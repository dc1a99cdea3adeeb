"""What it costs to find the HTML of a message and to put another in its place: ours against Python's `email`.

    python -m bench.parts_mime [--rounds N]

Prints a Markdown table: medians of interleaved rounds in milliseconds. The floor is two copies of the message in memory.
`email` parses, sets the new payload and serialises, once with its oldest policy and once with the one for SMTP.
"""

import argparse
import email
import email.policy
import quopri
import tracemalloc
from collections.abc import Callable, Iterator

from bench import newsletter
from bench.parts_dkim import compare, with_attachment
from filters.mail.message import Message
from filters.mail.parts import content, replace, scan

MARK = b"<!-- one more -->\r\n"


def samples() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each message; the largest has an attachment of 10 MB and a newsletter of 5 kB."""
    yield "4 kB", newsletter.message(2_500)
    yield "100 kB, all of it HTML", newsletter.message(90_000)
    yield "100 kB, 20 kB of HTML", with_attachment(100_000, letter=20_000)
    yield "10 MB, 5 kB of HTML", with_attachment(10_000_000, letter=5_000)


def splice(message: Message) -> Message:
    """The message with a comment in front of its HTML."""
    (part,) = (part for part in scan(message).leaves if part.content_type == "text/html")
    return replace(message, {part: MARK + content(message, part)})


def by_email(raw: bytes, policy: email.policy.Policy) -> bytes:
    """The same by parsing and writing the whole."""
    message = email.message_from_bytes(raw, policy=policy)
    for part in message.walk():
        if part.get_content_type() == "text/html":
            html = part.get_payload(decode=True)
            assert isinstance(html, bytes)
            part.set_payload(quopri.encodestring(MARK + html).decode("ascii"))
    return message.as_bytes()


def ways(raw: bytes) -> dict[str, Callable[[], object]]:
    """The ways to change one message."""
    message = Message.parse(raw)
    return {
        "copies": lambda: bytes(bytearray(message.body)),
        "find": lambda: scan(message),
        "splice": lambda: splice(message),
        "compat32": lambda: by_email(raw, email.policy.compat32),
        "SMTP": lambda: by_email(raw, email.policy.SMTP),
    }


def memory(raw: bytes) -> float:
    """The peak of memory that Python allocates while it changes the message, in sizes of the message."""
    message = Message.parse(raw)
    tracemalloc.start()
    try:
        splice(message)
        return tracemalloc.get_traced_memory()[1] / len(raw)
    finally:
        tracemalloc.stop()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    print("| message | octets | two copies ms | find ms | find + splice ms | to the copies | compat32 | SMTP | memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, raw in samples():
        found = compare(ways(raw), rounds if len(raw) < 1_000_000 else max(rounds // 8, 5))
        own = found["splice"]
        print(
            f"| {name} | {len(raw)} | {found['copies']:.4f} | {found['find']:.3f} | {own:.3f} | {own / found['copies']:.1f} x "
            f"| {found['compat32']:.2f} ({found['compat32'] / own:.1f} x) | {found['SMTP']:.2f} ({found['SMTP'] / own:.1f} x) "
            f"| {memory(raw):.1f} x the message |"
        )


if __name__ == "__main__":
    main()
