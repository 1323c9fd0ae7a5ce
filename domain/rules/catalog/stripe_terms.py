"""What one price at Stripe asks for, as a price of a catalog: or why a catalog cannot say it."""

import re
from collections.abc import Container, Sequence

from domain.rules.catalog.nouns import Price
from domain.rules.catalog.products import MOST_AMOUNT_MINOR
from domain.rules.catalog.stripe_nouns import StripePrice

#: A key is at most so long; some of it is left for a number.
KEY_LENGTH = 50


def find_fault(price: StripePrice) -> str | None:
    """Why a catalog cannot say what it asks for; None: it can."""
    if not price.is_plain:
        return "is metered, of tiers, by packages, or of an amount that the customer chooses"
    if any(amount is None for amount in price.amounts.values()):
        return "has an amount with decimals or of tiers"
    if any(amount is not None and amount > MOST_AMOUNT_MINOR for amount in price.amounts.values()):
        return "asks for more than a catalog takes"
    return None


def price_of(
    price: StripePrice, key: str, *, duration_days: int | None = None, stripe_ids: Sequence[str] = ()
) -> Price:
    """A price of the catalog under `key`; only where `find_fault` finds none.

    `duration_days`: for how long a one-time price gives access, which Stripe does not know; None: a lifetime.
    """
    amounts = {currency: amount for currency, amount in sorted(price.amounts.items()) if amount is not None}
    terms = {"interval": price.recurring[0], "interval_count": price.recurring[1]} if price.recurring else {}
    return Price(
        key=key,
        duration_days=duration_days if price.recurring is None else None,
        currency=price.currency,
        amounts=amounts,
        stripe_ids=tuple(stripe_ids),
        **terms,  # type: ignore[arg-type] # Stripe has no other intervals than ours
    )


def show_terms(price: StripePrice) -> str:
    """`usd 1900, eur 1800 every month`, in minor units."""
    currencies = [price.currency, *sorted(price.amounts.keys() - {price.currency})]
    amounts = ", ".join(f"{one} {price.amounts[one]}" for one in currencies)
    if price.recurring is None:
        return f"{amounts} once"
    interval, count = price.recurring
    return f"{amounts} every {interval if count == 1 else f'{count} {interval}s'}"


def choose_price_key(price: StripePrice, taken: Container[str]) -> str:
    """`month`, `month3` (every three), `once`."""
    interval, count = price.recurring or ("once", 1)
    return _free(interval if count == 1 else f"{interval}{count}", taken)


def choose_key(name: str, taken: Container[str]) -> str:
    """Of a name that somebody chose; `plan` where nothing of it can be in a key."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:KEY_LENGTH].rstrip("_")
    if plain and not plain[0].isalpha():
        plain = f"plan_{plain}"
    return _free(plain or "plan", taken)


def _free(key: str, taken: Container[str]) -> str:
    number, chosen = 1, key
    while chosen in taken:
        number += 1
        chosen = f"{key}_{number}"
    return chosen
