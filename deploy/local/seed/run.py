"""One `tollhouse seed`, from the refusals to the summary."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import click

from deploy.local.processes import ProcessFailed
from deploy.local.seed.plan import Person, count_stories, plan_people
from deploy.local.seed.settling import Left, count_rows, look, wait_until_settled
from deploy.local.seed.shop import Refused, Shop
from deploy.local.seed.stories import STORIES
from deploy.local.state import Ready, State, read_struct
from deploy.local.web import Connection, NoAnswer

#: Users at once. The simulator is one process, so more would only wait for it.
AT_ONCE = 8
#: Histories that went wrong, as many as are shown.
SHOWN = 5
#: What the summary counts of the simulated Stripe.
COUNTED = ("customer", "subscription", "invoice", "charge", "refund", "dispute", "event")

Say = Callable[[str], None]


def run_seed(directory: Path, users: int, seed: int, say: Say) -> int:
    """Make the users' histories and wait until all is settled; returns the exit code: 0, or 1 if some failed.

    Raises ProcessFailed where there is no local deployment with its simulator, where these users exist,
    where its catalog is not the sample, or where nothing moves any more.
    """
    ready = find_simulated(directory)
    refuse_other_catalogs(ready)
    people = plan_people(users, seed)
    _refuse_known(ready, people[0], seed)
    began = time.monotonic()
    failed = _tell_all(ready, people)
    told_s = time.monotonic() - began
    settled = _settle(ready)
    took_s = time.monotonic() - began
    _summarise(ready, people, say)
    say(f"{users - len(failed)} users in {told_s:.1f} s, everything delivered and read after {took_s:.1f} s.")
    for person, error in failed[:SHOWN]:
        say(f"✗ {person.user_id} ({person.story}): {error}")
    if len(failed) > SHOWN:
        say(f"✗ and {len(failed) - SHOWN} more")
    if settled.given_up:
        say(f"✗ {settled.given_up} targets or events have given up: tollhouse dead list")
    _say_next(directory, people, say)
    return 1 if failed or settled.given_up else 0


def find_simulated(directory: Path) -> Ready:
    """The running local deployment. Raises ProcessFailed where there is none, or no simulator."""
    ready_file = State(directory).ready
    if not ready_file.exists():
        raise ProcessFailed(
            f"No local deployment runs in {directory}: histories are made through the Stripe simulator that "
            "`make up` starts beside the service, never on a Stripe account. Start it, or name its --state."
        )
    ready = read_struct(ready_file, Ready)
    try:
        with Connection(ready.stripe_url) as stripe:
            count_rows(stripe)
    except (NoAnswer, Refused) as error:
        raise ProcessFailed(
            f"{ready.stripe_url} does not answer as the Stripe simulator does ({error}): histories are made "
            "there alone. Is the deployment running? `make up` starts it."
        ) from error
    return ready


def refuse_other_catalogs(ready: Ready) -> None:
    wanted = {f"{story.project}/{story.app}" for story in STORIES.values()}
    if missing := sorted(wanted - ready.app_keys.keys()):
        raise ProcessFailed(
            f"The deployment's catalog has no app {', '.join(missing)}: seed tells histories of the sample "
            "catalog. Start it without --catalog."
        )


def _refuse_known(ready: Ready, first: Person, seed: int) -> None:
    if _shop_of(ready, first).is_known():
        raise ProcessFailed(
            f"User {first.user_id} is there: --seed {seed} was made before. Take another --seed, or begin "
            "anew with `tollhouse local up --reset`."
        )


def _tell_all(ready: Ready, people: Sequence[Person]) -> list[tuple[Person, str]]:
    """Every history; answers those that went wrong, with what was said."""
    failed: list[tuple[Person, str]] = []
    now = time.time()
    with ThreadPoolExecutor(AT_ONCE) as pool, click.progressbar(length=len(people), label="users") as bar:
        telling = {pool.submit(_tell, ready, person, now): person for person in people}
        try:
            for done in as_completed(telling):
                if (error := done.result()) is not None:
                    failed.append((telling[done], error))
                bar.update(1)
        except BaseException:
            # Ctrl-C: those under way end, the others do not begin.
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _tell(ready: Ready, person: Person, now: float) -> str | None:
    """One history; None: it went as it should."""
    try:
        dice = Random(person.dice)  # noqa: S311 - histories, no secret
        STORIES[person.story].tell(_shop_of(ready, person), now, dice)
    except (Refused, NoAnswer) as error:
        return str(error)
    return None


def _shop_of(ready: Ready, person: Person) -> Shop:
    story = STORIES[person.story]
    return Shop(ready, story.project, story.app, person.user_id)


def _settle(ready: Ready) -> Left:
    most = max(1, look(ready).total)
    with click.progressbar(length=most, label="still to be read") as bar:
        return wait_until_settled(ready, lambda left: bar.update(max(0, most - left - bar.pos)))


def _summarise(ready: Ready, people: Sequence[Person], say: Say) -> None:
    say("")
    for story, count, example in count_stories(people):
        say(f"  {count:>5}  {story:<34} {example}")
    with Connection(ready.stripe_url) as stripe:
        rows = count_rows(stripe)
    say(f"\nAt the simulated Stripe, all in all: {', '.join(f'{rows.get(n, 0)} {n}s' for n in COUNTED)}.")


def _say_next(directory: Path, people: Sequence[Person], say: Say) -> None:
    examples = {story: example for story, _, example in count_stories(people)}
    month = datetime.now(UTC).strftime("%Y-%m")
    say(f"\nNext:  . {State(directory).env}")
    say("       tollhouse status")
    say(f"       tollhouse revenue --project acme --month {month}")
    if grace := examples.get("fails to pay, in grace"):
        say(f"       tollhouse explain {grace} export --project acme --app editor")
        say(f"       tollhouse users show {grace} --project acme")
