from service.backoff import MAX_PAUSE, pause


def test_pauses_grow_up_to_a_bound() -> None:
    assert [pause(failed) for failed in range(5)] == [0, 1, 3, 7, 15]
    assert pause(5) == MAX_PAUSE


def test_the_pause_stays_bounded_after_thousands_of_failures() -> None:
    assert pause(10_000) == MAX_PAUSE
