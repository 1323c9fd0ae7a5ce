"""API keys as text: `th_<live|test>_<key id>_<secret>_<crc>`, id, secret and checksum in base62.

The prefix lets a secret scanner recognise a leaked key, the checksum lets a door refuse a mistyped or
invented one without asking anybody. Only the HMAC of the secret is ever stored.
"""

import hmac
import re
import zlib
from typing import Literal, get_args

from msgspec import Struct

KeyMode = Literal["live", "test"]
MODES: tuple[str, ...] = get_args(KeyMode)

#: Random bytes of a key id and of a secret; the id is public, 80 bits keep ids apart without asking.
ID_BYTES, SECRET_BYTES = 10, 32

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Digits of base62 that hold ID_BYTES, SECRET_BYTES and a CRC-32: always this many, zeros in front.
_ID_LENGTH, _SECRET_LENGTH, _CRC_LENGTH = 14, 43, 6
_KEY = re.compile(
    rf"(th_(live|test)_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}}))"
    rf"_([0-9A-Za-z]{{{_CRC_LENGTH}}})"
)


class ApiKey(Struct, frozen=True):
    """A key taken apart. Being well-formed says nothing about being valid."""

    mode: KeyMode
    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"ApiKey({self.mode}, {self.key_id}, …)"


def make_key(mode: KeyMode, id_bytes: bytes, secret_bytes: bytes) -> ApiKey:
    """A key of these random bytes, ID_BYTES and SECRET_BYTES of them.

    Raises:
        ValueError: another number of bytes.
    """
    if len(id_bytes) != ID_BYTES or len(secret_bytes) != SECRET_BYTES:
        raise ValueError(f"an API key takes {ID_BYTES} and {SECRET_BYTES} random bytes")
    return ApiKey(
        mode,
        _base62(int.from_bytes(id_bytes), _ID_LENGTH),
        _base62(int.from_bytes(secret_bytes), _SECRET_LENGTH),
    )


def format_key(key: ApiKey) -> str:
    """The text to hand out, once."""
    body = f"th_{key.mode}_{key.key_id}_{key.secret}"
    return f"{body}_{_checksum(body)}"


def parse_key(text: str) -> ApiKey | None:
    """The key taken apart; None where the text is no key or its checksum is wrong."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    body, mode, key_id, secret, checksum = match.groups()
    if checksum != _checksum(body):
        return None
    return ApiKey("live" if mode == "live" else "test", key_id, secret)


def hash_secret(pepper: bytes, secret: str) -> bytes:
    """What the database keeps of a secret: 32 bytes that are useless without the pepper."""
    return hmac.digest(pepper, secret.encode("ascii"), "sha256")


def is_secret_of(stored_hmac: bytes, pepper: bytes, secret: str) -> bool:
    """Whether `secret` is the one that was stored, in constant time."""
    return hmac.compare_digest(stored_hmac, hash_secret(pepper, secret))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CRC_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
