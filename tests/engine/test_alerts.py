"""`registry.on("alert")`: limits of memory, of a queue and of unsaved time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import nbchat
from nbchat.core.errors import QueueFull, StoreError
from nbchat.engine.alerts import Alerts
from nbchat.engine.callbacks import Callbacks, Notification
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import Run
from nbchat.handles.session import Session
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.stores.base import Entry
from tests.backends import over_a_link
from tests.engines import drain_callbacks, engine_of
from tests.stores.memory import MemoryStore
from tests.waiting import wait_for

Alarms = list[Notification]


def listen(registry: SessionRegistry) -> Alarms:
    """Return a list to which the alerts of a registry are appended."""
    heard: Alarms = []
    registry.on("alert", heard.append)
    return heard


def test_an_alert_is_emitted_once_until_the_value_has_recovered() -> None:
    """A value that varies about its limit is one alert; the next one follows a value well below the limit."""
    callbacks = Callbacks()
    heard: Alarms = []
    callbacks.on("alert", heard.append)
    alerts = Alerts(callbacks)
    for value in (99, 100, 150, 99, 100, 81, 100, 79, 99, 101):
        alerts.observe("memory", value, 100, "Delete some.")
    alerts.observe("queue", 101, 100, "Wait.", "s-1")
    alerts.observe("queue", 102, 100, "Wait.", "s-2")
    assert callbacks.drain(30)
    assert [(event.data.kind, event.data.value, event.session_id) for event in heard] == [
        ("memory", 100, None),
        ("memory", 101, None),
        ("queue", 101, "s-1"),
        ("queue", 102, "s-2"),
    ]
    assert str(heard[0].data) == "memory: 100, the limit is 100. Delete some."


def test_a_late_callback_gets_an_alert_that_still_holds() -> None:
    """A limit that was reached before the callback was subscribed is reported at the next observation."""
    callbacks = Callbacks()
    alerts = Alerts(callbacks)
    alerts.observe("memory", 100, 100, "Delete some.")
    heard: Alarms = []
    callbacks.on("alert", heard.append)
    alerts.observe("memory", 110, 100, "Delete some.")
    assert callbacks.drain(30)
    assert [event.data.value for event in heard] == [110]


def test_memory_that_cannot_be_freed_is_an_alert(registry: SessionRegistry) -> None:
    """An alert reports once that the sessions in memory exceed the limit, and again if it recurs."""
    heard = listen(registry)
    registry.limits.total_chars = 100

    def fill() -> Session:
        session = registry.create(provider=ScriptedProvider("x" * 200))
        session.send("?").wait(30)
        return session

    full = [fill(), fill()]
    assert drain_callbacks(registry)
    assert [(event.data.kind, event.data.limit, event.data.value >= 200) for event in heard] == [
        ("memory", 100, True)
    ]
    assert "limits.total_chars" in heard[0].data.hint
    for session in full:
        session.delete()
    registry.create(provider=ScriptedProvider("x")).send("?").wait(30)
    fill()
    assert drain_callbacks(registry)
    assert len(heard) == 2


def test_a_full_queue_is_an_alert(registry: SessionRegistry) -> None:
    """An alert names the session whose queue is full, once, and again after the queue was emptied."""
    heard = listen(registry)
    registry.limits.queue = 3
    session = registry.create(provider=ScriptedProvider("x", HANG))

    def fill() -> list[Run]:
        runs = [session.send("first")]
        wait_for(lambda: runs[0].text != "", "the text")
        runs += [session.send(f"question {number}") for number in range(3)]
        with pytest.raises(QueueFull):
            session.send("one too many")
        return runs

    for run in (runs := fill()):
        run.stop()
    for run in runs:
        run.wait(30)
    assert drain_callbacks(registry)
    assert [(event.session_id, event.data.kind, event.data.value, event.data.limit) for event in heard] == [
        (session.id, "queue", 3, 3)
    ]
    fill()
    registry.stop_all()
    registry.wait_all(30)
    assert drain_callbacks(registry)
    assert len(heard) == 2


class BreakableStore(MemoryStore):
    """A store that refuses writes while `error` is set."""

    error: StoreError | None = None

    def write(self, entries: Sequence[Entry]) -> None:
        """Write, or raise."""
        if self.error is not None:
            raise self.error
        super().write(entries)


def test_time_without_saving_is_an_alert(registry: SessionRegistry) -> None:
    """An alert reports once that events could not be saved for too long, and again if it recurs."""
    heard = listen(registry)
    failed: Alarms = []
    registry.on("error", failed.append)
    store = BreakableStore()
    engine = engine_of(registry)
    engine.loop.call(lambda: engine.open_journal(store))
    session = registry.create(provider=ScriptedProvider("x"))
    registry.save(30)
    for count in (1, 2):
        registry.limits.unsaved_s = 1000.0
        store.error = StoreError("the disk is gone.")
        session.send("?").wait(30)
        wait_for(lambda: len(failed) == count, "the refused write")  # noqa: B023 - used at once
        assert len(heard) == count - 1
        registry.limits.unsaved_s = 0.01
        wait_for(lambda: len(heard) == count, "the alert")  # noqa: B023 - as above
        registry.limits.unsaved_s = 1000.0
        store.error = None
        registry.save(30)
    alert = heard[0].data
    assert (alert.kind, alert.limit) == ("unsaved", 0.01)
    assert alert.value >= alert.limit
    assert alert.hint.startswith("the disk is gone.")


def test_alerts_arrive_from_a_runner() -> None:
    """An alert of an engine in another process is the same value in the kernel."""
    with over_a_link("runner") as registry:
        heard = listen(registry)
        registry.limits.queue = 1
        session = registry.create(provider=ScriptedProvider("x", HANG))
        first = session.send("first")
        wait_for(lambda: first.text != "", "the text")
        session.send("second")
        wait_for(lambda: heard, "the alert")
        assert isinstance(heard[0].data, nbchat.Alert)
        assert (heard[0].data.kind, heard[0].data.value, heard[0].session_id) == ("queue", 1, session.id)
