"""`KernelShell`: lets the main thread of a kernel run approved code, as a cell does."""

from __future__ import annotations

import asyncio
import base64
import logging
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nbchat.engine.main_thread import CodeOutput, bound_names, delayed_interrupts
from nbchat.engine.nested_loop import run_nested
from nbchat.engine.tools import caller

if TYPE_CHECKING:
    from nbchat.engine.main_thread import Job

logger = logging.getLogger("nbchat")

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")

REPLY_S: Final = 1.0
"""Seconds between two checks of a job that waits in the kernel's queue."""

ABORTED: Final = "The call was not run: an error in a cell before it cleared the queue."
NOT_ACCEPTED: Final = "The call was not run: the kernel accepted no request."

_CODE: Final = "__import__('nbchat.engine.main_thread', fromlist=['main_thread']).main_thread.run({job_id!r})"


class KernelShell:
    """The shell of a kernel, or of IPython in a terminal. Implements `Shell`."""

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
        self._shell = shell
        _let_only_cells_exit(shell)

    def __repr__(self) -> str:
        """Return the shell."""
        return f"<KernelShell of {type(self._shell).__name__}>"

    def namespace(self) -> dict[str, object]:
        """Return the user's variables, without the names that IPython defines."""
        hidden = self._shell.user_ns_hidden
        return {
            name: value
            for name, value in list(self._shell.user_ns.items())
            if not (name in hidden and hidden[name] is value)
        }

    def request(self, job: Job) -> bool:
        """Send the kernel a request that runs the job after all cells that are queued now."""
        if getattr(self._shell, "kernel", None) is None:
            return False
        threading.Thread(target=self._request, args=(job,), name="nbchat-request", daemon=True).start()
        return True

    def _request(self, job: Job) -> None:
        try:
            self._send(job)
        except Exception:
            logger.exception("the request to run a tool call could not be sent to the kernel")
            job.fail(NOT_ACCEPTED)

    def _send(self, job: Job) -> None:
        """Send the request, and fail the job if the kernel does not execute it."""
        from ipykernel.connect import get_connection_file  # noqa: PLC0415 - in a kernel only
        from jupyter_client.blocking.client import BlockingKernelClient  # noqa: PLC0415

        client = BlockingKernelClient(connection_file=get_connection_file())
        try:
            client.load_connection_file()
            client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            # An error in it must not abort the user's queued cells, and it is not a cell of the history.
            client.execute(
                _CODE.format(job_id=job.id),
                silent=True,
                store_history=False,
                allow_stdin=False,
                stop_on_error=False,
            )
            while job.state in ("waiting", "running"):
                reply = _reply(client)
                if reply is not None:
                    aborted = reply.get("content", {}).get("status") == "aborted"
                    # This changes nothing if the job was started.
                    job.fail(ABORTED if aborted else NOT_ACCEPTED)
                    return
        finally:
            client.stop_channels()

    def run_code(self, code: str) -> CodeOutput:
        """Run code as a cell, with its outputs captured. On the main thread."""
        from IPython.utils.capture import capture_output  # noqa: PLC0415 - in a kernel only

        shell = self._shell
        before = dict(shell.user_ns)
        error: BaseException | None = None
        with (
            delayed_interrupts() as opened,
            _within_cell(shell),
            _without_figures(shell),
            capture_output() as captured,
        ):
            try:
                with opened():
                    done = shell.run_cell(code, store_history=False, silent=False)
                error = done.error_before_exec or done.error_in_exec
            except BaseException as problem:  # noqa: BLE001 - an interrupt in IPython's own code
                error = problem
        text = captured.stdout + captured.stderr
        pictures: list[bytes] = []
        for output in captured.outputs:
            text += _shown(output.data, pictures)
        names = bound_names(before, shell.user_ns)
        return CodeOutput(text=_ANSI.sub("", text), error=error, pictures=tuple(pictures), names=names)


@contextmanager
def _within_cell(shell: Any) -> Iterator[None]:  # noqa: ANN401 - an InteractiveShell
    """Prepare the shell for code within a running cell or other code of a model; then restore its state."""
    hook = shell.displayhook
    kernel: Any = getattr(shell, "kernel", None)
    shown = {name: vars(shell).get(name) for name in ("showtraceback", "showsyntaxerror")}
    result, runner = hook.exec_result, shell.loop_runner
    allows_input = getattr(kernel, "_allow_stdin", None)
    for name in shown:  # the error is a result: it is neither formatted nor sent to pages
        setattr(shell, name, lambda *_, **__: None)
    if str(runner) == "asyncio" and not _is_reentrant():
        shell.loop_runner = run_nested
    if allows_input is not None:
        kernel._allow_stdin = False  # noqa: SLF001 - as in a request with `allow_stdin=False`
    try:
        yield
    finally:
        for name, method in shown.items():
            if method is None:
                delattr(shell, name)  # the method of the class is used again
            else:
                setattr(shell, name, method)
        hook.exec_result, shell.loop_runner = result, runner
        if allows_input is not None:
            kernel._allow_stdin = allows_input  # noqa: SLF001 - as above


@contextmanager
def _without_figures(shell: Any) -> Iterator[None]:  # noqa: ANN401 - an InteractiveShell
    """Set the open figures of Matplotlib aside where the end of code draws and closes all of them.

    They are of the cell that waits, which draws them at its own end. The code draws its own ones.
    """
    inline: Any = sys.modules.get("matplotlib_inline.backend_inline")
    if inline is None or inline.flush_figures not in shell.events.callbacks["post_execute"]:
        yield
        return
    show, figures = inline.show, inline.Gcf.figs
    kept = dict(figures)
    drawn = show._draw_called, show._to_draw  # noqa: SLF001 - of `flush_figures`, the function above
    figures.clear()
    show._draw_called, show._to_draw = False, []  # noqa: SLF001 - as above
    try:
        yield
    finally:
        new = {number: figure for number, figure in figures.items() if number not in kept}
        figures.clear()
        figures.update(new | kept)  # the last one is the current figure
        show._draw_called, show._to_draw = drawn  # noqa: SLF001 - as above


def _is_reentrant() -> bool:
    """Return whether the running loop can run coroutines inside a cell, as after `allow_nested_loops`."""
    try:
        return hasattr(asyncio.get_running_loop(), "_nest_patched")
    except RuntimeError:
        return True  # no loop is running


def _let_only_cells_exit(shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
    """Let `exit()` and `quit()` in a tool call raise instead of ending the kernel."""
    ask_exit = getattr(shell, "ask_exit", None)
    if ask_exit is None:  # a shell that is not in a kernel or a terminal
        return

    def ask() -> object:
        if caller.get() is not None:
            raise SystemExit("a tool call cannot end the kernel")
        return ask_exit()

    shell.ask_exit = ask


def _reply(client: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a BlockingKernelClient
    """Return the reply to the request; `None` if it has not arrived within `REPLY_S`."""
    get: Callable[..., dict[str, Any]] = client.get_shell_msg
    try:
        return get(timeout=REPLY_S)
    except queue.Empty:
        return None


def _shown(data: dict[str, Any], pictures: list[bytes]) -> str:
    """Return the text of a displayed output, or append its picture to `pictures`."""
    for kind in ("image/png", "image/jpeg"):
        picture = data.get(kind)
        if picture is None:
            continue
        try:
            pictures.append(base64.b64decode(picture) if isinstance(picture, str) else bytes(picture))
        except (ValueError, TypeError):
            continue
        return ""
    text = data.get("text/plain")
    return f"{text}\n" if isinstance(text, str) else ""
