"""`RunnerEngine`: an engine whose runs use the configuration of the kernel that asked for them.

A run keeps its `Origin`, with the keys of its kernel, until it ends. A prompt that is queued when its kernel
is restarted is therefore sent with the keys that it was asked with. Nothing of an origin is ever written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from nbchat.core.errors import ConfigError
from nbchat.core.kernel_commands import Command, Outcome
from nbchat.core.secret import Secret, remember
from nbchat.engine.carry_out import execute_once
from nbchat.engine.config import Origin as Layer
from nbchat.engine.engine import Engine
from nbchat.engine.provider_resolver import DEMO, ProviderResolver
from nbchat.providers.named import named_provider
from nbchat.runner.messages import STARTS_RUN
from nbchat.runner.profile import travels

if TYPE_CHECKING:
    from nbchat.core.events import Settings
    from nbchat.core.run import RunRecord
    from nbchat.engine.session_log import SessionLog
    from nbchat.providers.base import Provider, Request
    from nbchat.providers.openai import Api
    from nbchat.runner.messages import Profile


class Origin(ProviderResolver):
    """The providers of one kernel, as it was configured when it sent a command.

    Parameters
    ----------
    profile
        The kernel's configuration.
    demo
        Returns the provider of the runner's embedded server, of which there is one.
    plugin
        Returns a provider that can only be used in the kernel.
    """

    def __init__(
        self, profile: Profile, demo: Callable[[], Awaitable[Provider]], plugin: Callable[[str], Provider]
    ) -> None:
        super().__init__(profile.environment)
        # A closure, since the profile contains keys.
        self.profile: Callable[[], Profile] = lambda: profile
        self._demo_of_runner = demo
        self._plugin = plugin
        for layer, values in profile.layers.items():
            self.defaults.set(values, Layer[layer])
        self.typed_keys = {url: Secret(key) for url, key in profile.keys.items()}
        for reference, value in profile.secrets.items():
            remember(reference, value)
        for name, server in profile.servers.items():
            made = named_provider(
                name,
                server.base_url,
                server.key_env,
                api=cast("Api", server.api),
                headers=server.headers,
                environment=profile.environment,
            )
            self.define(name, made)

    async def _demo(self) -> Provider:
        return await self._demo_of_runner()

    async def provider(self, name: str | None) -> Provider:
        """Return a provider; one that a package brings runs in the kernel, which has its configuration."""
        chosen = name or self.defaults.provider
        if travels(chosen, self.profile().servers):
            return await super().provider(name)
        return self._plugin(chosen or "")


class RunnerEngine(Engine):
    """The engine of a runner. Only for its loop, as `Engine`."""

    def __init__(self) -> None:
        super().__init__(leased=True)
        self.latest: Origin | None = None
        """The origin of the newest profile, for work that belongs to no run."""
        self._origins: dict[str, Origin] = {}
        self._retired: set[Origin] = set()
        """Earlier origins of kernels that still have a run."""
        self._base: ProviderResolver = self.providers

    async def demo(self) -> Provider:
        """Return the provider of the embedded server."""
        return await self._base.provider(DEMO)

    def use(self, origin: Origin, before: Origin | None) -> None:
        """Use this origin in place of an earlier one of the same kernel, which ends with its last run."""
        self.latest = self.providers = origin
        if before is not None:
            self.retire(before)

    def retire(self, origin: Origin) -> None:
        """Close an origin when its last run has ended: its kernel is gone or has another configuration."""
        self._retired.add(origin)
        self._close_unused()

    def _close_unused(self) -> None:
        """Close the connections of origins that no kernel and no run uses."""
        for origin in self._retired - set(self._origins.values()):
            self._retired.discard(origin)
            self.loop.spawn(origin.aclose(), name="nbchat-close-origin")

    def execute(self, command: Command, origin: Origin) -> Outcome:
        """Execute a command of a kernel or of one of its pages; a repeated one is executed once."""
        is_new = self.outcomes.get(command.id) is None
        outcome = execute_once(self, command)
        if is_new and isinstance(command, STARTS_RUN) and outcome.run_id is not None:
            self.hold(outcome.run_id, origin)
        return outcome

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider of the run's kernel."""
        origin = self._origins.get(request.run_id, self.latest)
        if origin is None:
            raise ConfigError(
                "the runner has received no address of a server from a kernel.", hint="Ask again."
            )
        return await origin.choose(own, settings, request)

    def ended(self, session: SessionLog, run: RunRecord) -> None:
        """Forget the run's origin, with its keys."""
        super().ended(session, run)
        self.release(run.id)

    def hold(self, name: str, origin: Origin) -> None:
        """Keep an origin for a run or a batch until `release`."""
        self._origins[name] = origin

    def release(self, name: str) -> None:
        """Forget the origin of a run or a batch that has ended, with its keys."""
        if self._origins.pop(name, None) in self._retired:
            self._close_unused()

    async def close_providers(self) -> None:
        """Close what all origins and the embedded server keep open."""
        await super().close_providers()
        for origin in {*self._retired, *self._origins.values()}:
            await origin.aclose()
        await self._base.aclose()
