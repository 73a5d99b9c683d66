"""`NbChat`: IPython configuration, `c.NbChat.model = …` in a file or `%config NbChat.model = …` in a cell.

The values are stored in `Defaults`; IPython reads and sets them through this class.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import traitlets
from traitlets.config import Configurable

from nbchat.engine.config import FIELDS, Origin, checked
from nbchat.engine.provider_resolver import ProviderResolver

if TYPE_CHECKING:
    from nbchat.engine.config import Defaults

logger = logging.getLogger("nbchat")


_Settings: Any = type(
    "_Settings",
    (Configurable,),
    {
        name: traitlets.Unicode(None, allow_none=True, help=text).tag(config=True)
        for name, text in FIELDS.items()
    },
)
"""A class with a trait for each setting."""


class NbChat(_Settings):  # type: ignore[misc]  # its traits are those of `FIELDS`
    """Defaults of nbchat's sessions. `nbchat.config()` returns the effective values and their origins.

    In `ipython_config.py`::

        c.NbChat.model = "qwen3"
        c.NbChat.base_url = "http://localhost:11434/v1"

    In a cell, after `%load_ext nbchat`::

        %config NbChat.model = "qwen3"
    """

    providers = traitlets.Dict(
        help="Named providers, as {'local': {'base_url': 'http://localhost:11434/v1', 'key_env': 'MY_KEY'}}. "
        "key_env names the environment variable with the key; it can be left out."
    ).tag(config=True)

    def __init__(self, defaults: Defaults, **kwargs: Any) -> None:  # noqa: ANN401 - as Configurable
        self.defaults = defaults
        self._in_step = True
        super().__init__(**kwargs)
        # Values that traitlets has set by now come from a file or the command line.
        defaults.set({name: getattr(self, name) for name in FIELDS}, Origin.FILE)
        self._in_step = False
        self._follow()
        defaults.watch(self._follow)

    @traitlets.validate(*FIELDS)
    def _check(self, proposal: Any) -> str | None:  # noqa: ANN401 - traitlets' proposal
        try:
            return checked(proposal["trait"].name, proposal["value"])
        except (TypeError, ValueError) as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.observe(*FIELDS)
    def _set(self, change: Any) -> None:  # noqa: ANN401 - traitlets' change
        if not self._in_step:
            self.defaults.set({change["name"]: change["new"]})

    def _follow(self) -> None:
        """Copy the configured values into the traits; a removed value falls back to the file's."""
        self._in_step = True
        try:
            for name in FIELDS:
                setattr(self, name, self.defaults.configured(name))
        finally:
            self._in_step = False


def attach(providers: ProviderResolver) -> NbChat | None:
    """Connect the defaults to IPython's configuration, once; return `None` if no shell is running."""
    from IPython import get_ipython  # noqa: PLC0415 - called only where it is loaded

    defaults = providers.defaults
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if shell is None:
        return None
    for known in shell.configurables:
        if isinstance(known, NbChat) and known.defaults is defaults:
            return known
    try:
        made = NbChat(defaults, parent=shell)
    except traitlets.TraitError as error:
        # An error in a file must not make every later call fail.
        logger.warning("nbchat's configuration was ignored: %s", error)
        made = NbChat(defaults)
    for name, given in made.providers.items():
        from nbchat.providers.named import NamedServer, named_provider  # noqa: PLC0415 - only where one is configured

        try:
            server = NamedServer.of(given)
            fields = (server.base_url, server.key_env)
            provider = named_provider(name, *fields, api=server.api, headers=server.headers)
            providers.define(name, provider, server)
        except (TypeError, ValueError) as error:
            logger.warning("the provider %r of nbchat's configuration was ignored: %s", name, error)
    shell.configurables.append(made)
    return made
