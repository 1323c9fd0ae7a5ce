"""How many decimals a currency's minor unit stands for. Pure.

Source: docs.stripe.com/currencies (zero-decimal and three-decimal currencies, special cases).
"""

_NONE = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))


def digits_of(currency: str) -> int:
    """Decimals of Stripe's amounts: ISK and UGX have two there, though nobody pays in parts of them."""
    if currency in _NONE:
        return 0
    return 3 if currency in _THREE else 2


def written(amount_minor: int, currency: str) -> str:
    """An amount as people write it, such as `19.00`; exact."""
    digits = digits_of(currency)
    whole, part = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{part:0{digits}}" if digits else f"{sign}{whole}"
