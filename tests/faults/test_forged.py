"""Forged messages from a page that has this kernel's epoch and ids: S10, K19, B12."""

import asyncio
import random
import sys
import typing
from typing import Any

import pytest
from msgspec import Struct

from nbchat import protocol
from nbchat.core import commands
from nbchat.providers.base import Provider
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of
from tests.simulation.world import World

COMMANDS = typing.get_args(commands.Command)
MESSAGES = [*typing.get_args(protocol.PageMessage), *[protocol.RunCommand] * 8]
"""Most messages that a page sends are commands."""

ODD: tuple[Any, ...] = (
    *(None, True, 5, -1, 2**53, 2**70, 10**400, 1.5, float("nan"), "", "\0", "\ud800", "../x", b"x"),
    *("__proto__", "constructor", "a" * 70_000, [], {}, [[]], {"a": 1}, {"": {"": []}}),
)


FITTING: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    "int": (0, 1, 2, -1, 10**9),
    "Mapping": ({"temperature": 0.5}, {}),
    "tuple": ([], ["s-none"]),
    "str": ("text", "\u202e", "math"),
}
"""Values by the name of a field's type."""


class Forger:
    """Generates messages in which most fields are valid.

    Parameters
    ----------
    known
        Values by field: ids that are in use, the epoch, the page.
    """

    def __init__(self, seed: int, known: dict[str, list[str]]) -> None:
        self._chance = random.Random(seed)
        self._known = known

    def message(self) -> dict[str, Any]:
        """Return one message."""
        return self._forge(self._chance.choice(MESSAGES))

    def _forge(self, kind: type[Struct]) -> dict[str, Any]:
        hints = typing.get_type_hints(kind, vars(sys.modules[kind.__module__]))
        forged: dict[str, Any] = {"extra": 1} if self._chance.random() < 0.05 else {}
        forged["type"] = kind.__struct_config__.tag
        for name in kind.__struct_fields__:
            if self._chance.random() > 0.04:
                forged[name] = self._value(name, str(hints[name]))
        return forged

    def _value(self, name: str, kind: str) -> Any:
        chance = self._chance
        if name == "command":
            return self._forge(chance.choice(COMMANDS))
        if chance.random() < 0.2:
            return chance.choice(ODD)
        if name in self._known:
            return chance.choice(self._known[name])
        if name == "sessions":
            return {chance.choice(self._known["session_id"]): chance.choice([0, 1, 5, 10**9, -3])}
        fitting = next((values for word, values in FITTING.items() if word in kind), FITTING["str"])
        return chance.choice(fitting)


def test_a_page_that_knows_everything_breaks_nothing(soak: bool, caplog: pytest.LogCaptureFixture) -> None:
    """S10: forged messages are executed or refused: no internal failure, every run ends, no slot is lost."""
    for seed in range(1000 if soak else 20):
        world = World(seed, pages=1)

        async def ours(_name: str | None, world: World = world) -> Provider:
            return world.provider

        async def story(seed: int = seed, world: World = world) -> None:
            registry = world.registry
            engine_of(registry).providers.provider = ours  # type: ignore[method-assign] - new sessions use it
            sessions = [registry.create(name, provider=ScriptedProvider("x", "y")) for name in "ab"]
            runs = [session.send("?") for session in sessions]
            await world.settle()
            await asyncio.sleep(1)
            known = {
                "epoch": [engine_of(registry).epoch],
                "page": [world.pages[0].id, "p-other"],
                "id": [f"c-{number}" for number in range(50)],
                "session_id": [*(session.id for session in sessions), "s-none"],
                "run_id": [*(run.id for run in runs), "r-none"],
                "message_id": [*(m.id for s in sessions for m in s.messages), "m-none"],
            }
            known["before"] = known["message_id"]
            forger = Forger(seed, known)
            for _ in range(60):
                world.wire.receive(forger.message())
                await asyncio.sleep(forger._chance.choice([0, 0, 0.05]))
            registry.stop_all()
            await world.settle()
            fresh = registry.create(provider=ScriptedProvider("fine"))
            run = fresh.send("?")
            await world.settle()
            await asyncio.sleep(5)
            assert (run.state, run.text) == ("completed", "fine")
            assert engine_of(registry).scheduler.live == 0
            assert all(run.is_over for key in registry for run in registry[key].runs)
            final = {c.id: c.state for c in list(engine_of(registry).sessions) if not c.state.temporary}
            shown = {key: state for key, state in world.pages[0].states.items() if key in final}
            assert shown == final

        try:
            world.run(story())
            assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
