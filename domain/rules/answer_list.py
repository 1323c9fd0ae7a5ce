"""What an older system answered, to compare with: who may use which feature. Pure.

A CSV file with the columns `user_id`, `feature` and `granted` (true or false); others are passed over.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from domain.rules.customer_map import Fault, wrong_user_id

COLUMNS = ("user_id", "feature", "granted")
TRUE, FALSE = frozenset({"true", "t", "yes", "1"}), frozenset({"false", "f", "no", "0"})


class OldAnswer(Struct, frozen=True, kw_only=True):
    #: In the file, the header is 1.
    line: int
    user_id: str
    feature: str
    granted: bool


class AnswerList(Struct, frozen=True, kw_only=True):
    answers: tuple[OldAnswer, ...]
    faults: tuple[Fault, ...]


def read_answers(lines: Iterable[str], features: Sequence[str]) -> AnswerList:
    """Every line, and what is wrong with it; `features` are those that the catalog has."""
    reader = csv.DictReader(lines)
    names = [name.strip() for name in reader.fieldnames or ()]
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        lacking = f"the first line has to name the column {' and '.join(missing)}, once"
        return AnswerList(answers=(), faults=(Fault(line=1, said=lacking),))
    reader.fieldnames = names
    answers: dict[tuple[str, str], OldAnswer] = {}
    faults: list[Fault] = []
    for cells in reader:
        one = {name: (cells.get(name) or "").strip() for name in COLUMNS}
        said = _wrong(one, features)
        key = (one["user_id"], one["feature"])
        if said is None and key in answers:
            said = f"asks the same as line {answers[key].line}"
        if said is not None:
            faults.append(Fault(line=reader.line_num, said=said))
            continue
        answers[key] = OldAnswer(
            line=reader.line_num, user_id=key[0], feature=key[1], granted=one["granted"].lower() in TRUE
        )
    if not answers and not faults:
        faults = [Fault(line=0, said="the file holds no answer")]
    return AnswerList(answers=tuple(answers.values()), faults=tuple(faults))


def _wrong(one: Mapping[str, str], features: Sequence[str]) -> str | None:
    if (said := wrong_user_id(one["user_id"])) is not None:
        return said
    if one["feature"] not in features:
        return f"the catalog has no feature {one['feature'][:60]!r}: it has {', '.join(sorted(features))}"
    if one["granted"].lower() not in TRUE | FALSE:
        return f"granted is {one['granted'][:20]!r}: true or false"
    return None
