"""Pictures by their bytes: the four types that are served, and the names they are served by. The bytes alone decide.

No name, label or Content-Type of a message is believed: a browser must never be given a document under the name of a picture.
"""

import hashlib
import re
from base64 import b32encode

# Each signature is followed by what no file of another type has at that place.
_SHAPES = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(?!\0{4}).{4}(?!\0{4}).{4}", re.DOTALL),  # W3C PNG 5.2, 11.2.1
    # ITU T.81 B.1.1: start of image, then a frame, a table, an application's segment or a comment, with its length.
    "jpg": re.compile(rb"\xff\xd8\xff[\xc0-\xc7\xc9-\xcf\xdb\xdd\xe0-\xef\xfe](?:\0[\x02-\xff]|[\x01-\xff].)", re.DOTALL),
    "gif": re.compile(rb"GIF8[79]a.{7}[!,]|GIF8[79]a.{4}[\x80-\xff].{2}", re.DOTALL),  # GIF89a 17, 18: a block or colours
    "webp": re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL),  # RFC 9649 2.4 to 2.7
}
_HASHED = 20  # octets of the hash, which give 32 characters


def kind(content: bytes) -> str | None:
    """What `content` is: png, jpg, gif or webp; None for anything else."""
    return next((name for name, shape in _SHAPES.items() if shape.match(content)), None)


def name(content: bytes, kind: str) -> str:
    """The name by which a picture of that kind is served: it tells nothing, and only the same bytes have the same one."""
    return f"{b32encode(hashlib.sha256(content).digest()[:_HASHED]).decode('ascii').lower()}.{kind}"
