from deploy.local.stripe_simulator.stats import Stats


def test_busiest_second_is_found_wherever_it_begins() -> None:
    stats = Stats()
    stats.latest.extend((moment, "GET /v1/x") for moment in (0.0, 0.6, 0.9, 1.2, 1.5, 3.0))
    assert stats.busiest_second() == 4
