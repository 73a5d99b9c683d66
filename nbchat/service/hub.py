"""`HubAuthority`: identifies people by the tokens that JupyterHub gives to their servers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httpx2
import msgspec

from nbchat.core.errors import ConfigError
from nbchat.service.access import AuthorityUnavailable, hash_of

logger = logging.getLogger("nbchat")

API_URL: Final = "JUPYTERHUB_API_URL"
"""Variable with the address of the hub's API."""

SERVICE_NAME: Final = "JUPYTERHUB_SERVICE_NAME"
"""Variable with the name that the hub's configuration gives to the service."""

KEEP_S: Final = 10.0
"""Time for which an answer of the hub is used again. Links are checked at intervals of `RECHECK_S`, so that a
token that is revoked in the hub ends its links after at most the sum of both."""

ANSWER_S: Final = 10.0
"""Longest wait for an answer of the hub."""


class _Identity(msgspec.Struct):
    """The part of the hub's answer that is used here.

    Notes
    -----
    `GET /user` in the JupyterHub REST API.
    """

    kind: str
    name: str
    scopes: frozenset[str]
    groups: frozenset[str] = frozenset()


class HubAuthority:
    """Asks JupyterHub about the owner of each token. Implements `Authority`. Only for the service's loop.

    A token is accepted if it belongs to a user and permits access to this service.

    Parameters
    ----------
    environment
        Has `JUPYTERHUB_API_URL` and `JUPYTERHUB_SERVICE_NAME` (default: nbchat), which JupyterHub sets for a
        service that it starts.

    Raises
    ------
    ConfigError
        If there is no address of the hub's API.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        url = environment.get(API_URL, "")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"{API_URL} must be the address of the API of JupyterHub, not {url!r}.",
                hint="JupyterHub sets it for a service that it starts; such as http://127.0.0.1:8081/hub/api.",
            )
        self.service = environment.get(SERVICE_NAME) or "nbchat"
        self._url = f"{url.rstrip('/')}/user"
        self._accepted = {"access:services", f"access:services!service={self.service}"}
        self._asked: dict[str, tuple[float, asyncio.Task[str | None]]] = {}
        """By the token's hash: the time of the request, and its result. In the order of the times."""
        self._client: httpx2.AsyncClient | None = None
        self._is_available = True
        self._groups: dict[str, frozenset[str]] = {}
        """By the name of an accepted user."""

    def __repr__(self) -> str:
        """Return the address of the hub's API."""
        return f"<HubAuthority {self._url}>"

    async def person(self, token: str) -> str | None:
        """Return the name of the user with this token.

        Raises
        ------
        AuthorityUnavailable
            If the hub does not answer.
        """
        if not token.isascii() or not token.isprintable():
            return None  # such a token cannot be sent, and the hub creates none
        now = asyncio.get_running_loop().time()
        for key, (time, _) in list(self._asked.items()):
            if time + KEEP_S > now:
                break
            del self._asked[key]
        key = hash_of(token)
        if key not in self._asked:
            asking = asyncio.create_task(self._ask(token), name="nbchat-hub-ask")
            self._asked[key] = now, asking
            asking.add_done_callback(lambda _: self._forget_unless_accepted(key, asking))
        return await asyncio.shield(self._asked[key][1])  # other links may wait for the same answer

    def _forget_unless_accepted(self, key: str, asking: asyncio.Task[str | None]) -> None:
        is_accepted = not asking.cancelled() and asking.exception() is None and asking.result() is not None
        if not is_accepted and key in self._asked and self._asked[key][1] is asking:
            del self._asked[key]

    async def _ask(self, token: str) -> str | None:
        if self._client is None:
            # No proxy of the environment is used: it would see the tokens.
            self._client = httpx2.AsyncClient(
                verify=httpx2.create_ssl_context(), trust_env=False, timeout=ANSWER_S
            )
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._client.get(self._url, headers={"Authorization": f"Bearer {token}"})
            if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                self._note_availability(None)
                return None
            if response.status_code != HTTPStatus.OK:
                raise self._unavailable(f"status {response.status_code}")
            identity = msgspec.json.decode(response.content, type=_Identity)
        except (httpx2.HTTPError, OSError, msgspec.DecodeError) as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error
        self._note_availability(None)
        return self._accepted_name(identity)

    def _accepted_name(self, identity: _Identity) -> str | None:
        if identity.kind != "user":  # the name of a service could be that of a user
            logger.warning("a token of the %s %r was refused", identity.kind, identity.name)
            return None
        if not self._accepted & identity.scopes:
            logger.warning(
                "a token of %r was refused: it has not the scope access:services!service=%s",
                identity.name,
                self.service,
            )
            return None
        if not identity.name.strip():
            logger.warning("a token was refused: its user has no name")
            return None
        self._groups[identity.name] = identity.groups
        return identity.name

    def groups(self, person: str) -> frozenset[str]:
        """Return the groups of a user in the hub when a token of theirs was last accepted."""
        return self._groups.get(person, frozenset())

    def _unavailable(self, reason: str) -> AuthorityUnavailable:
        self._note_availability(reason)
        return AuthorityUnavailable("JupyterHub does not answer, so that tokens cannot be checked")

    def _note_availability(self, reason: str | None) -> None:
        if self._is_available != (reason is None):
            self._is_available = reason is None
            if reason is None:
                logger.info("JupyterHub answers again")
            else:
                logger.warning("JupyterHub at %s does not answer: %s", self._url, reason)

    async def close(self) -> None:
        """End requests and connections."""
        asking = [task for _, task in self._asked.values()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None
