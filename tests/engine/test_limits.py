"""Limits: values that are refused, and errors when one is reached."""

import pytest

from nbchat.core import errors
from nbchat.handles.registry import SessionRegistry


def test_limits_refuse_nonsense(registry: SessionRegistry) -> None:
    """An invalid limit is refused on assignment, with the reason."""
    with pytest.raises(ValueError, match=r"limits\.idle_s must be positive and finite, not -1"):
        registry.limits.idle_s = -1
    with pytest.raises(TypeError, match=r"limits\.idle_s must be a number"):
        registry.limits.idle_s = "60"  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="unknown limit 'idle'"):
        registry.limits.idle = 1  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cannot be disabled"):
        registry.limits.connect_s = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match="whole number"):
        registry.limits.live_runs = 1.5  # type: ignore[assignment]
    registry.limits.idle_s = None


def test_too_many_sessions_raise_a_clear_error(registry: SessionRegistry) -> None:
    """A new session beyond the limit raises `TooManySessions` if no session can be evicted."""
    registry.limits.sessions = 2
    registry.create("a").pin()
    registry.create("b").pin()
    with pytest.raises(errors.TooManySessions, match="the limit is 2"):
        registry.create("c")
