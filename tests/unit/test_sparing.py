"""Lines about callers that are told to wait."""

from ingress.sparing import Sparing


def test_each_hasty_caller_is_one_line_a_second_that_says_how_many_were_left_out() -> None:
    now = [100.0]
    sparing = Sparing(clock=lambda: now[0])
    assert [sparing.find_unlogged("a") for _ in range(4)] == [0, None, None, None]
    assert sparing.find_unlogged("b") == 0
    now[0] += 1.001
    assert [sparing.find_unlogged(name) for name in ("a", "b", "a")] == [3, 0, None]
    now[0] += 1.001
    assert sparing.find_unlogged("a") == 1
