"""`KernelShell`: lets the main thread of a kernel run approved code, as a cell does."""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nbchat.engine.main_thread import CodeOutput
from nbchat.tools.results import picture_url

if TYPE_CHECKING:
    from nbchat.engine.main_thread import Job

logger = logging.getLogger("nbchat")

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")

REPLY_S: Final = 1.0
"""Seconds between two looks at a job that waits in the kernel's queue."""

_CODE: Final = "__import__('nbchat.engine.main_thread', fromlist=['main_thread']).main_thread.run({job_id!r})"


class KernelShell:
    """The shell of a kernel, or of IPython in a terminal. Implements `Shell`."""

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
        self._shell = shell

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
                    if reply.get("content", {}).get("status") == "aborted":
                        job.fail("The call was not run: an error in a cell before it cleared the queue.")
                    return
        except Exception:
            logger.exception("the kernel could not be asked to run a tool call")
            job.fail("The call was not run: the kernel accepted no request.")
        finally:
            client.stop_channels()

    def run_code(self, code: str) -> CodeOutput:
        """Run code as a cell, with its outputs captured. On the main thread."""
        from IPython.utils.capture import capture_output  # noqa: PLC0415 - in a kernel only

        shell = self._shell
        before = dict(shell.user_ns)
        with capture_output() as captured, _tracebacks(shell) as traceback:
            done = shell.run_cell(code, store_history=False, silent=False)
        error = done.error_before_exec or done.error_in_exec
        text = captured.stdout + captured.stderr
        images: list[str] = []
        for output in captured.outputs:
            text += _shown(output.data, images)
        text += "\n".join(traceback)
        names = tuple(
            name
            for name, value in list(shell.user_ns.items())
            if not name.startswith("_") and (name not in before or before[name] is not value)
        )
        return CodeOutput(
            text=_ANSI.sub("", text),
            is_error=error is not None,
            was_interrupted=isinstance(error, KeyboardInterrupt),
            images=tuple(images),
            names=names,
        )


@contextmanager
def _tracebacks(shell: Any) -> Iterator[list[str]]:  # noqa: ANN401 - an InteractiveShell
    """Collect the tracebacks that the shell would send to pages."""
    lines: list[str] = []

    def collect(_kind: object, _error: object, traceback: list[str]) -> None:
        lines.extend(traceback)

    shell._showtraceback = collect  # noqa: SLF001 - IPython's hook for frontends
    try:
        yield lines
    finally:
        del shell._showtraceback  # noqa: SLF001 - the method of the class is used again


def _reply(client: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a BlockingKernelClient
    """Return the reply to the request; `None` if there is none yet."""
    import queue  # noqa: PLC0415 - used here only

    get: Callable[..., dict[str, Any]] = client.get_shell_msg
    try:
        return get(timeout=REPLY_S)
    except queue.Empty:
        return None


def _shown(data: dict[str, Any], images: list[str]) -> str:
    """Return the text of a displayed output, and append its picture to `images`."""
    for kind in ("image/png", "image/jpeg"):
        picture = data.get(kind)
        if picture is None:
            continue
        try:
            raw = base64.b64decode(picture) if isinstance(picture, str) else bytes(picture)
        except (ValueError, TypeError):
            continue
        url = picture_url(raw)
        if url is not None:
            images.append(url)
            return ""
    text = data.get("text/plain")
    return f"{text}\n" if isinstance(text, str) else ""
