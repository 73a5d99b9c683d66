"""Times of events always increase, even when the machine's clock is set back."""

import time

import pytest

from nbchat.core.clock import Clock


def test_time_never_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the clock is set back, times increase at the speed of the monotonic clock."""
    wall, monotonic = [1000.0], [50.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic[0])
    clock = Clock()
    first, second = clock.now(), clock.now()
    assert 1000.0 <= first < second < 1000.001
    wall[0] -= 3600
    monotonic[0] += 2
    assert clock.now() - second == pytest.approx(2)
    wall[0] += 7200
    assert clock.now() == wall[0]
