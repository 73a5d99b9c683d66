"""Thirty calls of the API and their results, which are the same wherever they are made."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import nbchat
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import drain_callbacks, engine_of


def raised(call: Callable[[], object]) -> str:
    """Return the name of the exception that a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - its name is the result
        return type(error).__name__
    return "nothing"


def in_a_loop_of_its_own(make: Callable[[], Any]) -> Any:
    """Run a coroutine in another thread's event loop, and return its result."""
    given = []
    thread = threading.Thread(target=lambda: given.append(asyncio.run(make())))
    thread.start()
    thread.join()
    return given[0]


def thirty_calls() -> dict[str, Any]:
    """Make the calls and return their visible results by name."""
    nbchat.config(model="nbchat-echo")
    return asking() | running() | ending()


def asking() -> dict[str, Any]:
    """Ask in every form."""
    seen: dict[str, Any] = {}
    registry = nbchat.registry
    echo = nbchat.session("echo", instructions="Answer briefly.", params={"temperature": 0})

    seen["session"] = (echo.title, echo.model, echo.instructions, dict(echo.params))
    seen["the same session"] = nbchat.session("echo") is echo is registry["echo"] is registry[echo.id]
    seen["status before"] = (echo.status, echo.run, echo.runs, echo.messages)
    run = echo.send("One **two** three.")
    seen["wait"] = run.wait(30) is run
    seen["state"] = (str(run.state), run.state == "completed", f"{run.state}", run.is_over)
    seen["text"] = (run.text, run.result().text, str(run.message))
    seen["iterate"] = "".join(run), "".join(echo.send("Iterate."))
    seen["finish"] = (run.finish_reason, run.error, run.usage is not None and run.usage.total_tokens > 0)
    seen["messages"] = [(m.role, m.text) for m in echo.messages]
    seen["ask"] = echo.ask("Ask.").text
    seen["one-off"] = (nbchat.ask("Once.").text, len(registry))

    async def awaited() -> str:
        return (await echo.send("Await.")).text

    async def iterated() -> str:
        return "".join([delta async for delta in echo.send("Async for.")])

    seen["await"] = in_a_loop_of_its_own(awaited)
    seen["async for"] = in_a_loop_of_its_own(iterated)
    seen["get_completion"] = nbchat.get_completion("For u1.", thread_id="u1")
    seen["threads are apart"] = [m.text for m in registry["u1"].messages]

    return seen


def running() -> dict[str, Any]:
    """Inspect and control live runs."""
    seen: dict[str, Any] = {}
    registry = nbchat.registry
    provider = ScriptedProvider("so far", PAUSE, " and on", HANG)
    held = nbchat.session("held", provider=provider)
    live = held.send("Go.")
    waiting = held.send("Then this.")
    provider.wait_paused()
    info = registry.streaming_info("held")
    seen["streaming"] = (registry.is_streaming("held"), info is not None and info.run == live.id)
    seen["timeout"] = raised(lambda: live.wait(0.01))
    seen["busy"] = raised(held.regenerate)
    seen["queued"] = (str(waiting.state), held.run is live)
    seen["pause"] = (str(live.pause().state), str(registry["held"].status))
    seen["resume"] = live.resume() is live
    held.stop_all()
    registry.wait_all(30)
    seen["stopped"] = (str(live.wait().state), str(waiting.state), live.text.startswith("so far"))
    seen["stop again"] = (held.stop(), live.stop())

    return seen


def ending() -> dict[str, Any]:
    """Fail, be refused, fork, and delete."""
    seen: dict[str, Any] = {}
    registry, echo = nbchat.registry, nbchat.session("echo")
    failing = nbchat.session("failing", provider=ScriptedProvider("part", nbchat.StreamBroken("cut")))
    broken = failing.send("Go.").wait(30)
    seen["interrupted"] = (str(broken.state), broken.text, type(broken.error).__name__)
    seen["its error is raised"] = (raised(broken.result), raised(lambda: failing.ask("Again.")))
    failed = nbchat.session("echo2", model="no-such-model").send("Hello?").wait(30)
    seen["failed"] = (str(failed.state), type(failed.error).__name__, failed.text)
    seen["wrong arguments"] = (
        raised(lambda: echo.send("")),
        raised(lambda: echo.send(3)),  # type: ignore[arg-type]
        raised(lambda: nbchat.session(3)),  # type: ignore[arg-type]
        raised(lambda: registry["nobody"]),
        raised(lambda: nbchat.config(nothing="x")),
    )

    fork = echo.fork(title="fork")
    fork.rename("renamed").pin()
    seen["fork"] = (fork.title, fork.pinned, [m.role for m in fork.messages][:2])
    told: list[str] = []
    off = fork.on("end", lambda event: told.append(f"{event.event} {event.state}"))
    fork.ask("Tell.")
    drain_callbacks(registry)
    off()
    fork.ask("Tell nobody.")
    drain_callbacks(registry)
    seen["callback"] = told
    fork.delete()
    seen["deleted"] = (fork.id in registry, raised(lambda: fork.send("Gone.")))
    seen["no deadlock"] = type(
        engine_of(registry).loop.call(lambda: _caught(lambda: echo.ask("From the engine's own thread.")))
    ).__name__
    return seen


def _caught(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - it is the result
        return error
    return None
