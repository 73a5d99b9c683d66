"""The number of characters in the line below a live answer."""

from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for
from tests.wire.page import Page


def test_the_count_of_an_answer_that_pauses_is_sent() -> None:
    """When a server sends no more for a while, pages get the number of all characters so far."""
    registry = SessionRegistry()
    engine, page = engine_of(registry), Page()
    wire = engine.loop.call(WireServer, engine, page.take)
    provider = ScriptedProvider("a", "b" * 50, PAUSE, "c")
    run = registry.create("geo", provider=provider).send("?")
    provider.wait_paused()

    def counted() -> bool:
        counts = [one for m in list(page.messages) if m["type"] == "progress" for one in m["counts"]]
        heads = [one for m in list(page.messages) if m["type"] == "heads" for one in m["heads"]]
        return any(one[-1] == 51 for one in counts) or any(one.get("characters") == 51 for one in heads)

    wait_for(counted, "the count of all characters")
    provider.go()
    assert run.result(30).text.endswith("c")
    engine.loop.call(wire.close)
    registry.shutdown()
