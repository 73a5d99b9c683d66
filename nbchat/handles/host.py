"""`Host`: interface of the handles to the program around a registry, such as a notebook's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nbchat.engine.backend import Backend


class Host(Protocol):
    """Restores saved sessions, connects to a runner, and draws handles and progress bars."""

    @property
    def is_used(self) -> bool:
        """True if the host has restored sessions or opened a connection to pages."""
        ...

    @property
    def wants_runner(self) -> bool:
        """True if answers are to be generated in a runner."""
        ...

    def connect(self) -> Backend | None:
        """Return the backend of the runner that is configured; `None` for an engine in this process."""
        ...

    def restore_once(self) -> None:
        """Restore the saved sessions before the first use, and wait until they are restored."""
        ...

    def refresh(self) -> None:
        """Send pages what they could not receive while no cell ran; called around a wait."""
        ...

    def mimebundle(self, shown: object, **options: Any) -> Any | None:  # noqa: ANN401 - IPython's protocol
        """Return the MIME bundle of a `Session` or a `Comparison`; `None` for plain text."""
        ...

    def progress_bar(self, total: int) -> tuple[Callable[[Any], object], Callable[[], object]] | None:
        """Return the functions that update and close a progress bar; `None` if there are no widgets."""
        ...


class NoHost:
    """The host of a registry outside of a notebook: nothing is restored, and nothing drawn without a view."""

    def __init__(self) -> None:
        self.drawn_by: Host | None = None
        """Draws the handles of a visitor's registry, as soon as it has a view."""

    @property
    def is_used(self) -> bool:
        """Return False."""
        return False

    @property
    def wants_runner(self) -> bool:
        """Return False."""
        return False

    def connect(self) -> Backend | None:
        """Return `None`."""
        return None

    def restore_once(self) -> None:
        """Do nothing."""

    def refresh(self) -> None:
        """Refresh the pages of the host that draws views."""
        if self.drawn_by is not None:
            self.drawn_by.refresh()

    def mimebundle(self, shown: object, **options: Any) -> Any | None:  # noqa: ANN401 - as `Host`
        """Return the MIME bundle of the host that draws views; `None` without one."""
        return None if self.drawn_by is None else self.drawn_by.mimebundle(shown, **options)

    def progress_bar(self, total: int) -> tuple[Callable[[Any], object], Callable[[], object]] | None:  # noqa: ARG002 - as `Host`
        """Return `None`."""
        return None
