"""Tools over the link: the runner asks, and the kernel that set them executes each call at most once."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

import nbchat
from nbchat.core.commands import SwitchTool
from nbchat.core.errors import CommandError, KernelGone, NothingToDo, SessionGone
from nbchat.core.ids import new_id
from nbchat.engine.tools import ToolOutput
from nbchat.runner import tool_objects
from nbchat.runner.messages import OfferedTool
from nbchat.runner.tool_objects import KernelCalls, KernelTool, KernelTools, ToolObjects
from nbchat.wire.session_messages import head_of
from tests.engine.test_tools import Counter, pay_with, until_asking
from tests.runner.linked import Linked, until

if TYPE_CHECKING:
    from nbchat.core.calls import ToolCall
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.session import Session
    from nbchat.runner.link import Link


@pytest.fixture
def linked() -> Iterator[Linked]:
    """Return a runner in this process."""
    with TemporaryDirectory(prefix="nb-") as short, Linked(Path(short)) as made:  # for a socket's path
        yield made


@pytest.fixture
def counter() -> Iterator[Counter]:
    """Return a counter, whose waiting tools end with the test."""
    made = Counter()
    yield made
    made.go.set()


PAY = 'call pay {"amount": 3}'


def paying(registry: SessionRegistry, tool: Any, *, is_watched: bool = True) -> Session:
    """Return a session whose model is in the runner and calls the tool that the prompt names."""
    session = registry.create("geo", provider="demo", model="nbchat-tools", tools=[tool])
    if is_watched:
        session.on("approval_needed", lambda _event: None)
    return session


def blocks(counter: Counter) -> Any:
    """Return a tool that returns when the counter lets it."""

    @nbchat.tool(ask=False)
    def pay(amount: int) -> str:
        counter.calls.append(amount)
        counter.started.set()
        counter.go.wait()
        return "paid"

    return pay


def break_link(linked: Linked, number: int = 0, *, is_gone: bool = False) -> Link:
    """Break a kernel's link, and let the kernel disappear if it `is_gone`; return the broken link."""
    backend = linked.kernels[number][1]
    link = backend._link
    assert link is not None
    if is_gone:
        backend._left = True  # it does not reconnect, just as a killed kernel does not
    link._transport.abort()
    return link


def tools_in_runner(linked: Linked, session: Session) -> list[str]:
    """Return the names of a session's tools as the runner's engine has them."""
    return [tool.spec.name for tool in in_runner(linked, session).tools]


def in_runner(linked: Linked, session: Session) -> LiveSession:
    """Return a session as the runner's engine has it."""
    found = linked.engine.sessions.get(session.id)
    assert found is not None
    return found


# Decisions


def test_a_callback_of_another_session_does_not_answer(linked: Linked, counter: Counter) -> None:
    """A call is refused at once if its session has no callback, or no longer has one."""
    registry = linked.registry()
    other = registry.create("other")
    other.on("approval_needed", lambda _event: None)
    session = paying(registry, pay_with(counter), is_watched=False)
    assert "no page is open" in session.ask(PAY, timeout=30).text
    off = session.on("approval_needed", lambda _event: None)
    run = session.send(PAY)
    until_asking(run)
    run.refuse()
    assert "user refused" in run.result(30).text
    off()
    assert "no page is open" in session.ask(PAY, timeout=30).text
    assert counter.calls == []


def test_a_callback_gets_each_call_once(linked: Linked, counter: Counter) -> None:
    """A call is announced once to each callback, of the session and of all sessions."""
    registry = linked.registry()
    seen: list[str] = []
    registry.on("approval_needed", lambda event: seen.append(f"all {event.data[0].name}"))
    session = paying(registry, pay_with(counter), is_watched=False)
    session.on("approval_needed", lambda event: seen.append(f"own {event.data[0].name}"))
    session.on("approval_needed", lambda _event: session.runs[-1].approve())
    assert session.ask(PAY, timeout=30).text.endswith("pay: paid 3\n")
    assert seen == ["all pay", "own pay"]


def test_another_kernel_approves_and_the_owner_executes(linked: Linked, counter: Counter) -> None:
    """Each kernel of a notebook can decide; the one that set the tools executes the call."""
    one, two = linked.registry(), linked.registry()
    session = paying(one, pay_with(counter))
    run = session.send(PAY)
    until_asking(run)
    seen = two["geo"]
    assert (seen.tools, [call.state for call in seen.runs[0].calls]) == ((), ["asking"])
    seen.runs[0].approve()
    with pytest.raises(NothingToDo):
        seen.runs[0].approve()
    assert run.wait(30).state == "completed"
    assert counter.calls == [3]


def test_tools_belong_to_the_kernel_that_set_them_last(linked: Linked, counter: Counter) -> None:
    """Tools and a policy of another kernel replace those of the first, also after its link was renewed."""
    one, two = linked.registry(), linked.registry()
    session = paying(one, pay_with(counter, ask=False))
    session.approve = lambda _call: False
    others = Counter()
    two["geo"].tools = [pay_with(others, ask=False)]
    two["geo"].approve = lambda _call: None
    until(lambda: (session.tools, session.approve) == ((), None))
    old = break_link(linked)
    until(lambda: linked.kernels[0][1]._link is not old)
    assert session.ask(PAY, timeout=30).text.endswith("pay: paid 3\n")
    assert (counter.calls, others.calls) == ([], [3])
    assert len(two["geo"].tools) == 1
    session.tools = ()
    until(lambda: two["geo"].tools == ())
    assert tools_in_runner(linked, session) == []


# Lost links


def test_a_policy_that_does_not_return_is_not_waited_for(linked: Linked, counter: Counter) -> None:
    """A policy of a kernel has `limits.tool_s` for a call; then the call asks."""
    session = paying(linked.registry(), pay_with(counter))

    def wait(_call: nbchat.ToolCall) -> bool:
        counter.started.set()
        return counter.go.wait()

    session.approve = wait
    linked.engine.limits.tool_s = 0.05
    run = session.send(PAY)
    until_asking(run)
    linked.engine.limits.tool_s = 60
    assert counter.started.wait(30)
    assert counter.calls == []
    run.approve()
    assert run.wait(30).state == "completed"
    assert counter.calls == [3]


def test_a_waiting_call_of_a_lost_kernel_is_not_run(linked: Linked, counter: Counter) -> None:
    """When the kernel disappears, its waiting calls are not run, and the model completes the run."""
    one, two = linked.registry(), linked.registry()
    session = paying(one, pay_with(counter))
    session.approve = lambda _call: None
    run = session.send(PAY)
    until_asking(run)
    seen = two["geo"].runs[0]
    break_link(linked, is_gone=True)
    assert seen.wait(30).state == "completed"
    assert "the kernel with the tool is gone" in seen.text
    assert ([call.state for call in seen.calls], counter.calls) == (["not_run"], [])
    assert tools_in_runner(linked, session) == []
    assert in_runner(linked, session).policy is None
    assert two["geo"].send(PAY).wait(30).state == "completed"
    assert counter.calls == []


def test_a_running_call_of_a_lost_kernel_is_unknown(linked: Linked, counter: Counter) -> None:
    """When the kernel disappears during a call, the run is `interrupted` and the call has no result."""
    one, two = linked.registry(), linked.registry()
    run = paying(one, blocks(counter)).send(PAY)
    assert counter.started.wait(30)
    until(lambda: run.state == "acting")
    seen = two["geo"].runs[0]
    break_link(linked, is_gone=True)
    assert seen.wait(30).state == "interrupted"
    assert (seen.error.code if seen.error else "", [call.state for call in seen.calls]) == (
        "kernel_gone",
        ["unknown"],
    )
    assert two["geo"].send("Hello.").wait(30).state == "completed"
    assert counter.calls == [3]


def test_a_broken_link_repeats_no_call(linked: Linked) -> None:
    """A call is cancelled when its link breaks and never sent again; later links have the tools."""
    calls: list[int] = []
    started, ended = threading.Event(), threading.Event()

    @nbchat.tool(ask=False)
    async def pay(amount: int) -> str:
        calls.append(amount)
        if len(calls) == 1:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
        return "paid"

    session = paying(linked.registry(), pay)
    run = session.send(PAY)
    assert started.wait(30)
    break_link(linked)
    assert ended.wait(30)
    assert run.wait(30).state == "interrupted"
    assert [call.state for call in run.calls] == ["unknown"]
    until(lambda: tools_in_runner(linked, session) == ["pay"])
    assert session.tools == (pay,)
    assert session.ask(PAY, timeout=30).text.endswith("pay: paid\n")
    assert calls == [3, 3]


def test_tools_that_a_page_switched_off_stay_off(linked: Linked, counter: Counter) -> None:
    """A tool that was switched off is still off when the kernel has a new link to the runner."""
    session = paying(linked.registry(), pay_with(counter, ask=False))
    session._backend.execute(SwitchTool(id=new_id("c-"), session_id=session.id, name="pay", on=False))
    assert session.tools == ()
    old = break_link(linked)
    until(lambda: linked.kernels[0][1]._link is not old)
    assert len(in_runner(linked, session).offered_tools) == 1
    assert (tools_in_runner(linked, session), session.tools) == ([], ())
    session._backend.execute(SwitchTool(id=new_id("c-"), session_id=session.id, name="pay", on=True))
    assert session.ask(PAY, timeout=30).text.endswith("pay: paid 3\n")


# At most once


def test_a_call_that_was_stopped_on_its_way_is_not_started(
    linked: Linked, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that gets to a call after its run was stopped does not execute it."""
    may_begin, arrived, go = tool_objects._may_begin, threading.Event(), threading.Event()
    permitted: list[bool] = []

    def late(link: Link, key: str) -> bool:
        arrived.set()
        go.wait(60)
        permitted.append(may_begin(link, key))
        return permitted[-1]

    monkeypatch.setattr(tool_objects, "_may_begin", late)
    run = paying(linked.registry(), pay_with(counter, ask=False)).send(PAY)
    assert arrived.wait(30)
    run.stop()
    assert run.wait(30).state == "stopped"
    go.set()
    until(lambda: permitted)
    assert (permitted, counter.calls, [call.state for call in run.calls]) == ([False], [], ["unknown"])


def test_a_kernel_that_ends_before_it_starts_a_call_has_not_run_it(
    linked: Linked, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the runner's permission a call is not run; the model gets the reason, and the run completes."""
    arrived, go = threading.Event(), threading.Event()

    def never(_link: Link, _key: str) -> bool:
        arrived.set()
        go.wait(60)
        return False

    monkeypatch.setattr(tool_objects, "_may_begin", never)
    one, two = linked.registry(), linked.registry()
    paying(one, pay_with(counter, ask=False)).send(PAY)
    assert arrived.wait(30)
    seen = two["geo"].runs[0]
    break_link(linked, is_gone=True)
    assert seen.wait(30).state == "completed"
    assert ([call.state for call in seen.calls], counter.calls) == (["not_run"], [])
    go.set()


def test_a_kernel_that_does_not_answer_has_not_run_a_call(
    linked: Linked, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended kernel does not stop a run for ever, and gets no permission afterwards."""
    permitted: list[bool] = []
    check, run_call, may_begin = KernelTool.check, ToolObjects.run_call, tool_objects._may_begin

    async def checked(self: KernelTool, call: ToolCall) -> None:
        await check(self, call)
        monkeypatch.setattr(tool_objects, "START_S", 0.05)

    async def slow(self: ToolObjects, *args: Any, **kwargs: Any) -> Any:
        await asyncio.to_thread(counter.go.wait)
        return await run_call(self, *args, **kwargs)

    def kept(link: Link, key: str) -> bool:
        permitted.append(may_begin(link, key))
        return permitted[-1]

    monkeypatch.setattr(tool_objects, "_may_begin", kept)
    monkeypatch.setattr(KernelTool, "check", checked)
    monkeypatch.setattr(ToolObjects, "run_call", slow)
    session = paying(linked.registry(), pay_with(counter, ask=False))
    run = session.send(PAY).wait(30)
    assert "does not answer" in run.text
    assert (run.state, [call.state for call in run.calls]) == ("completed", ["not_run"])
    counter.go.set()
    until(lambda: permitted)
    assert (permitted, counter.calls) == ([False], [])


async def test_a_call_is_permitted_once() -> None:
    """The runner permits each call once, and none that it does not wait for."""
    asked: list[dict[str, Any]] = []
    is_asked = asyncio.Event()
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def ask(_name: str, **args: Any) -> Any:
        asked.append(args)
        is_asked.set()
        return await answer

    calls = KernelCalls(ask, lambda *_args, **_kwargs: None, lambda _function: None)
    offered = OfferedTool(spec=nbchat.tool(exits_never).spec, asks=True)
    tool = KernelTool(KernelTools(calls, "t-1"), offered)
    call = nbchat.ToolCall(id="c", name="exits_never", text="{}", state="running")
    begun = asyncio.Event()
    executing = asyncio.ensure_future(tool.execute("s-1", call, 60.0, begun.set))
    await is_asked.wait()
    key = asked[0]["key"]
    assert not begun.is_set()
    assert [calls.begin("x-other"), calls.begin(key), calls.begin(key)] == [False, True, False]
    await begun.wait()
    calls.is_gone = True
    answer.set_exception(KernelGone("gone"))
    with pytest.raises(KernelGone, match="unknown"):
        await executing
    assert not calls.begin(key)
    assert len(asked) == 1


# What the page shows of a call


def test_look_shows_the_text_that_it_sends(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner has the text of `look` before it is approved, and exactly this text is sent."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "looked_at", {"river": "Seine"}, raising=False)
    session = paying(linked.registry(), nbchat.tools.look)
    run = session.send('call look {"name": "looked_at"}')
    until_asking(run)
    (shown,) = head_of(in_runner(linked, session)).calls
    assert str(shown.preview).startswith("dict, 1 item")
    monkeypatch.setattr(main, "looked_at", "another value")
    run.approve()
    (call,) = run.wait(30).calls
    assert call.result is not None
    assert call.result.text == shown.preview


def test_a_call_that_waits_for_the_running_cell_is_marked(linked: Linked) -> None:
    """While the main thread of its kernel is busy, an approved call is `queued`; once started, it is not."""

    def marked() -> list[bool]:
        return [call.queued for call in head_of(in_runner(linked, session)).calls]

    @nbchat.tool(ask=False, thread="main")
    def pay(amount: int) -> str:
        until(lambda: marked() == [])
        return f"paid {amount}"

    session = paying(linked.registry(), pay)
    run = session.send(PAY)
    # This thread is the main thread, which is busy with this test and does not wait in nbchat.
    until(lambda: marked() == [True])
    assert run.state == "acting"
    assert [call.state for call in run.wait(30).calls] == ["ran"]


def exits_never() -> None:
    """Do nothing."""


# Limits


def test_earlier_tools_are_kept_for_the_live_run(linked: Linked, counter: Counter) -> None:
    """A run uses the tools that it started with; a kernel forgets earlier ones that no run uses."""
    session = paying(linked.registry(), pay_with(counter))
    run = session.send(PAY)
    until_asking(run)
    session.tools = ()
    run.approve()
    assert run.wait(30).state == "completed"
    assert counter.calls == [3]
    for _ in range(5):
        session.tools = [pay_with(counter)]
    sets = linked.kernels[0][1]._tools._sets
    until(lambda: (gc.collect(), len(sets))[1] == 1)
    assert session.tools == tuple(next(iter(sets.values())).tools.values())


def test_tools_of_a_session_that_is_gone_are_refused(linked: Linked, counter: Counter) -> None:
    """Setting the tools or the policy of a session that does not exist raises, and keeps nothing."""
    registry = linked.registry()
    backend = linked.kernels[0][1]
    with pytest.raises(SessionGone):
        backend.use_tools("s-none", (pay_with(counter),))
    with pytest.raises(SessionGone):
        backend.use_policy("s-none", lambda _call: True)
    assert (backend.tools_of("s-none"), backend.policy_of("s-none")) == ((), None)
    assert backend._tools.current() == []
    assert list(registry.values()) == []


def test_an_error_of_the_kernel_is_a_result(
    linked: Linked, counter: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that a kernel cannot execute has a result, and the run completes."""

    async def fails(*_args: object, **_kwargs: object) -> Any:
        raise CommandError("this kernel is odd.")

    session = paying(linked.registry(), pay_with(counter, ask=False))
    monkeypatch.setattr(ToolObjects, "run_call", fails)
    with caplog.at_level(logging.CRITICAL):
        run = session.send(PAY).wait(30)
    assert "this kernel is odd." in run.text
    assert (run.state, [call.state for call in run.calls]) == ("completed", ["not_run"])


def test_results_have_the_limits_of_all_results(linked: Linked) -> None:
    """Long texts are cut once, and text that is no Unicode and pictures arrive."""
    picture = "data:image/png;base64,iVBORw0KGgo="

    @nbchat.tool(ask=False)
    def pay(amount: int) -> ToolOutput:  # noqa: ARG001 - as called
        return ToolOutput(text="\ud800" + "x" * 50_000, images=(picture, "data:text/plain,x"))

    run = paying(linked.registry(), pay).send(PAY).wait(30)
    (call,) = run.calls
    assert call.result is not None
    assert call.result.text.count("more characters are omitted") == 1
    assert call.result.images == (picture,)
    assert run.state == "completed"
