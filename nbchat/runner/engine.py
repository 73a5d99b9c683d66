"""`RunnerEngine`: an engine whose runs use the configuration of the kernel that asked for them.

A run keeps its `Origin`, with the keys of its kernel, until it ends. A prompt that is queued when its kernel
is restarted is therefore sent with the keys that it was asked with. Nothing of an origin is ever written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, cast

from msgspec import UNSET

from nbchat.core.commands import Edit, Resume, SwitchTool
from nbchat.core.errors import ConfigError
from nbchat.core.kernel_commands import Command, Outcome
from nbchat.core.secret import Secret
from nbchat.engine.carry_out import execute_once
from nbchat.engine.config import Origin as Layer
from nbchat.engine.engine import Engine
from nbchat.engine.provider_resolver import ProviderResolver
from nbchat.providers.named import named_provider
from nbchat.runner.messages import STARTS_RUN
from nbchat.runner.objects import KernelProvider
from nbchat.runner.profile import travels
from nbchat.runner.tool_objects import KernelCalls, KernelPolicy, KernelTool

if TYPE_CHECKING:
    from nbchat.core.events import Settings
    from nbchat.core.messages import Author
    from nbchat.core.run import RunRecord
    from nbchat.engine.limits import Limits
    from nbchat.engine.live_session import LiveSession
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.engine.session_log import SessionLog
    from nbchat.providers.base import Provider, Request
    from nbchat.providers.openai import Api
    from nbchat.runner.messages import Profile


Holder = tuple[str, str] | str
"""A run, by the ids of its session and of itself, which the sender chooses; or a batch, by its id."""


class Origin(ProviderResolver):
    """The providers of one kernel, as it was configured when it sent a command.

    Parameters
    ----------
    profile
        The kernel's configuration.
    demo_url
        Returns the URL of the runner's embedded server, of which there is one.
    plugin
        Returns a provider that can only be used in the kernel.
    secrets
        The credentials that sessions refer to; those of the profile are added.
    person
        The person whose kernel it is, in a service.
    """

    def __init__(
        self,
        profile: Profile,
        demo_url: Callable[[], Awaitable[str]],
        plugin: Callable[[str], Provider],
        secrets: dict[str, Secret],
        person: str = "",
    ) -> None:
        super().__init__(profile.environment, secrets.get)
        # A closure, since the profile contains keys.
        self.profile: Callable[[], Profile] = lambda: profile
        self._person = person
        self._url_of_runner = demo_url
        self._plugin = plugin
        for layer, values in profile.layers.items():
            self.defaults.set(values, Layer[layer])
        self.typed_keys = {url: Secret(key) for url, key in profile.keys.items()}
        for reference, value in profile.secrets.items():
            secrets.setdefault(reference, Secret(value))
        for name, server in profile.servers.items():
            made = named_provider(
                name,
                server.base_url,
                server.key_env,
                api=cast("Api", server.api),
                headers=server.headers,
                environment=profile.environment,
                credential=secrets.get,
            )
            self.define(name, made)

    async def demo_url(self) -> str:
        """Return the URL of the runner's embedded server."""
        return await self._url_of_runner()

    async def provider(self, name: str | None) -> Provider:
        """Return a provider; one that a package brings runs in the kernel, which has its configuration."""
        chosen = name or self.defaults.provider
        if travels(chosen, self.profile().servers):
            return await super().provider(name)
        return self._plugin(chosen or "")

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider and the request, unless `own` is an object in another person's kernel."""
        self._check_own(own)
        return await super().choose(own, settings, request)

    async def models(self, own: Provider | None = None, name: str | None = None) -> tuple[str, ...]:
        """Return the models of a provider, unless `own` is an object in another person's kernel."""
        self._check_own(own)
        return await super().models(own, name)

    def _check_own(self, own: Provider | None) -> None:
        if isinstance(own, KernelProvider) and own.person != self._person:
            raise ConfigError(
                f"the provider of this session is an object in the kernel of {own.person}, and only "
                "questions of the same person are sent to it.",
                hint="Fork the session, or give it another provider: nbchat.session(..., provider='openai').",
            )


class RunnerEngine(Engine):
    """The engine of a runner. Only for its loop, as `Engine`.

    Parameters
    ----------
    is_personal
        All kernels belong to one person, so that work without an origin of its own may use the newest one.
    """

    def __init__(
        self, limits: Limits | None = None, loop: LoopThread | None = None, *, is_personal: bool = True
    ) -> None:
        super().__init__(limits, loop, leased=True)
        self.is_shared = not is_personal
        self.latest: Origin | None = None
        """The origin of the newest profile while it is used, for work that belongs to no run."""
        self._used: set[Origin] = set()
        """Origins that a kernel or a run uses."""
        self._origins: dict[Holder, Origin] = {}
        self._retired: set[Origin] = set()
        """Earlier origins of kernels that still have a run."""
        self._secrets: dict[str, Secret] = {}
        self._base: ProviderResolver = self.providers
        self._latest: dict[tuple[str, str], str] = {}
        """The ids of the tools and of the policy that were set last, by session and kind."""

    def may_use(self, provider: Provider | None, author: Author) -> bool:
        """Return whether a person may ask with a provider object: it is in a kernel of this person."""
        return not isinstance(provider, KernelProvider) or provider.person == (author or "")

    def secrets_of_kernel(self) -> dict[str, Secret]:
        """Return where a kernel's credentials are kept: with those of earlier kernels of the same person."""
        return {} if self.is_shared else self._secrets

    async def demo_url(self) -> str:
        """Return the URL of the embedded server."""
        return await self._base.demo_url()

    def use(self, origin: Origin, before: Origin | None) -> None:
        """Use this origin in place of an earlier one of the same kernel, which ends with its last run."""
        self.latest = self.providers = origin
        self._used.add(origin)
        if before is not None:
            self.retire(before)

    def retire(self, origin: Origin) -> None:
        """Close an origin when its last run has ended: its kernel is gone or has another configuration."""
        self._retired.add(origin)
        self._close_unused()

    def _close_unused(self) -> None:
        """Close and forget the origins that no kernel and no run uses, with their keys."""
        for origin in self._retired - set(self._origins.values()):
            self._retired.discard(origin)
            self._used.discard(origin)
            if origin is self.latest:
                self.latest, self.providers = None, self._base
            self.loop.spawn(origin.aclose(), name="nbchat-close-origin")
        if not self._used:
            self._secrets.clear()

    def execute(self, command: Command, origin: Origin, author: Author = UNSET) -> Outcome:
        """Execute a command of a kernel or of one of its pages; a repeated one is executed once.

        Parameters
        ----------
        author
            The person who sent it, as a service identified them.
        """
        is_new = self.outcomes.get(command.id) is None
        outcome = execute_once(self, command, author)
        if is_new and isinstance(command, STARTS_RUN):
            run_id = outcome.run_id
            if isinstance(command, Edit) and run_id is None:
                run_id = self._queued(command)
            holder = (command.session_id, run_id or "")
            # In a team, a run that another person resumes is still paid by the person who asked.
            is_paid = self.is_shared and isinstance(command, Resume) and holder in self._origins
            if run_id is not None and not is_paid:
                self.hold(holder, origin)
        if isinstance(command, SwitchTool):
            self._notify_switched(command.session_id)
        return outcome

    def _queued(self, command: Edit) -> str | None:
        """Return the run of a queued question; the person who edited it pays for it."""
        runs = self.session(command.session_id).state.runs
        found = (run.id for run in runs if run.prompt is not None and run.prompt.id == command.message_id)
        return next(found, None)

    # Tools

    def use_tools(
        self, session: LiveSession, set_id: str, tools: tuple[KernelTool, ...], off: Collection[str]
    ) -> None:
        """Set the tools of a session, and notify the kernel that had set others."""
        self._latest[session.id, "tools"] = set_id
        for known in session.offered_tools[:1]:
            if isinstance(known, KernelTool) and known.tools.id != set_id:
                known.tools.calls.notify("tools_replaced", tools=known.tools.id)
        session.use_tools(tools)
        if off:
            session.tools = tuple(tool for tool in tools if tool.spec.name not in off)
            session.publish()

    def use_policy(self, session: LiveSession, policy_id: str, policy: KernelPolicy | None) -> None:
        """Set the policy of a session, and notify the kernel that had set another one."""
        self._latest[session.id, "policy"] = policy_id
        if isinstance(session.policy, KernelPolicy) and session.policy.id != policy_id:
            session.policy.calls.notify("policy_replaced", policy=session.policy.id)
        session.policy = policy

    def is_latest(self, session_id: str, kind: str, known_id: str) -> bool:
        """Return whether no tools or no policy were set after those with this id."""
        return self._latest.get((session_id, kind), known_id) == known_id

    def drop(self, calls: KernelCalls) -> None:
        """Forget the tools and policies of a kernel that is gone."""
        for session in self.sessions:
            if isinstance(session.policy, KernelPolicy) and session.policy.calls is calls:
                session.policy = None
            session.drop_gone_tools()

    def _notify_switched(self, session_id: str) -> None:
        """Notify the kernel of a session's tools which of them a page switched off."""
        session = self.sessions.get(session_id)
        for known in () if session is None else session.offered_tools[:1]:
            if session is not None and isinstance(known, KernelTool):
                off = [tool.spec.name for tool in session.offered_tools if tool not in session.tools]
                known.tools.calls.notify("tools_switched", tools=known.tools.id, off=off)

    def _origin_of(self, session_id: str, run_id: str) -> Origin | None:
        return self._origins.get((session_id, run_id), None if self.is_shared else self.latest)

    def providers_of(self, session_id: str, run_id: str) -> ProviderResolver:
        """Return the providers of the kernel that a run belongs to."""
        return self._origin_of(session_id, run_id) or self._base

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider of the run's kernel."""
        origin = self._origin_of(request.session_id, request.run_id)
        if origin is None:
            raise ConfigError(
                "the runner has received no address of a server from a kernel.", hint="Ask again."
            )
        return await origin.choose(own, settings, request)

    def ended(self, session: SessionLog, run: RunRecord) -> None:
        """Forget the run's origin, with its keys."""
        super().ended(session, run)
        self.release((session.id, run.id))

    def hold(self, holder: Holder, origin: Origin) -> None:
        """Keep an origin, in place of an earlier one, for a run or a batch until `release`."""
        before = self._origins.get(holder)
        self._origins[holder] = origin
        if before in self._retired:
            self._close_unused()

    def release(self, holder: Holder) -> None:
        """Forget the origin of a run or a batch that has ended, with its keys."""
        if self._origins.pop(holder, None) in self._retired:
            self._close_unused()

    async def close_providers(self) -> None:
        """Close what all origins and the embedded server keep open."""
        await super().close_providers()
        for origin in {*self._retired, *self._origins.values()}:
            await origin.aclose()
        await self._base.aclose()
