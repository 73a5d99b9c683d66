"""The same tests over both backends: the engine in this process, or in a runner to which it is linked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.conftest import SOAK
from tests.runner.linked import Linked

if TYPE_CHECKING:
    import pytest

    from nbchat.handles.registry import SessionRegistry

OVER_LINK = 5
"""One test in `OVER_LINK` also runs over a link; in the long version every test does."""


def over_both_backends(metafunc: pytest.Metafunc, *, fits: Callable[[Callable[..., object]], bool]) -> None:
    """Run a chosen fifth of the tests with a registry over both backends, if they fit."""
    if "registry" in metafunc.fixturenames:
        chosen = SOAK or zlib.crc32(metafunc.function.__name__.encode()) % OVER_LINK == 0
        backends = ["kernel", "runner"] if chosen and fits(metafunc.function) else ["kernel"]
        metafunc.parametrize("registry", backends, indirect=True)


@contextmanager
def over_a_link() -> Iterator[SessionRegistry]:
    """Return a registry that is linked to a runner in this process."""
    with TemporaryDirectory(prefix="nb-") as short, Linked(Path(short)) as linked:  # for a socket's path
        made = linked.registry()
        yield made
        made.stop_all()
        made.wait_all(10)
