"""Who the users are and what becomes of each: the same for the same number, whatever runs beside what."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from deploy.local.seed.stories import STORIES


@dataclass(frozen=True, slots=True)
class Person:
    user_id: str
    #: A name in STORIES.
    story: str
    #: Of this person's own dice.
    dice: str


def plan_people(users: int, seed: int) -> list[Person]:
    """One after the other; every story comes early, then as often as its weight says."""
    dice = Random(f"tollhouse:{seed}")  # noqa: S311 - histories, no secret
    names = list(STORIES)
    drawn = names + dice.choices(
        names, [STORIES[name].weight for name in names], k=max(0, users - len(names))
    )
    return [Person(f"u_{seed}_{n:05d}", story, f"{seed}:{n}") for n, story in enumerate(drawn[:users], 1)]


def count_stories(people: Sequence[Person]) -> list[tuple[str, int, str]]:
    """(story, how many live it, one who does), in the order of STORIES."""
    counts = Counter(person.story for person in people)
    first = {person.story: person.user_id for person in reversed(people)}
    return [(name, counts[name], first[name]) for name in STORIES if counts[name]]
