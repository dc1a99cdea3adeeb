"""yescrypt, which hashes the passwords in /etc/shadow of Debian and Ubuntu: compared by the host's own libcrypt, crypt(5)."""

import ctypes
import hmac
import re
from functools import cache
from typing import Any

LIBRARY = "libcrypt.so.1"
FORM = re.compile(r"\$y\$j([./0-9A-Za-z])T\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}")

_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # crypt(5)
_USUAL, _USUAL_SECONDS, _USUAL_MEMORY = "9", 0.05, 16_384  # $y$j9T$; with each next digit twice the time and the KiB
_WORK_AREA = 32_768  # octets, crypt(3): CRYPT_OUTPUT_SIZE and the rest of struct crypt_data


@cache
def _crypt() -> Any:
    """crypt_rn(3), or None where the host has none."""
    try:
        function = ctypes.CDLL(LIBRARY).crypt_rn
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
    return function


def available() -> bool:
    """Whether this host's library compares such hashes."""
    return _hashed(b"", b"$y$j7T$..$") is not None


def seconds(value: str) -> float:
    """About how long a comparison takes; 0 for another hash."""
    match = FORM.fullmatch(value)
    return 0.0 if match is None else _USUAL_SECONDS * 2.0 ** (_DIGITS.index(match[1]) - _DIGITS.index(_USUAL))


def memory(value: str) -> int:
    """About how much memory a comparison takes, in KiB; 0 for another hash."""
    return round(seconds(value) / _USUAL_SECONDS * _USUAL_MEMORY)


def verify(value: str, password: bytes) -> bool:
    """Whether `password`, in which there is no NUL, is the one behind a hash. Raises ValueError where it cannot be compared."""
    made = _hashed(password, value.encode())
    if made is None:
        raise ValueError(f"{LIBRARY} does not know it")
    return hmac.compare_digest(made, value.encode())


def _hashed(password: bytes, setting: bytes) -> bytes | None:
    function = _crypt()
    if function is None:
        return None
    area = ctypes.create_string_buffer(_WORK_AREA)
    made: bytes | None = function(password, setting, area, _WORK_AREA)
    return made
