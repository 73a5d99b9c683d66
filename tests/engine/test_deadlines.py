"""The clocks of a run: limits of connection, first token, silence, total time and pause."""

import pytest

from nbchat.core import errors
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider


@pytest.mark.parametrize(
    ("limit", "steps", "state", "error"),
    [
        ("first_token_s", [HANG], "failed", errors.FirstTokenTimeout),
        ("idle_s", ["x", HANG], "interrupted", errors.IdleTimeout),
        ("total_s", ["x", HANG], "interrupted", errors.TotalTimeout),
    ],
)
def test_clocks_end_silent_runs(
    registry: SessionRegistry, limit: str, steps: list[object], state: str, error: type
) -> None:
    """Each time limit ends a run with its own error."""
    setattr(registry.limits, limit, 0.05)
    run = registry.create(provider=ScriptedProvider(*steps)).send("?").wait(10)  # type: ignore[arg-type]

    assert run.state == state
    assert type(run.error) is error


def test_a_pause_that_is_too_long_interrupts(registry: SessionRegistry) -> None:
    """After the pause limit the connection is closed and the text is kept."""
    registry.limits.pause_limit_s = 0.05
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    session.pause()
    run.wait(10)

    assert run.state == "interrupted"
    assert isinstance(run.error, errors.PauseExpired)
    assert run.text == "a"
    provider.wait_until(lambda p: p.closed == 1)
