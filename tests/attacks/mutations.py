"""Deliveries and bodies as nobody sends them who means well; the same ones for the same seed."""

import json
import random
from typing import Any

from tests.flows.event_path import SECRET, sign

#: What JSON and its readers stumble over, as bytes of a value.
NASTY = (
    b"NaN", b"-Infinity", b"1e999", b"-0", b"1" * 400, b"9223372036854775808", b"1.0000000000000000001",
    b'"\\ud800"', b'"\\u0000"', b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b'""', b'" "', b"null", b"true",
    b"[]", b"{}", b"[" * 3_000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900,
    b'"' + b"x" * 5_000 + b'"', b'"\\u202e"', b"0x10", b"'x'", b"undefined", b'"unended', b"01", b"+1",
    b'"../../etc/passwd"', b'"%00"', b'"\\r\\nx-injected: 1"', '"\N{PILE OF POO}"'.encode(), b"\xef\xbb\xbf1",
)  # fmt: skip


def nasty(chance: random.Random) -> bytes:
    return chance.choice(NASTY)


def spoil(chance: random.Random, body: Any) -> bytes:
    """A JSON body with one thing wrong, or several."""
    text = _spoil_value(chance, body) if chance.random() < 0.7 else json.dumps(body).encode()
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        text = _spoil_bytes(chance, text)
    return text


def _spoil_value(chance: random.Random, body: Any) -> bytes:
    """One value somewhere in it, a field twice, a field nobody knows, or nothing of it."""
    if isinstance(body, dict) and body and chance.random() < 0.9:
        chosen = chance.choice(list(body))
        fields = []
        for name, value in body.items():
            if name != chosen:
                fields.append((name, json.dumps(value).encode()))
                continue
            spoiled = _spoil_value(chance, value)
            fields += [(name, spoiled)] if chance.random() < 0.8 else [(name, spoiled), (name, nasty(chance))]
        if chance.random() < 0.1:
            fields.append((chance.choice(("unknown", "__proto__", "id\u0000", "")), nasty(chance)))
        return b"{" + b",".join(json.dumps(name).encode() + b":" + value for name, value in fields) + b"}"
    if isinstance(body, list) and body and chance.random() < 0.7:
        return b"[" + b",".join([_spoil_value(chance, body[0])] * chance.choice((1, 2, 40))) + b"]"
    return nasty(chance)


def _spoil_bytes(chance: random.Random, text: bytes) -> bytes:
    place = chance.randrange(len(text) + 1)
    match chance.randrange(7):
        case 0:
            return text[:place]
        case 1:
            return text[:place] + bytes([chance.randrange(256)]) + text[place:]
        case 2:
            return text[:place] + text[place + 1 :]
        case 3:
            return b"\xef\xbb\xbf" + text
        case 4:
            return text + nasty(chance)
        case 5:
            return b"[" + text + b"]"
        case _:
            return text.decode("utf-8", "replace").encode("utf-16")


def spoil_signature(chance: random.Random, body: bytes, now: int) -> list[bytes]:
    """The values of the `Stripe-Signature` headers for `body`: right, nearly right, or nothing like it."""
    header = sign(body, at=now)
    stamp, _, signature = header.partition(b",")
    signature = signature.removeprefix(b"v1=")
    away = now + chance.choice((-100_000, -302, -301, 301, 302, 100_000, 10**11))
    other = sign(body + b" ", at=now).rpartition(b"=")[2]
    dated = sign(body, at=away)
    made = (
        header,
        header,
        dated,
        sign(body, secret=chance.choice(("whsec_other", "", SECRET + " ", SECRET.upper())), at=now),
        stamp + b",v1=" + other,
        stamp + b",v1=" + signature.upper(),
        stamp + b",v1=" + signature[:-1],
        stamp + b",v1=" + signature + b"0",
        stamp + b", v1=" + signature,
        stamp + b" ,v1=" + signature,
        b" " + header,
        header + b" ",
        b"\t" + header + b"\t",
        stamp + b",v0=" + signature,
        stamp + b",V1=" + signature,
        b"T=" + stamp[2:] + b",v1=" + signature,
        b"t=0," + header,
        header + b",t=0",
        header + b"," + stamp,
        b"t=" + dated[2:].partition(b",")[0] + b",v1=" + signature,
        stamp + b",v1=" + other + b",v1=" + signature,
        stamp + b",v1=" + signature + b",v1=" + other,
        stamp + (b",v1=" + other) * 11 + b",v1=" + signature,
        stamp + (b",v1=" + other) * 9 + b",v1=" + signature,
        b",".join((b"v1=" + signature, stamp)),
        header.replace(b",", b",,"),
        b"," + header + b",",
        header.replace(b",", b";"),
        header.replace(b"=", b"==", 1),
        header.replace(b"=", b":"),
        b"t=+" + stamp[2:] + b",v1=" + signature,
        b"t=0" + stamp[2:] + b",v1=" + signature,
        b"t=" + stamp[2:] + b".0,v1=" + signature,
        b"t=1_" + stamp[2:] + b",v1=" + signature,
        b"t=-" + stamp[2:] + b",v1=" + signature,
        "t=١٢٣,v1=".encode() + signature,
        b"t=" + b"9" * 500 + b",v1=" + signature,
        b"t=,v1=",
        b"t,v1",
        stamp + b",v1=\xff\xfe",
        stamp + b",v1=",
        stamp,
        b"v1=" + signature,
        header + b",x=" + b"y" * 2_000,
        header + b",scheme=v1,v2=" + other,
        header + b"\x00",
        b"",
        b"\xc3\xa9",
    )
    chosen = chance.choice(made)
    match chance.randrange(20):
        case 0:
            return []
        case 1:
            return [chosen, header]
        case 2:
            return [_spoil_bytes(chance, header)]
        case _:
            return [chosen]
