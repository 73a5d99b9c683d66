"""The same tests over all backends: the engine in this process, in a runner, or in a service."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.conftest import SOAK
from tests.runner.linked import Linked
from tests.service.served import Served

if TYPE_CHECKING:
    import pytest

    from nbchat.handles.registry import SessionRegistry

OVER_LINK = 5
"""One test in `OVER_LINK` also runs over a link to a runner; in the long version every test does."""

OVER_SERVICE = 25
"""One test in `OVER_SERVICE` also runs over a service; in the long version every test does."""


OF_THE_OPERATOR = ("registry.limits.", "clear_cache(", "folder.iterdir(")
"""Words in tests of limits and files that belong to the operator of a service."""


def over_all_backends(metafunc: pytest.Metafunc, *, fits: Callable[[Callable[..., object]], bool]) -> None:
    """Run a chosen part of the tests with a registry over each backend, if they fit."""
    if "registry" in metafunc.fixturenames:
        number = zlib.crc32(metafunc.function.__name__.encode())
        backends = ["kernel"]
        source = inspect.getsource(metafunc.function)
        for backend, one_in in (("runner", OVER_LINK), ("service", OVER_SERVICE)):
            of_operator = backend == "service" and any(word in source for word in OF_THE_OPERATOR)
            if (SOAK or number % one_in == 0) and fits(metafunc.function) and not of_operator:
                backends.append(backend)
        metafunc.parametrize("registry", backends, indirect=True)


@contextmanager
def over_a_link(backend: str) -> Iterator[SessionRegistry]:
    """Return a registry that is linked to a runner or a service in this process."""
    with (
        TemporaryDirectory(prefix="nb-") as short,
        _linked(backend, Path(short)) as made,
    ):  # for a socket's path
        yield made
        made.stop_all()
        made.wait_all(10)


@contextmanager
def _linked(backend: str, folder: Path) -> Iterator[SessionRegistry]:
    if backend == "service":
        with Served(folder) as served:
            yield served.registry("ada")
    else:
        with Linked(folder) as linked:
            yield linked.registry()
