"""`Host`: interface of the handles to the program around a registry, such as a notebook's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Host(Protocol):
    """Restores saved sessions and draws handles."""

    def restore_once(self) -> None:
        """Restore the saved sessions before the first use, and wait until they are restored."""
        ...

    def mimebundle(self, shown: object, **options: Any) -> Any | None:  # noqa: ANN401 - IPython's protocol
        """Return the MIME bundle of a `Session` or a `Comparison`; `None` for plain text."""
        ...

    def progress_bar(self, total: int) -> tuple[Callable[[Any], object], Callable[[], object]] | None:
        """Return the functions that update and close a progress bar; `None` if there are no widgets."""
        ...


class NoHost:
    """The host of a registry outside of a notebook: nothing is restored or drawn."""

    def restore_once(self) -> None:
        """Do nothing."""

    def mimebundle(self, shown: object, **options: Any) -> Any | None:  # noqa: ANN401, ARG002 - as `Host`
        """Return `None`."""
        return None

    def progress_bar(self, total: int) -> tuple[Callable[[Any], object], Callable[[], object]] | None:  # noqa: ARG002 - as `Host`
        """Return `None`."""
        return None
