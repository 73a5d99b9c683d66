"""`LocalRunner`: links this kernel with the runner of its notebook, and starts the runner if necessary."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from nbchat.core.errors import CommandError, NbchatError
from nbchat.core.version import VERSION
from nbchat.runner.frames import encode_frame
from nbchat.runner.link import greet
from nbchat.runner.messages import LINK_VERSION, Call
from nbchat.runner.places import Place

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from nbchat.runner.messages import Greeting
    from nbchat.runner.transports import SocketTransport

logger = logging.getLogger("nbchat")

START_S: Final = 40.0
"""Longest wait for a new runner; on a busy machine the start of Python takes seconds."""

SLOW_S: Final = 2.0
"""Seconds after which a cell shows that it waits for a runner."""

POLL_S: Final = 0.02

_KEPT: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("SYSTEMROOT", "WINDIR", "COMSPEC", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "PROGRAMDATA"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_PREFER_ENV_PATH"),
        *("XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
        *(
            "NBCHAT_JOURNAL_DIR",
            "NBCHAT_JOURNAL",
            "NBCHAT_RUNNER_DIR",
            "NBCHAT_DEMO_PACE",
            "NBCHAT_MAX_METADATA",
        ),
    }
)
"""Variables that a runner gets when it starts. No other one is passed, so that no key is among them.

Keys and proxies, whose URLs can contain a password, are sent over the link with the kernel's configuration.
"""


def environment_of_runner(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a new runner: what Python, certificates and folders need, and no key."""
    return {name: value for name, value in environment.items() if name in _KEPT or name.startswith("LC_")}


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """The runner of a notebook on this machine. Implements `RunnerAddress`."""

    place: Place

    def connect(self) -> tuple[SocketTransport, Greeting]:
        """Return a connection to the notebook's runner, and its greeting.

        Only one kernel starts a runner at a time. A runner that does not answer is replaced, and one of
        another version is asked to finish and to end. A wait that was interrupted continues with the same
        process.

        Raises
        ------
        CommandError
            If the new runner has ended, or is not ready after `START_S`; it is ended then.
        """
        with _Wait(self.place) as wait:
            found = _greeted(self.place)
            if found is None and (other := self.place.elsewhere()) is not None:
                found = _greeted(other)
            if found is None:
                found = _started(self.place, wait)
            _starting.pop(self.place.address, None)
            return found

    @property
    def hint(self) -> str:
        """The path of the log."""
        return f"Its log: {self.place.log}."


def _started(place: Place, wait: _Wait) -> tuple[SocketTransport, Greeting]:
    """Start a runner, unless one is starting, and return a link to it when it is ready."""
    with _locked(place, wait):
        process = _starting.pop(place.address, None)
        if process is not None and process.poll() is not None:
            process = None
        while (found := _greeted(place)) is None:
            if wait.is_over:
                if process is not None:  # else it would serve the next kernel, beside the engine of this one
                    process.kill()
                    process.wait()
                raise CommandError(
                    f"no runner was ready within {START_S:g} s.", hint=f"Its log: {place.log}."
                )
            if process is None:
                process = _start(place)
            _starting[place.address] = process
            if process.poll() is not None:
                raise CommandError(
                    f"the runner ended at once, with status {process.returncode}.",
                    hint=f"Its log: {place.log}.",
                )
            wait.sleep()
        return found


_starting: dict[Path, subprocess.Popen[bytes]] = {}
"""Runners that this process has started and that are not ready, by address."""


class _Wait:
    """The wait for a runner. After `SLOW_S`, the cell shows it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._began = time.monotonic()
        self._remove: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._remove is not None:
            self._remove()

    @property
    def is_over(self) -> bool:
        """True after `START_S`."""
        return time.monotonic() >= self._began + START_S

    def sleep(self) -> None:
        """Wait until the next attempt."""
        if self._remove is None and time.monotonic() >= self._began + SLOW_S:
            self._remove = self._place.explain_wait()
        time.sleep(POLL_S)


def _greeted(place: Place) -> tuple[SocketTransport, Greeting] | None:
    """Return a link to a runner of this version; a runner of another version is asked to end."""
    try:
        transport, greeting = greet(place.address)
    except (OSError, ValueError, NbchatError) as error:
        logger.debug("no runner at %s: %s", place.address, error)
        return None
    if (greeting.link, greeting.version) == (LINK_VERSION, VERSION):
        return transport, greeting
    logger.warning("the runner is of version %s; it finishes its answers and is replaced", greeting.version)
    with suppress(OSError):
        transport.write(encode_frame(Call(id=1, name="drain")))
    transport.close()
    return None


def _start(place: Place) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "nbchat",
        "runner",
        "serve",
        "--folder",
        str(place.folder),
        place.notebook,
    ]
    options: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        options = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
    with _log(place.log) as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.folder,
            env=environment_of_runner(),
            close_fds=True,
            **options,
        )


def _log(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab")


@contextlib.contextmanager
def _locked(place: Place, wait: _Wait) -> Iterator[None]:
    """Hold the notebook's lock, so that two kernels do not start two runners. The system releases it."""
    descriptor = os.open(place.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        while not _take(descriptor):
            if wait.is_over:
                raise CommandError("another kernel is starting the runner of this notebook, without success.")
            wait.sleep()
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
