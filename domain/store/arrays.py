"""The types of the arrays our statements take, told to the driver instead of asked of the server.

asyncpg knows `text[]` by itself. For any other array it runs a recursive query over the catalog on every new
connection, three times for our event path: milliseconds of the server each, within the first requests. The
numbers of built-in types are the same in every Postgres.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

#: Name of the element, its type's number, the number of its array: those in `pg_type.dat` of Postgres.
_ARRAYS = (
    ("bool", 16, 1000),
    ("bytea", 17, 1001),
    ("int8", 20, 1016),
    ("int4", 23, 1007),
    ("float8", 701, 1022),
    ("timestamptz", 1184, 1185),
    ("uuid", 2950, 2951),
)


async def know_arrays(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """To be called once on a new connection; touches no server.

    The driver has no public way to say this: `set_builtin_type_codec` asks the server too, and refuses
    arrays. A release that renames this fails test_session.py, and every connection with AttributeError.
    """
    connection._protocol.get_settings().register_data_types(_ROWS)  # noqa: SLF001


def _row(name: str, element: int, array: int) -> Mapping[str, Any]:
    """What asyncpg's own query answers for a built-in array."""
    return {
        "oid": array,
        "ns": "pg_catalog",
        "name": f"_{name}",
        "kind": b"b",
        "basetype": None,
        "elemtype": element,
        "elemdelim": ",",
        "range_subtype": None,
        "attrtypoids": None,
        "attrnames": None,
        "basetype_name": None,
        "elemtype_name": name,
        "range_subtype_name": None,
    }


_ROWS = [_row(*array) for array in _ARRAYS]
