"""The second at which something ends, and the day that most years do not have."""

from datetime import UTC, datetime, timedelta

from tests.flows.scenarios.stage import BAD_CARD, DAY, HOUR, SECOND, Stage, no, yes

MONTHLY, YEARLY = "price_acme.pro.month", "price_acme.pro.year"
ACTIVE = yes("subscription_active")
LEAP_DAY = datetime(2028, 2, 29, tzinfo=UTC)


def around(moment: datetime) -> tuple[datetime, datetime, datetime]:
    return moment - SECOND, moment, moment + SECOND


async def test_month_paid_on_31_january_of_a_leap_year_ends_with_28_february(stage: Stage) -> None:
    stage.begins_at = datetime(2028, 1, 31, tzinfo=UTC)
    user = await stage.person()
    subscription = await stage.subscribe(user, MONTHLY)
    await stage.change(subscription, cancel_at_period_end=True)
    await stage.expects(user, export=yes("subscription_active", until=LEAP_DAY))
    await stage.expects(user, export=no("subscription_canceled"), at=LEAP_DAY)
    for moment in around(LEAP_DAY):
        await stage.advance(moment)
        is_over = moment >= LEAP_DAY
        said = no("subscription_canceled") if is_over else yes("subscription_active", until=LEAP_DAY)
        await stage.expects(user, export=said)
    await stage.settle()


async def test_month_that_ends_on_a_leap_day_is_renewed_without_a_gap(stage: Stage) -> None:
    stage.begins_at = datetime(2028, 1, 31, tzinfo=UTC)
    user = await stage.person()
    await stage.subscribe(user, MONTHLY)
    for moment in (*around(LEAP_DAY), LEAP_DAY + HOUR, datetime(2028, 3, 31, tzinfo=UTC)):
        await stage.advance(moment)
        await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_year_begun_on_a_leap_day_ends_with_27_february_of_a_shorter_year(stage: Stage) -> None:
    stage.begins_at = LEAP_DAY
    user = await stage.person()
    subscription = await stage.subscribe(user, YEARLY)
    await stage.change(subscription, cancel_at_period_end=True)
    end = datetime(2029, 2, 28, tzinfo=UTC)
    await stage.expects(user, export=yes("subscription_active", until=end))
    for moment in around(end):
        await stage.advance(moment)
        said = yes("subscription_active", until=end) if moment < end else no("subscription_canceled")
        await stage.expects(user, export=said)
    await stage.settle()


async def test_grace_counts_the_leap_day(stage: Stage) -> None:
    stage.begins_at = datetime(2028, 1, 25, tzinfo=UTC)
    user = await stage.person()
    await stage.subscribe(user, MONTHLY)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    failed = datetime(2028, 2, 25, 1, tzinfo=UTC)
    await stage.advance(failed)
    over = datetime(2028, 3, 3, 1, tzinfo=UTC)
    await stage.expects(user, export=yes("in_grace", until=over))
    for moment in around(over):
        await stage.advance(moment)
        await stage.expects(
            user, export=yes("in_grace", until=over) if moment < over else no("payment_past_due")
        )
    await stage.settle()


async def test_pass_of_thirty_days_counts_the_leap_day(stage: Stage) -> None:
    stage.begins_at = datetime(2028, 1, 30, 12, tzinfo=UTC)
    user = await stage.person()
    await stage.buy(user, "price_acme.pass.once")
    end = LEAP_DAY + timedelta(hours=12)
    await stage.expects(user, export=yes("purchase", until=end))
    await stage.expects(user, export=no("purchase_expired"), at=end)
    await stage.advance(LEAP_DAY)
    await stage.change(await stage.subscribe(user, MONTHLY), cancel_at=int((LEAP_DAY + DAY).timestamp()))
    await stage.advance(end)
    await stage.expects(user, export=yes("subscription_active", until=LEAP_DAY + DAY))
    await stage.settle()


async def test_subscription_that_begins_in_the_second_in_which_another_ends_leaves_no_gap(
    stage: Stage,
) -> None:
    user = await stage.person()
    first = await stage.subscribe(user, MONTHLY)
    end = stage.begins_at + 10 * DAY
    await stage.change(first, cancel_at=int(end.timestamp()))
    await stage.expects(user, export=yes("subscription_active", until=end))
    await stage.advance(end)
    await stage.subscribe(user, YEARLY)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()
