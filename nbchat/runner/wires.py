"""`Wires`: the pages of all kernels of a notebook, as its checkpoints see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nbchat.protocol import KernelMessage, People, Saving, Stored, WantCheckpoint

if TYPE_CHECKING:
    from nbchat.wire.server import PageClient, WireServer


class Wires:
    """Several wire servers that are used as one. Only for the engine's loop."""

    def __init__(self) -> None:
        self.client: PageClient | None = None
        """Receives the messages about the notebook's metadata."""
        self._wires: list[WireServer] = []
        self._saving = Saving(state="off")
        self._people: People | None = None

    def __repr__(self) -> str:
        """Return the number of wires."""
        return f"<Wires, {len(self._wires)} kernels>"

    def add(self, wire: WireServer) -> None:
        """Use a wire from now on."""
        wire.saving = self._saving
        self._wires.append(wire)
        if self._people is not None:
            wire.show_people(self._people)

    def remove(self, wire: WireServer) -> None:
        """Stop using a wire: its kernel is gone."""
        self._wires.remove(wire)

    def say(self, message: KernelMessage) -> None:
        """Send a message to the pages of all kernels."""
        for wire in self._wires:
            wire.say(message)

    def show_people(self, people: People) -> None:
        """Send the people of the namespace to the pages of all kernels, now and when they connect."""
        self._people = people
        for wire in self._wires:
            wire.show_people(people)

    @property
    def saving(self) -> Saving:
        """The status of saving, for pages that connect."""
        return self._saving

    @saving.setter
    def saving(self, saving: Saving) -> None:
        self._saving = saving
        for wire in self._wires:
            wire.saving = saving


class PagesOfLink:
    """Passes the messages of one kernel's pages to the client of all. Implements `PageClient`.

    Parameters
    ----------
    wires
        The pages of all kernels.
    epoch
        The epoch of the kernel's pages.
    of_engine
        The engine's epoch, in which the client expects messages.
    """

    def __init__(self, wires: Wires, epoch: str, of_engine: str) -> None:
        self._wires = wires
        self._epoch = epoch
        self._of_engine = of_engine

    def connected(self, wire: WireServer) -> None:
        """Do nothing: the client is connected to all wires."""

    def on_hello(self, page: str) -> None:
        """Pass on that a page connected."""
        if self._wires.client is not None:
            self._wires.client.on_hello(page)

    def on_stored(self, message: Stored) -> None:
        """Pass on a part of the stored state of a page."""
        if self._wires.client is not None:
            self._wires.client.on_stored(message)

    def on_want_checkpoint(self, message: WantCheckpoint) -> None:
        """Pass on a request for a checkpoint, in the engine's epoch."""
        if self._wires.client is not None and message.epoch == self._epoch:
            self._wires.client.on_want_checkpoint(replace(message, epoch=self._of_engine))
