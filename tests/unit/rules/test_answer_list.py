"""An older system's answers: every wrong line is named, and a right file is read whole."""

import pytest

from domain.rules.answer_list import read_answers

HEADER = "user_id,feature,granted"
FEATURES = ("export", "seats")


def test_lines_are_read_by_the_names_of_their_columns_and_words_for_yes_and_no() -> None:
    read = read_answers(
        [" granted , user_id,feature,note", "TRUE,u_1,export,x", "no,u_1,seats,", "1,u 2,export"], FEATURES
    )
    assert read.faults == ()
    assert [(one.line, one.user_id, one.feature, one.granted) for one in read.answers] == [
        (2, "u_1", "export", True),
        (3, "u_1", "seats", False),
        (4, "u 2", "export", True),
    ]


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ([], 1, "the first line has to name the column user_id and feature and granted"),
        (["user_id,feature"], 1, "the first line has to name the column granted"),
        ([HEADER], 0, "holds no answer"),
        ([HEADER, ",export,true"], 2, "names no user"),
        ([HEADER, "u_1,exprot,true"], 2, "no feature 'exprot': it has export, seats"),
        ([HEADER, "u_1,export,maybe"], 2, "granted is 'maybe': true or false"),
        ([HEADER, "u_1"], 2, "the catalog has no feature ''"),
        ([HEADER, "u_1,export,true", "u_1,export,false"], 3, "asks the same as line 2"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(lines: list[str], line: int, said: str) -> None:
    (fault,) = read_answers(lines, FEATURES).faults
    assert fault.line == line
    assert said in fault.said
