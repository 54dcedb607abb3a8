import pytest

from service.errors import Overloaded, RateLimited
from service.limits import Quota, RateLimiter


def test_retry_after_is_the_expected_time_until_a_place_is_free() -> None:
    now = [0.0]
    quota = Quota(2, "videos are in progress", lambda: None, lambda: now[0])
    with quota.hold(2), pytest.raises(Overloaded) as unknown, quota.hold():
        pass
    for _ in range(100):
        with quota.hold():
            now[0] += 60
    with quota.hold(), quota.hold(), pytest.raises(Overloaded) as full, quota.hold():
        pass
    assert unknown.value.retry_after == 10
    assert full.value.retry_after == pytest.approx(30, rel=0.01)
    assert quota.held() == 0


def test_retry_after_is_at_least_a_second_and_ignores_holders_of_no_place() -> None:
    now = [0.0]
    quota = Quota(1, "videos are in progress", lambda: None, lambda: now[0])

    def wait() -> float:
        with quota.hold(), pytest.raises(Overloaded) as full, quota.hold():
            pass
        return full.value.retry_after

    for _ in range(100):
        with quota.growing():
            now[0] += 60
    assert wait() == 10
    for _ in range(100):
        with quota.hold():
            now[0] += 0.1
    assert wait() == 1


def test_more_places_than_there_are_are_refused_and_all_stay_free() -> None:
    refused: list[None] = []
    quota = Quota(2, "videos are in progress", lambda: refused.append(None))
    with pytest.raises(Overloaded) as full, quota.hold(3):
        pass
    assert full.value.retry_after == 10
    assert len(refused) == 1
    with quota.hold(2):
        assert quota.held() == 2


def test_messages_are_grammatical_for_a_limit_of_one() -> None:
    quota = Quota(1, "cameras are connected", lambda: None)
    told = r"^too many cameras are connected already \(1\):"
    with quota.hold(), pytest.raises(Overloaded, match=told):
        quota.hold().__enter__()
    limiter = RateLimiter(1, 1, lambda: 0.0)
    limiter.take("me")
    with pytest.raises(RateLimited, match=r"^over this key's rate of 1 a second: try again in 1"):
        limiter.take("me")
