"""However messages are lost, delayed or reordered, every view converges to the transcript."""

import asyncio
import contextlib

import pytest

from nbchat.core.errors import CommandError
from nbchat.core.transcript import SessionState
from nbchat.handles.session import Session
from tests.engines import engine_of, live
from tests.simulation.world import PageModel, World

SEEDS = range(20)
"""Seeds of long stories. A failure prints its seed; `World(seed)` repeats the story."""


def check_prefixes(page: PageModel, final: dict[str, SessionState]) -> None:
    """Check that each text shown for an answer is a prefix of its final text."""
    for (session_id, message_id), texts in page.shown.items():
        message = final[session_id].messages.get(message_id)
        if message is not None:
            for text in texts:
                assert message.text.startswith(text)


def resume(session: Session) -> None:
    """Resume a session if its run is still paused."""
    with contextlib.suppress(CommandError):
        session.resume()


async def story(world: World, moves: int) -> None:
    """Perform seeded actions from cells and pages while answers stream, and wait until nothing is live."""
    registry, chance = world.registry, world.chance
    sessions = [registry.create(f"s{i}", provider=world.provider) for i in range(4)]
    await asyncio.sleep(0.5)
    for _ in range(moves):
        session, page = chance.choice(sessions), chance.choice(world.pages)
        what, run = chance.random(), session.run
        if what < 0.45:
            if len(session.runs) < 12:
                session.send(f"question to {session.id}")
        elif what < 0.6 and page.epoch is not None:
            page.do({"type": "send", "session_id": session.id, "text": f"question to {session.id}"})
        elif what < 0.75 and run is not None and page.epoch is not None:
            page.do({"type": "stop", "session_id": session.id, "run_id": run.id})
        elif what < 0.85 and run is not None and run.state in ("connecting", "streaming"):
            session.pause()
            asyncio.get_running_loop().call_later(chance.random(), resume, session)
        elif what < 0.9:
            session.rename(f"renamed {chance.randrange(99)}")
        await asyncio.sleep(chance.choice([0, 0, 0.02, 0.3, 3]))
    await world.settle()


def view_equals_transcript(world: World) -> None:
    """Compare every page with the kernel, and every answer with the provider's text."""
    final = {c.id: c.state for c in list(engine_of(world.registry).sessions)}
    for page in world.pages:
        assert page.states == final
        assert {key: head.state for key, (_, head) in page.heads.items()} == {
            key: state.status for key, state in final.items()
        }
        check_prefixes(page, final)
    for state in final.values():
        assert all(
            message.text == f"question to {state.id}" for message in state.path if message.role == "user"
        )
        for run in state.runs:
            if run.started_at is not None:
                said = world.provider.said.get(run.id, "")
                text = state.messages[run.message_id].text
                assert text == said or (run.state == "stopped" and said.startswith(text))
            assert run.state.is_over


@pytest.mark.parametrize("loss", [0.0, 0.3, 0.5])
def test_every_view_equals_the_transcript(loss: float, soak: bool) -> None:
    """Two pages equal the transcript, although packets are lost, repeated and reordered."""
    for seed in range(10_000) if soak else SEEDS:
        world = World(seed, loss=loss)

        async def whole(world: World = world) -> None:
            await story(world, moves=20)
            # Messages are repeated at growing intervals; within these seconds a page gets those it missed.
            await asyncio.sleep(20)

        try:
            world.run(whole())
            view_equals_transcript(world)
        except BaseException as error:
            error.add_note(f"seed {seed}, loss {loss}")
            raise


async def short_story(world: World) -> None:
    """Perform actions in one session, many at the same moment, and wait until the page is up to date."""
    chance, loop, page = world.chance, asyncio.get_running_loop(), world.pages[0]
    session = world.registry.create(provider=world.provider)
    for _ in range(chance.randrange(2, 7)):
        run, what = session.run, chance.random()
        if what < 0.5 and len(session.runs) < 3:
            session.send(f"question to {session.id}")
        elif what < 0.7 and run is not None:
            session.stop()
        elif what < 0.85 and run is not None and run.state in ("connecting", "streaming"):
            session.pause()
            loop.call_later(chance.choice([0, 0.02, chance.random()]), resume, session)
        else:
            session.rename(f"renamed {chance.randrange(9)}")
        await asyncio.sleep(chance.choice([0, 0, 0.02, 0.3]))
    await world.settle()
    latest, final = loop.time() + 20, live(session).state

    def is_behind() -> bool:
        return page.states.get(final.id) != final or page.heads[final.id][1].state != final.status

    while is_behind() and loop.time() < latest:  # noqa: ASYNC110 - virtual time costs nothing
        await asyncio.sleep(0.1)


def test_two_thousand_interleavings(soak: bool) -> None:
    """In 2,000 short stories with simultaneous events, every view equals the transcript."""
    for seed in range(100_000 if soak else 2000):
        world = World(seed, loss=(0, 0.25, 0.5)[seed % 3], pages=1, words=8)
        try:
            world.run(short_story(world))
            view_equals_transcript(world)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_a_page_that_comes_late_gets_the_whole(soak: bool) -> None:
    """A page that connects at any moment of the streams converges to the transcript."""
    for seed in range(1000 if soak else 20):
        world = World(seed, pages=1)

        async def late(world: World = world) -> None:
            async def join() -> None:
                await asyncio.sleep(world.chance.random() * 10)
                page = PageModel(world.loop, world._up)
                world.pages.append(page)
                world.line.ends.append(page.receive)

            joining = [asyncio.ensure_future(join()) for _ in range(3)]
            await story(world, moves=15)
            await asyncio.gather(*joining)
            await asyncio.sleep(20)

        world.run(late())
        view_equals_transcript(world)


def test_the_wire_keeps_its_limits() -> None:
    """With twenty sessions streaming, ten seconds have at most 300 messages, each at most 256 KiB."""
    world = World(1)

    async def busy() -> None:
        sessions = [world.registry.create(provider=world.provider) for _ in range(20)]
        for session in sessions:
            for _ in range(10):
                session.send("?")
        await world.settle()

    world.run(busy())
    times = [at for at, _ in world.sent]
    for start in times:
        assert sum(start <= at < start + 10 for at in times) <= 300
    assert max(size for _, size in world.sent) <= 256 * 1024


def test_a_command_is_done_once_however_often_it_is_asked() -> None:
    """A command id sent three times from each of two pages leads to one run and one message."""
    world = World(3)

    async def repeated() -> None:
        session = world.registry.create(provider=world.provider)
        await asyncio.sleep(1)
        epoch = engine_of(world.registry).epoch
        command = {"type": "send", "id": "c-1", "session_id": session.id, "text": "once"}
        for page in world.pages * 3:
            world._up({"type": "run_command", "page": page.id, "epoch": epoch, "command": command})
        await world.settle()
        await asyncio.sleep(1)
        assert len(session.runs) == 1
        assert [m.text for m in session.messages if m.role == "user"] == ["once"]
        assert all(page.acks["c-1"].error is None for page in world.pages)

    world.run(repeated())


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "run_command", "page": "p", "command": {"type": "stop", "id": "c-1"}}, "wire_error"),
        (
            {"type": "run_command", "page": "p", "epoch": "k", "command": {"type": "stop_all", "id": "c-1"}},
            "stale_command",
        ),
        (
            {"type": "run_command", "page": "p", "command": {"type": "set_key", "id": "c-1", "key": "x"}},
            "wire_error",
        ),
    ],
)
def test_invalid_messages_of_a_page_are_refused(message: dict[str, object], error: str) -> None:
    """An invalid message, or one for another kernel, changes nothing and is answered with an error."""
    world = World(0)

    async def forged() -> None:
        world.registry.create(provider=world.provider)
        await asyncio.sleep(1)
        before = [c.state for c in list(engine_of(world.registry).sessions)]
        world._up({"epoch": engine_of(world.registry).epoch, **message})
        await asyncio.sleep(1)
        ack = world.pages[0].acks["c-1"]
        assert ack.error is not None
        assert ack.error.code == error
        assert [c.state for c in list(engine_of(world.registry).sessions)] == before

    world.run(forged())


def test_a_stop_for_an_earlier_run_does_not_hit_the_next() -> None:
    """A late Stop for an earlier run does not stop the run that is live now."""
    world = World(5)

    async def late_stop() -> None:
        session = world.registry.create(provider=world.provider)
        await asyncio.sleep(1)
        first = session.send("one")
        await world.settle()
        second = session.send("two")
        await asyncio.sleep(0)
        world.pages[0].do({"type": "stop", "session_id": session.id, "run_id": first.id})
        await world.settle()
        assert second.state != "stopped"

    world.run(late_stop())


def test_a_large_session_comes_in_pieces_and_windowed() -> None:
    """A long transcript is sent as its last 200 messages, in messages within the size limit."""
    world = World(7, pages=1)

    async def large() -> None:
        session = world.registry.create(provider=world.provider)
        for _ in range(100):
            engine_of(world.registry).loop.call(live(session).send, "x" * 5000)
        await world.settle(6000)
        session.send("one more")
        await world.settle()
        late = PageModel(world.loop, world._up)
        world.line.ends.append(late.receive)
        await asyncio.sleep(30)
        shown = late.states[session.id].path
        assert shown == session.messages[-200:]

    world.run(large())
    assert max(size for _, size in world.sent) <= 256 * 1024
