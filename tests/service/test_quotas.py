"""Quotas of a namespace: links, live runs, sessions and bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbchat.core.errors import CommandError, TooManySessions
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.service.quotas import Quotas
from tests.runner.linked import until
from tests.service.served import Served


def test_links_are_limited(tmp_path: Path) -> None:
    """Beyond the quota, kernels of one namespace are refused with the number, and those of others are not."""
    with Served(tmp_path, quotas=Quotas(links=1)) as served:
        served.registry("ada")
        status, text = served.get("/link", f"Bearer {served.tokens['ada']}")
        assert (status, text) == (429, "there are 1 kernels linked, and the service allows no more\n")
        with pytest.raises(CommandError, match="1 kernels linked"):
            served.address("ada").connect()
        assert list(served.registry("bob")) == []


def test_live_runs_are_limited(tmp_path: Path) -> None:
    """Beyond the quota, runs of a namespace wait, those of others do not, and batches are refused."""
    with Served(tmp_path, quotas=Quotas(live_runs=1)) as served:
        registry = served.registry("ada")
        first = registry.create("one", provider=ScriptedProvider("a", HANG)).send("?")
        until(lambda: first.text == "a")
        second = registry.create("two", provider=ScriptedProvider("b")).send("?")
        other = served.registry("bob").create("one", provider=ScriptedProvider("c")).send("?")
        assert other.wait(60).text == "c"
        assert second.state == "queued"
        first.stop()
        assert second.wait(60).text == "b"
        request = {"prompts": [(0, "a")], "keys": ["k"], "settings": {}, "concurrency": 2, "attempts": 1}
        with pytest.raises(CommandError, match="at most 1 in this service, not 2"):
            registry._backend._call("start_batch", 30, request=request, view=1)  # type: ignore[attr-defined]


def test_sessions_are_limited(tmp_path: Path) -> None:
    """Sessions beyond the quota are refused however they are made; a deletion makes room for another one."""
    with Served(tmp_path, quotas=Quotas(sessions=2)) as served:
        registry = served.registry("ada")
        first = registry.create("one", provider=ScriptedProvider("a"))
        first.ask("?")
        registry.get_or_create("two")
        assert registry.get_or_create("two").title == "two"
        snapshot = registry.snapshot()
        for change in (lambda: registry.create("three"), lambda: registry.get_or_create("three"), first.fork):
            with pytest.raises(TooManySessions, match="allows 2"):
                change()
        registry.restore(snapshot)
        registry.delete("two")
        assert first.fork().messages[-1].text == "a"
        with pytest.raises(TooManySessions, match="allows 2"):
            registry.create("three")


def test_bytes_are_limited(tmp_path: Path) -> None:
    """When a namespace has its bytes, no answer is started until sessions are deleted; reading works."""
    with Served(tmp_path, quotas=Quotas(store_bytes=50_000)) as served:
        registry = served.registry("ada")
        large = registry.create("large", provider=ScriptedProvider("a" * 60_000))
        assert large.ask("?").text == "a" * 60_000
        registry.save()
        small = registry["large"]
        for change in (lambda: small.send("?"), lambda: registry.create("other")):
            with pytest.raises(CommandError, match=r"0\.1 MB; this service allows 0\.1 MB"):
                change()
        assert len(small.messages) == 2
        served.end()
        served.start()
        assert served.registry("ada")["large"].messages == small.messages
        with pytest.raises(CommandError, match="this service allows"):
            small.send("?")
        registry.delete("large")
        registry.save()
        assert registry.create("other", provider=ScriptedProvider("b")).ask("?").text == "b"
