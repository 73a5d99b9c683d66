"""Interrupting a cell and nesting event loops, in a real kernel."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment

SAY_WHEN_LIVE = """
import threading, time
def say_when_live():
    def look():
        while not any(
            info.run != background.id and info.state in ('connecting', 'streaming')
            for info in nbchat.registry.all_streaming()
        ):
            time.sleep(0.01)
        print('live', flush=True)
    threading.Thread(target=look).start()
def say_when_asked(now):
    def look():
        session_provider.wait_until(lambda provider: provider.requests)
        print('live', flush=True)
    threading.Thread(target=look).start()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with a run in the background that never ends."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {
        "NBCHAT_DEMO_PACE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with Kernel(folder, env) as made:
        ready = made.run(
            "import nbchat\n"
            "%load_ext nbchat\n"
            "from nbchat.providers.scripted import HANG, ScriptedProvider\n"
            "def hanging(): return ScriptedProvider('so far', HANG)\n"
            "background = nbchat.session('background', provider=hanging()).send('Go on.')\n"
            "next(iter(background))\n"
            f"{SAY_WHEN_LIVE}"
        )
        assert ready.error is None, ready.traceback
        yield made


@pytest.mark.parametrize(
    ("blocks", "state"),
    [
        ("session.ask('Go.')", "stopped"),
        ("get_ipython().run_cell_magic('chat', f'-s {session.id}', 'Go.')", "stopped"),
        ("session.send('Go.'); get_ipython().run_line_magic('chat', f'wait {session.id}')", "streaming"),
        ("nbchat.get_completion('Go.', thread_id='u', model='nbchat-slow')", None),
        ("nbchat.ask('Go.', provider=session_provider)", None),
        ("session.send('Go.').wait()", "streaming"),
        ("session.send('Go.').result()", "streaming"),
        ("for delta in session.send('Go.'): pass", "streaming"),
        ("await session.send('Go.')", "streaming"),
        ("async for delta in session.send('Go.'): pass", "streaming"),
        ("session.send('Go.'); nbchat.registry.wait_all()", "streaming"),
        ("nbchat.map(['Go.'], provider=session_provider, progress=say_when_asked)", None),
        ("nbchat.compare('Go.', [{'model': 'm', 'provider': session_provider}]).wait()", None),
    ],
)
def test_an_interrupt_ends_the_cell_and_what_it_owns(kernel: Kernel, blocks: str, state: str | None) -> None:
    """The call ends although its answer does not; `ask` stops its own run, and no call stops others."""
    cell = kernel.start(
        "session_provider = hanging()\n"
        "session = nbchat.registry.create(provider=session_provider)\n"
        f"{'' if 'map' in blocks else 'say_when_live()'}\n"
        f"{blocks}"
    )
    kernel.follow(cell, lambda c: "live" in c.stdout)
    kernel.interrupt()
    kernel.follow(cell, lambda c: c.over)
    assert cell.error in ("KeyboardInterrupt", "CancelledError"), cell.traceback
    assert kernel.value("str(background.state)") == "'streaming'"
    if state is not None:
        assert kernel.value("session.status") == f"'{state}'"
    kernel.run("session.stop_all()")


def test_a_chat_cell_owns_its_run_from_the_first_moment(kernel: Kernel) -> None:
    """An interrupt right after the prompt was sent, before any output, stops the run as well."""
    cell = kernel.run(
        "from nbchat.jupyter import magics\n"
        "show = magics.show\n"
        "def interrupted(*_):\n"
        "    magics.show = show\n"
        "    raise KeyboardInterrupt\n"
        "magics.show = interrupted\n"
        "owned = nbchat.registry.create(provider=hanging())\n"
        "get_ipython().run_cell_magic('chat', f'-s {owned.id}', 'Go.')"
    )
    assert cell.error == "KeyboardInterrupt", cell.traceback
    assert kernel.value("str(owned.runs[-1].wait(30).state)") == "'stopped'"


def test_nested_loops_are_allowed_when_asked_for(kernel: Kernel) -> None:
    """`asyncio.run` in a cell fails as always; after `allow_nested_loops()` it works alongside nbchat."""
    nested = (
        "import asyncio\n"
        "echo = nbchat.session('nested', model='nbchat-echo')\n"
        "async def main():\n"
        "    return (await echo.send('From a loop within a loop.')).text\n"
        "asyncio.run(main())"
    )
    assert kernel.run(nested).error == "RuntimeError"
    assert kernel.value("'nest_asyncio' in __import__('sys').modules") == "False"
    kernel.run("nbchat.allow_nested_loops()")
    assert kernel.value(nested) == "'From a loop within a loop.'"
    assert (
        kernel.value("asyncio.get_event_loop().run_until_complete(main())") == "'From a loop within a loop.'"
    )
    assert kernel.value("(await echo.send('As before.')).text") == "'As before.'"
    assert kernel.value("echo.ask('Blocking.').text") == "'Blocking.'"
