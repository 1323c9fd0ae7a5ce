"""How long an attack lasts: a moment in `make test`, in earnest by `make chaos FAULTS=A-01 SIZE=full`."""

import os
import random

IS_LONG = os.environ.get("ATTACKS") == "long"


def chosen(short: int, long: int) -> int:
    return long if IS_LONG else short


def chance() -> random.Random:
    """The same attack for the same SEED."""
    return random.Random(int(os.environ.get("SEED", "1")))  # noqa: S311 - an attack that can be repeated
