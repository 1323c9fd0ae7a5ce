"""What stands in the place of a user's id that was erased: it can be recognised, and not turned back.

`erased:<version of the pepper>:<HMAC-SHA256 under it>`. Whoever names the user again, with the peppers at
hand, can be told that this one was erased; whoever has the database alone learns nothing from it.
"""

import hmac
from collections.abc import Sequence

from msgspec import Struct

ERASED = "erased:"
#: What stands in the place of operators' words.
NO_WORDS = "(erased)"


class Pepper(Struct, frozen=True, order=True):
    version: int
    secret: bytes


def tombstones_of(project: str, user_id: str, peppers: Sequence[Pepper]) -> list[str]:
    """The names that this user can have once it is erased, that under the newest pepper first."""
    name = f"{project}\0{user_id}".encode("utf-8", "surrogatepass")
    return [
        f"{ERASED}{pepper.version}:{hmac.digest(pepper.secret, name, 'sha256').hex()}"
        for pepper in sorted(peppers, reverse=True)
    ]
