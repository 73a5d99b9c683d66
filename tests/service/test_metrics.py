"""The measurements of a service, and the rules for alerts that use them."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from nbchat.core.errors import LeaseLost, StoreFull
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.runner.messages import Hello
from nbchat.service.measured_store import MeasuredStore
from nbchat.service.metrics import Metrics
from nbchat.service.storage import SqliteFolder
from tests.runner.linked import until
from tests.service.served import PEOPLE, Served

RULES = Path(__file__).parents[2] / "docs/howto/service-alerts.yml"


def text_of(port: int) -> str:
    """Return what Prometheus reads."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read(), "utf-8")


@pytest.fixture
def read(served: Served) -> Callable[[], dict[str, float]]:
    """Return a function that reads all values without labels, by name."""
    port = served.metrics.serve("127.0.0.1", 0)

    def values() -> dict[str, float]:
        families = text_string_to_metric_families(text_of(port))
        return {sample.name: sample.value for family in families for sample in family.samples}

    return values


def store_of(served: Served) -> MeasuredStore:
    """Return the store of the only namespace that is open."""
    (store,) = served.metrics.stores
    return store


def test_live_runs_and_writes_are_measured(served: Served, read: Callable[[], dict[str, float]]) -> None:
    """Namespaces, links, live and orphaned runs, and what was written, are counted as they change."""
    before = read()
    assert (before["nbchat_namespaces"], before["nbchat_links"], before["nbchat_live_runs"]) == (0, 0, 0)
    assert "nbchat_lease_margin_seconds" not in before
    provider = ScriptedProvider("a", PAUSE, "b")
    registry = served.registry("ada", "geo")
    run = registry.create("rivers", provider=provider).send("?")
    until(lambda: run.text == "a")
    registry.save()
    live = read()
    assert (live["nbchat_namespaces"], live["nbchat_links"], live["nbchat_live_runs"]) == (1, 1, 1)
    assert live["nbchat_orphaned_runs"] == 0
    assert 0 < live["nbchat_lease_margin_seconds"] <= 6
    assert live["nbchat_store_written_bytes_total"] >= live["nbchat_stored_bytes"] > 0
    assert live["nbchat_store_write_seconds_count"] > 0
    assert live["process_resident_memory_bytes"] > 0
    provider.go()
    assert run.wait(60).text == "ab"
    until(lambda: read()["nbchat_live_runs"] == 0)
    until(lambda: read()["nbchat_unsaved_seconds"] == 0)
    assert read()["nbchat_store_errors_total"] == 0


def test_every_link_is_counted(
    served: Served, read: Callable[[], dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that claims to be no kernel is a link too, and its runs are not orphaned."""
    monkeypatch.setattr("nbchat.service.address.Hello", partial(Hello, is_kernel=False))
    run = served.registry("ada", "geo").create("rivers", provider=ScriptedProvider("a", PAUSE)).send("?")
    until(lambda: run.text == "a")
    found = read()
    assert (found["nbchat_links"], found["nbchat_live_runs"], found["nbchat_orphaned_runs"]) == (1, 1, 0)


def test_metrics_have_no_names_and_no_text(served: Served) -> None:
    """Names of people, teams and sessions, questions, answers and tokens are in no metric."""
    port = served.metrics.serve("127.0.0.1", 0)
    served.registry("ada", "geo").create("rivers", provider=ScriptedProvider("the answer")).ask(
        "the question"
    )
    text = text_of(port)
    assert "nbchat_namespaces 1.0" in text
    for hidden in (*PEOPLE, "geo", "rivers", "the answer", "the question", *served.tokens.values()):
        assert re.search(rf"\b{re.escape(hidden)}\b", text) is None


def test_a_store_that_refuses_is_measured(
    served: Served, read: Callable[[], dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a store is full, errors and the age of what is not stored grow; then everything is written."""
    registry = served.registry("ada")
    session = registry.create("rivers", provider=ScriptedProvider("a"))
    registry.save()

    def full(*_: object) -> None:
        raise StoreFull("the disk is full.")

    with monkeypatch.context() as for_now:
        for_now.setattr(store_of(served)._store, "write", full)
        session.send("?")
        until(lambda: read()["nbchat_store_errors_total"] > 0)
        first = read()["nbchat_unsaved_seconds"]
        assert first > 0
        until(lambda: read()["nbchat_unsaved_seconds"] > first)
    until(lambda: read()["nbchat_unsaved_seconds"] == 0)


def test_takeovers_and_fenced_writes_are_counted(tmp_path: Path) -> None:
    """The claim of a lease that was not released is counted, and what its former holder still tries."""
    metrics = Metrics()
    store = MeasuredStore(SqliteFolder(tmp_path).open("team-geo"), metrics)

    def counts() -> list[float | None]:
        names = ("nbchat_takeovers_total", "nbchat_fenced_writes_total")
        return [metrics.registry.get_sample_value(name) for name in names]

    assert store.claim("l-1", 60)
    store.write("l-1", "w-1", [])
    store.release("l-1")
    assert store.claim("l-2", 60)
    assert not store.claim("l-3", 60)
    assert counts() == [0, 0]
    assert store.claim("l-3", 60, after="l-2")
    assert not store.renew("l-2", 60)
    with pytest.raises(LeaseLost):
        store.write("l-2", "w-2", [])
    assert counts() == [1, 2]
    store.close()


def test_the_rules_for_alerts_use_metrics_that_exist(
    served: Served, read: Callable[[], dict[str, float]]
) -> None:
    """The example in the docs is valid YAML, and each metric in it is one that a service has."""
    served.registry("ada")
    until(lambda: "nbchat_lease_margin_seconds" in read())
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    names = set(read())
    for rule in group["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        assert {"summary", "action"} == set(rule["annotations"])
        used = re.findall(r"nbchat_\w+", rule["expr"])
        assert used
        assert set(used) <= names
