"""Every fault of a server in every state of a run, through the real client and a real registry.

`tests/providers/fault_server.py` misbehaves in one way for each line P1 to P44, and `dialects.py` adds
variants. Here their runs are checked against the five invariants: alone, beside others, stopped, paused and
deleted. Not covered here:

- P2 (a name that does not resolve) never reaches a server; `tests/providers` tests it.
- P4's wrong proxy, for the same reason. P35 is about running tools; this release shows tool calls only.
"""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from nbchat.core import errors
from nbchat.core.messages import ToolCallPart
from nbchat.engine import attempts as attempts_of_runs
from nbchat.engine import deadlines
from nbchat.engine.limits import Limits
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import Run
from nbchat.handles.session import Session
from nbchat.providers.openai import OpenAIProvider
from tests.engines import engine_of, live
from tests.faults.invariants import check_end, open_files, slots, tasks
from tests.providers import dialects  # noqa: F401 - registers more FAULTS
from tests.providers.fault_server import CALL_STREAMS, CALLS, FAULTS, TEXT, Fault, FaultServer
from tests.waiting import wait_for

BOUND_S = 20.0
"""I3. The limits below are far smaller; a shared machine may be slow."""

ENDLESS = {
    "silent": ("first_token_s", errors.FirstTokenTimeout),
    "headers-only": ("first_token_s", errors.FirstTokenTimeout),
    "stall": ("idle_s", errors.IdleTimeout),
    "pings": ("idle_s", errors.IdleTimeout),
    "empty-deltas": ("idle_s", errors.IdleTimeout),
    "drip": ("total_s", errors.TotalTimeout),
    "endless": ("answer_chars", errors.LimitExceeded),
}
"""The limit that ends a fault that the server does not end, and its error."""

SMALL = {"first_token_s": 0.4, "idle_s": 0.4, "total_s": 0.4, "answer_chars": 20_000}


@dataclass
class Stand:
    """A registry, and a misbehaving server in its own thread."""

    registry: SessionRegistry
    provider: OpenAIProvider
    server: FaultServer

    def ask(self, fault: Fault) -> tuple[Session, Run, int]:
        """Request a fault, and return once the server has the request or the run is over."""
        before = self.server.attempts[fault.model]
        session = self.registry.create(provider=self.provider, model=fault.model)
        run = session.send("question")
        wait_for(lambda: run.is_over or self.server.attempts[fault.model] > before, "the server was asked")
        return session, run, before


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Run the server and the registry; at the end everything that was opened is closed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault-server", daemon=True)
    thread.start()

    def there(coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        # Delays between attempts and after the finish are real, but shortened here.
        patch.setattr(attempts_of_runs.random, "uniform", lambda _low, _high: 0.02)
        patch.setattr(deadlines, "AFTER_FINISH_S", 0.2)
        server, registry = FaultServer(), SessionRegistry()
        there(server.__aenter__())
        provider = OpenAIProvider(server.base_url)
        yield Stand(registry, provider, server)
        assert slots(registry) == (0, 0)
        engine_of(registry).loop.run(provider.aclose(), 10)
        wait_for(lambda: server.open == 0, "every connection is closed")
        wait_for(lambda: not tasks(registry), "no task is left")
        engine_of(registry).shutdown()
        there(server.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(autouse=True)
def _limits(stand: Stand) -> Iterator[None]:
    """Give each test the usual limits, and check that it leaves no slot and no session."""
    for name, value in vars_of(Limits()).items():
        setattr(stand.registry.limits, name, value)
    stand.registry.limits.retry_after_s = 1.0
    yield
    for key in list(stand.registry):
        stand.registry.delete(key)
    wait_for(lambda: slots(stand.registry) == (0, 0), "no slot is left")


def vars_of(limits: Limits) -> dict[str, object]:
    """Return limits by name."""
    return {name: getattr(limits, name) for name in Limits.__slots__}  # type: ignore[attr-defined]


def limit(stand: Stand, fault: Fault) -> None:
    """Set the limit that ends this fault if the server does not."""
    if fault.endless:
        name, _ = ENDLESS[fault.model]
        setattr(stand.registry.limits, name, SMALL[name])


def check_outcome(stand: Stand, fault: Fault, session: Session, run: Run) -> None:
    """Check that a run ended as its fault demands, whatever else happened to the session."""
    check_end(session, run)
    cap = stand.registry.limits.answer_chars
    calls = [p for p in run.message.parts if isinstance(p, ToolCallPart)]
    if fault.model == "busy-once":
        assert (run.state, run.text) == ("completed", TEXT)
        return
    if fault.endless:
        assert type(run.error) is ENDLESS[fault.model][1]
        assert run.text.startswith(fault.kept)
        assert run.state == ("interrupted" if run.text else "failed")
        return
    if len(fault.kept) > cap:
        assert type(run.error) is errors.LimitExceeded
        assert run.text == fault.kept[:cap]
        return
    assert run.text == fault.kept
    if fault.finish is None:
        assert fault.error is not None
        assert type(run.error) is fault.error
        assert run.state == ("interrupted" if run.text or run.reasoning or calls else "failed")
        assert run.error.partial_chars == run.progress.characters
        assert run.error.hint
    elif not (
        run.text
        or run.reasoning
        or calls
        or run.message.notices  # content that cannot be displayed is named instead
        or (run.usage and run.usage.output_tokens)
    ):
        assert type(run.error) is errors.EmptyResponse
    else:
        early = fault.finish in ("length", "content_filter")
        assert run.state == ("incomplete" if early else "completed")
        assert run.finish_reason == fault.finish
    if fault.model.startswith("calls-"):
        made = CALLS[: CALL_STREAMS[fault.model.removeprefix("calls-")][1]]
        assert [(p.call_id, p.name, p.text) for p in calls] == made
    assert session.messages[0].text == "question"


def faults(chosen: Callable[[Fault], bool] = lambda fault: not fault.alone) -> pytest.MarkDecorator:
    """Parametrize a test with the chosen faults."""
    found = [f for f in FAULTS.values() if chosen(f)]
    ids = [f"{f.promise}-{f.model}".replace(" ", "-") for f in found]
    return pytest.mark.parametrize("fault", found, ids=ids)


@faults(lambda _fault: True)
def test_alone(stand: Stand, fault: Fault) -> None:
    """A fault gives one end of the right class and the exact text; retries only precede the first token."""
    limit(stand, fault)
    session, run, before = stand.ask(fault)
    run.wait(BOUND_S)

    check_outcome(stand, fault, session, run)
    attempts = stand.server.attempts[fault.model] - before
    again = fault.retryable is True or (fault.retryable is not False and fault.retryable <= 1.0)
    if fault.model != "busy-once":
        assert attempts == (3 if again else 1)
    assert stand.provider.name not in run.text


@faults()
def test_other_sessions_continue(stand: Stand, fault: Fault) -> None:
    """The next run of the same session starts after the fault, and another session is not affected."""
    limit(stand, fault)
    beside = stand.registry.create(provider=stand.provider, model="ok").send("beside")
    session, run, _ = stand.ask(fault)
    session.model = "ok"
    behind = session.send("behind")
    run.wait(BOUND_S)
    check_outcome(stand, fault, session, run)
    assert (beside.wait(BOUND_S).state, beside.text) == ("completed", TEXT)
    if fault.endless and fault.model != "endless":
        setattr(stand.registry.limits, ENDLESS[fault.model][0], 60.0)
    assert (behind.wait(BOUND_S).state, behind.text) == ("completed", TEXT)
    check_end(session, behind)


@faults()
def test_stopped(stand: Stand, fault: Fault) -> None:
    """A stop during a fault gives `stopped`, or the fault's own end if that came first, never both."""
    if not fault.endless:
        limit(stand, fault)
    session, run, _ = stand.ask(fault)
    if fault.kept and fault.endless:
        next(iter(run))
    run.stop()
    run.wait(BOUND_S)

    check_end(session, run)
    if run.state == "stopped":
        assert fault.kept.startswith(run.text) or fault.model in ("drip", "endless", "busy-once")
    else:
        assert not fault.endless
        check_outcome(stand, fault, session, run)
    session.model = "ok"
    assert session.send("again").wait(BOUND_S).text == TEXT


@faults(lambda fault: not (fault.endless or fault.alone))
def test_held(stand: Stand, fault: Fault) -> None:
    """A pause and a resume around a fault do not change how it ends."""
    session, run, _ = stand.ask(fault)
    with contextlib.suppress(errors.CommandError):
        run.pause()
        assert run.state in ("paused", "stopping") or run.is_over
        run.resume()
    run.wait(BOUND_S)
    check_outcome(stand, fault, session, run)


@faults(lambda fault: fault.endless)
def test_held_for_too_long(stand: Stand, fault: Fault) -> None:
    """P18 and similar faults while paused are ended by the pause limit, not by the limit on silence."""
    stand.registry.limits.pause_limit_s = 0.3
    session, run, _ = stand.ask(fault)
    if fault.kept:
        next(iter(run))
    run.pause()
    run.wait(BOUND_S)
    check_end(session, run)
    assert run.state == "interrupted"
    assert type(run.error) is errors.PauseExpired


@faults()
def test_deleted(stand: Stand, fault: Fault) -> None:
    """After deletion during a fault the run is stopped or ended, and no late event reaches the session."""
    session, run, _ = stand.ask(fault)
    conversation = live(session)
    session.delete()
    run.wait(BOUND_S)
    assert run.is_over
    wait_for(lambda: conversation.live is None, "the run let go")
    seq = conversation.state.seq
    assert stand.registry.create(provider=stand.provider, model="ok").ask("?").text == TEXT
    assert conversation.state.seq == seq
    assert session.id not in stand.registry


@pytest.mark.parametrize("what", ["refused", "TLS to a plain port"])
def test_no_connection(stand: Stand, what: str) -> None:
    """P1 and P3: a refused connection, which is retried, or failed TLS gives `ConnectFailed` in time."""
    refused = what == "refused"
    url = "http://127.0.0.1:9/v1" if refused else stand.server.base_url.replace("http:", "https:")
    provider = OpenAIProvider(url)
    stand.registry.limits.connect_s = 0.5  # a plain port waits for the rest of a request
    session = stand.registry.create(provider=provider, model="ok")
    run = session.send("question").wait(BOUND_S)
    assert (run.state, type(run.error)) == ("failed", errors.ConnectFailed)
    assert run.progress.attempt == (2 if refused else 0)
    check_end(session, run)
    engine_of(stand.registry).loop.run(provider.aclose(), 10)


@pytest.mark.timeout(1800)
def test_connections_and_files_are_flat(stand: Stand, soak: bool) -> None:
    """I4: another round of all faults leaves no more files or connections open."""
    some = ("reset", "cut-utf8", "status-500", "gzip-cut", "no-finish", "ok")
    chosen = [FAULTS[name] for name in some] if not soak else [f for f in FAULTS.values() if not f.endless]

    def round_of_faults() -> tuple[int, int]:
        for fault in chosen:
            session, run, _ = stand.ask(fault)
            run.wait(BOUND_S)
            check_outcome(stand, fault, session, run)
            session.delete()
        engine_of(stand.registry).loop.run(stand.provider.aclose(), 10)
        wait_for(lambda: stand.server.open == 0, "connections are closed")
        gc.collect()
        return open_files(), threading.active_count()

    round_of_faults()  # opens everything that is opened only once
    first = round_of_faults()
    for _ in range(50 if soak else 3):
        last = round_of_faults()
    assert last <= first
