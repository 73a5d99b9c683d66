"""The number of runs that are connected at the same time, and their order."""

from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import PAUSE, ScriptedProvider


def test_slots_are_bounded_and_fair(registry: SessionRegistry) -> None:
    """With eight slots fifty runs start in the order of their prompts, each with its queue position."""
    registry.limits.live_runs = 8
    provider = ScriptedProvider("x", PAUSE)
    runs = [registry.create(provider=provider).send(str(i)) for i in range(50)]
    provider.wait_paused(8)
    assert registry.stats()["live"] == 8
    assert [run.progress.position for run in runs[8:]] == list(range(1, 43))
    while any(not run.is_over for run in runs):
        provider.go()
        provider.wait_until(lambda p: len(p._held) == min(8, 50 - p.closed) or p.closed == 50)
    assert [request.messages[0].text for request in provider.requests] == [str(i) for i in range(50)]
