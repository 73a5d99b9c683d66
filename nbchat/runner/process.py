"""`run`: the process of a runner, from its start to its end."""

from __future__ import annotations

import logging
import logging.handlers
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbchat.core.errors import NbchatError
from nbchat.engine.logs import Redacting
from nbchat.runner.engine import RunnerEngine
from nbchat.runner.places import Place
from nbchat.runner.server import Make, RunnerServer

logger = logging.getLogger("nbchat")

MAX_LOG: Final = 1024 * 1024
"""Bytes of a log file; one older file is kept."""

END_S: Final = 5.0
"""Longest time to write what is left when the process ends."""


def run(notebook: str, folder: Path, make: Make) -> None:
    """Serve a notebook's kernels until no one needs the process any longer.

    Parameters
    ----------
    notebook
        Path of the notebook.
    folder
        Folder of the socket.
    make
        Connects the server with the notebook.
    """
    os.umask(0o077)
    place = Place(notebook, folder)
    _log_to(place.log)
    engine = RunnerEngine()
    server = RunnerServer(place, engine)
    server.saved = make(server)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.loop.post(server.drain))
    engine.loop.run(server.start())
    logger.info("runner %d of %s listens at %s", os.getpid(), notebook, place.address)
    while not server.over.wait(1.0):  # in steps, so that signals are handled on every platform
        pass
    with suppress(NbchatError, TimeoutError):
        engine.loop.run(server.close(), END_S)
    engine.shutdown(END_S)
    logger.info("runner %d ended", os.getpid())


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_LOG, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(Redacting())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
