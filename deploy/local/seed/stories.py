"""What becomes of users, as functions of a shop, the present and dice; `STORIES` says how common each is."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from deploy.local.seed.calendar import DAY_S, months_before
from deploy.local.seed.shop import Shop

DECLINED_CARD, GOOD_CARD = "pm_card_chargeCustomerFail", "pm_card_visa"
#: Of the catalog's `team` and globex' `plus`.
TEAM_TRIAL_DAYS, PLUS_TRIAL_DAYS = 14, 7

Tell = Callable[[Shop, float, Random], None]


@dataclass(frozen=True, slots=True)
class Story:
    tell: Tell
    #: Of all weights together.
    weight: int
    project: str = "acme"
    app: str = "editor"


def _looks_and_leaves(shop: Shop, _now: float, dice: Random) -> None:
    session = shop.open_checkout(("pro", "month", dice.randint(1, 5)))
    if dice.random() < 0.3:  # noqa: PLR2004 - a share
        shop.press(session, "decline")


def _pays_monthly(shop: Shop, now: float, dice: Random) -> None:
    items = [("pro", "month", dice.randint(1, 12))]
    if dice.random() < 0.2:  # noqa: PLR2004 - a share
        items.append(("extra_projects", "month", dice.randint(1, 4)))
    shop.buy(*items, at=now - dice.uniform(3, 330) * DAY_S)
    shop.advance(now)


def _pays_yearly(shop: Shop, now: float, dice: Random) -> None:
    plan = dice.choice(("pro", "team"))
    shop.buy((plan, "year", dice.randint(1, 20)), at=now - dice.uniform(10, 500) * DAY_S)
    shop.advance(now)


def _is_on_trial(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(1, TEAM_TRIAL_DAYS - 1) * DAY_S
    shop.buy(("team", "month", dice.randint(1, 8)), at=at, trial_days=TEAM_TRIAL_DAYS)
    shop.advance(now)


def _stays_after_the_trial(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(TEAM_TRIAL_DAYS + 2, 240) * DAY_S
    shop.buy(("team", "month", dice.randint(1, 8)), at=at, trial_days=TEAM_TRIAL_DAYS)
    shop.advance(now)


def _cannot_pay_after_the_trial(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(TEAM_TRIAL_DAYS + 1, 60) * DAY_S
    session = shop.buy(("team", "month", 1), at=at, trial_days=TEAM_TRIAL_DAYS)
    shop.use_card(session, DECLINED_CARD)
    shop.advance(now)


def _leaves_during_the_trial(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(TEAM_TRIAL_DAYS + 2, 90) * DAY_S
    session = shop.buy(("team", "month", 1), at=at, trial_days=TEAM_TRIAL_DAYS)
    shop.claim(session)
    shop.cancel()
    shop.advance(now)


def _fails_and_is_in_grace(shop: Shop, now: float, dice: Random) -> None:
    _buy_until_declined(shop, now, now - dice.uniform(0.5, 3) * DAY_S, dice)
    shop.advance(now)


def _fails_until_it_ends(shop: Shop, now: float, dice: Random) -> None:
    _buy_until_declined(shop, now, now - dice.uniform(20, 90) * DAY_S, dice)
    shop.advance(now)


def _fails_and_finds_another_card(shop: Shop, now: float, dice: Random) -> None:
    renewal = now - dice.uniform(10, 60) * DAY_S
    session = _buy_until_declined(shop, now, renewal, dice)
    shop.advance(renewal + 2 * DAY_S)
    shop.use_card(session, GOOD_CARD)
    shop.advance(now)


def _buy_until_declined(shop: Shop, now: float, renewal: float, dice: Random) -> dict[str, object]:
    """Months of paying; from the day before `renewal` on the card is declined."""
    at = months_before(renewal, dice.randint(1, 6))
    session = shop.buy(("pro", "month", dice.randint(1, 6)), at=at)
    shop.advance(min(now - 1, max(at + 1, renewal - 5 * DAY_S)))
    shop.use_card(session, DECLINED_CARD)
    return session


def _leaves_at_the_periods_end(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(40, 300) * DAY_S
    shop.claim(shop.buy(("pro", "month", 1), at=at))
    shop.advance(dice.uniform(at + DAY_S, now - DAY_S))
    shop.cancel()
    shop.advance(now)


def _leaves_at_once(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(20, 200) * DAY_S
    shop.claim(shop.buy(("pro", "month", 2), at=at))
    shop.advance(dice.uniform(at + DAY_S, now - DAY_S))
    shop.cancel(when="now")
    shop.advance(now)


def _upgrades(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(30, 250) * DAY_S
    seats = dice.randint(1, 5)
    shop.claim(shop.buy(("pro", "month", seats), at=at))
    shop.advance(dice.uniform(at + DAY_S, now - DAY_S))
    shop.change(("team", "month", seats + dice.randint(0, 3)))
    shop.advance(now)


def _downgrades_with_the_period(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(20, 120) * DAY_S
    shop.claim(shop.buy(("team", "month", 3), at=at))
    shop.advance(dice.uniform(at + DAY_S, now - DAY_S))
    shop.change(("pro", "month", 3), when="period_end")
    shop.advance(now)


def _buys_passes(shop: Shop, now: float, dice: Random) -> None:
    first = now - dice.uniform(1, 70) * DAY_S
    shop.claim(shop.buy(("pass", "once", 1), at=first))
    if dice.random() < 0.4:  # noqa: PLR2004 - a share
        shop.buy(("pass", "once", 1), at=dice.uniform(first + 60, now - 60))
    shop.advance(now)


def _is_a_founder(shop: Shop, now: float, dice: Random) -> None:
    shop.buy(("founder", "once", 1), at=now - dice.uniform(30, 700) * DAY_S)
    shop.advance(now)


def _gets_money_back(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(5, 25) * DAY_S
    session = shop.buy(("pass", "once", 1), at=at)
    shop.advance(at + dice.uniform(1, 4) * DAY_S)
    shop.refund(session, dice.choice((1.0, 1.0, 0.5)))
    shop.advance(now)


def _disputes(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(30, 120) * DAY_S
    session = shop.buy(("founder", "once", 1), at=at)
    shop.advance(at + 10 * DAY_S)
    dispute = shop.control("disputes", payment=session["id"])
    steps = dice.choice(((), ("under_review",), ("under_review", "won"), ("under_review", "lost")))
    for days, status in enumerate(steps, 11):
        shop.advance(at + days * DAY_S)
        shop.control(f"disputes/{dispute['id']}", status=status)
    shop.advance(now)


def _pays_by_bank(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(8, 40) * DAY_S
    session = shop.buy(("founder", "once", 1), at=at, button="pay-later")
    shop.advance(at + 3 * DAY_S)
    outcome = "failed" if dice.random() < 0.25 else "succeeded"  # noqa: PLR2004 - a share
    shop.control(f"checkout/{session['id']}/settle", outcome=outcome)
    shop.advance(now)


def _is_given_something(shop: Shop, _now: float, dice: Random) -> None:
    shop.grant(
        **dice.choice(
            (
                {"effect": "allow", "target": {"plan": "pro"}, "reason": "paid by bank transfer"},
                {"effect": "add", "target": {"feature": "projects"}, "value": 20, "reason": "a beta tester"},
                {"effect": "deny", "target": {"project": "acme"}, "reason": "abuse"},
            )
        )
    )


def _plus_monthly(shop: Shop, now: float, dice: Random) -> None:
    shop.buy(("plus", "month", 1), at=now - dice.uniform(3, 200) * DAY_S)
    shop.advance(now)


def _plus_on_trial(shop: Shop, now: float, dice: Random) -> None:
    at = now - dice.uniform(0.5, PLUS_TRIAL_DAYS * 3) * DAY_S
    shop.buy(("plus", "month", 1), at=at, trial_days=PLUS_TRIAL_DAYS)
    shop.advance(now)


#: By name, as the summary shows it. Of 100 users about so many.
STORIES: dict[str, Story] = {
    "looks at the page and leaves": Story(_looks_and_leaves, 8),
    "pays monthly": Story(_pays_monthly, 18),
    "pays yearly": Story(_pays_yearly, 6),
    "is on trial": Story(_is_on_trial, 6),
    "stays after the trial": Story(_stays_after_the_trial, 7),
    "cannot pay after the trial": Story(_cannot_pay_after_the_trial, 3),
    "leaves during the trial": Story(_leaves_during_the_trial, 3),
    "fails to pay, in grace": Story(_fails_and_is_in_grace, 4),
    "fails to pay until it ends": Story(_fails_until_it_ends, 4),
    "fails to pay, then another card": Story(_fails_and_finds_another_card, 3),
    "leaves at the period's end": Story(_leaves_at_the_periods_end, 5),
    "leaves at once": Story(_leaves_at_once, 2),
    "upgrades": Story(_upgrades, 4),
    "downgrades with the period": Story(_downgrades_with_the_period, 2),
    "buys a pass, or two": Story(_buys_passes, 6, app="viewer"),
    "is a founder": Story(_is_a_founder, 3),
    "gets money back": Story(_gets_money_back, 3),
    "disputes a payment": Story(_disputes, 2),
    "pays by bank transfer": Story(_pays_by_bank, 2),
    "is given something by hand": Story(_is_given_something, 3),
    "globex: pays monthly": Story(_plus_monthly, 4, "globex", "board"),
    "globex: trial, perhaps over": Story(_plus_on_trial, 2, "globex", "board"),
}
