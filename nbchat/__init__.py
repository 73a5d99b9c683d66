"""Many LLM conversations in one notebook.

Sessions, and the runs that generate answers in them, live in the kernel's registry; widgets and cells
only look. Importing this package is cheap: it restores nothing, and what is used is loaded at its
first use.

::

    import nbchat

    chat = nbchat.ChatTabs()
    geo = chat.session("geo", instructions="Answer briefly.")
    run = geo.send("Which rivers cross Paris?")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbchat.api import (
        allow_nested_loops as allow_nested_loops,
    )
    from nbchat.api import (
        ask as ask,
    )
    from nbchat.api import (
        config as config,
    )
    from nbchat.api import (
        discover as discover,
    )
    from nbchat.api import (
        get_completion as get_completion,
    )
    from nbchat.api import (
        session as session,
    )
    from nbchat.core.errors import (
        AuthenticationFailed as AuthenticationFailed,
    )
    from nbchat.core.errors import (
        CallbackError as CallbackError,
    )
    from nbchat.core.errors import (
        CommandError as CommandError,
    )
    from nbchat.core.errors import (
        ConfigError as ConfigError,
    )
    from nbchat.core.errors import (
        ConnectFailed as ConnectFailed,
    )
    from nbchat.core.errors import (
        ContextTooLong as ContextTooLong,
    )
    from nbchat.core.errors import (
        EmptyResponse as EmptyResponse,
    )
    from nbchat.core.errors import (
        FirstTokenTimeout as FirstTokenTimeout,
    )
    from nbchat.core.errors import (
        IdleTimeout as IdleTimeout,
    )
    from nbchat.core.errors import (
        KernelGone as KernelGone,
    )
    from nbchat.core.errors import (
        LimitExceeded as LimitExceeded,
    )
    from nbchat.core.errors import (
        ModelNotFound as ModelNotFound,
    )
    from nbchat.core.errors import (
        NbchatError as NbchatError,
    )
    from nbchat.core.errors import (
        NothingToDo as NothingToDo,
    )
    from nbchat.core.errors import (
        PauseExpired as PauseExpired,
    )
    from nbchat.core.errors import (
        PicklingRefused as PicklingRefused,
    )
    from nbchat.core.errors import (
        ProtocolError as ProtocolError,
    )
    from nbchat.core.errors import (
        ProviderError as ProviderError,
    )
    from nbchat.core.errors import (
        ProviderErrorEvent as ProviderErrorEvent,
    )
    from nbchat.core.errors import (
        ProviderUnavailable as ProviderUnavailable,
    )
    from nbchat.core.errors import (
        QueueFull as QueueFull,
    )
    from nbchat.core.errors import (
        RateLimited as RateLimited,
    )
    from nbchat.core.errors import (
        RequestRejected as RequestRejected,
    )
    from nbchat.core.errors import (
        RunCrashed as RunCrashed,
    )
    from nbchat.core.errors import (
        RunInProgress as RunInProgress,
    )
    from nbchat.core.errors import (
        RunNotLive as RunNotLive,
    )
    from nbchat.core.errors import (
        RunOver as RunOver,
    )
    from nbchat.core.errors import (
        SessionFull as SessionFull,
    )
    from nbchat.core.errors import (
        SessionGone as SessionGone,
    )
    from nbchat.core.errors import (
        SnapshotCorrupt as SnapshotCorrupt,
    )
    from nbchat.core.errors import (
        SnapshotError as SnapshotError,
    )
    from nbchat.core.errors import (
        SnapshotTooLarge as SnapshotTooLarge,
    )
    from nbchat.core.errors import (
        SnapshotTooNew as SnapshotTooNew,
    )
    from nbchat.core.errors import (
        StaleCommand as StaleCommand,
    )
    from nbchat.core.errors import (
        StoreBusy as StoreBusy,
    )
    from nbchat.core.errors import (
        StoreError as StoreError,
    )
    from nbchat.core.errors import (
        StoreFull as StoreFull,
    )
    from nbchat.core.errors import (
        StoreReadOnly as StoreReadOnly,
    )
    from nbchat.core.errors import (
        StreamBroken as StreamBroken,
    )
    from nbchat.core.errors import (
        StreamTruncated as StreamTruncated,
    )
    from nbchat.core.errors import (
        TooManySessions as TooManySessions,
    )
    from nbchat.core.errors import (
        TotalTimeout as TotalTimeout,
    )
    from nbchat.core.errors import (
        UnknownSession as UnknownSession,
    )
    from nbchat.core.errors import (
        ViewOutOfSync as ViewOutOfSync,
    )
    from nbchat.core.errors import (
        WireError as WireError,
    )
    from nbchat.core.errors import (
        WouldDeadlock as WouldDeadlock,
    )
    from nbchat.core.ids import (
        new_id as new_id,
    )
    from nbchat.core.messages import (
        ImagePart as ImagePart,
    )
    from nbchat.core.messages import (
        Message as Message,
    )
    from nbchat.core.messages import (
        Part as Part,
    )
    from nbchat.core.messages import (
        ReasoningPart as ReasoningPart,
    )
    from nbchat.core.messages import (
        TextPart as TextPart,
    )
    from nbchat.core.messages import (
        ToolCallPart as ToolCallPart,
    )
    from nbchat.core.messages import (
        ToolResultPart as ToolResultPart,
    )
    from nbchat.core.messages import (
        Usage as Usage,
    )
    from nbchat.core.run import (
        RunState as RunState,
    )
    from nbchat.jupyter.widgets import (
        ChatTabs as ChatTabs,
    )
    from nbchat.runtime.limits import (
        Limits as Limits,
    )
    from nbchat.runtime.observers import (
        Notification as Notification,
    )
    from nbchat.runtime.registry import (
        SessionRegistry as SessionRegistry,
    )
    from nbchat.runtime.registry import (
        StreamingInfo as StreamingInfo,
    )
    from nbchat.runtime.run import (
        Progress as Progress,
    )
    from nbchat.runtime.run import (
        Run as Run,
    )
    from nbchat.runtime.session import (
        Session as Session,
    )

    registry: SessionRegistry

__version__ = "0.1.0"

_HOME = {
    "allow_nested_loops": "nbchat.api",
    "ask": "nbchat.api",
    "config": "nbchat.api",
    "discover": "nbchat.api",
    "get_completion": "nbchat.api",
    "session": "nbchat.api",
    "AuthenticationFailed": "nbchat.core.errors",
    "CallbackError": "nbchat.core.errors",
    "CommandError": "nbchat.core.errors",
    "ConfigError": "nbchat.core.errors",
    "ConnectFailed": "nbchat.core.errors",
    "ContextTooLong": "nbchat.core.errors",
    "EmptyResponse": "nbchat.core.errors",
    "FirstTokenTimeout": "nbchat.core.errors",
    "IdleTimeout": "nbchat.core.errors",
    "KernelGone": "nbchat.core.errors",
    "LimitExceeded": "nbchat.core.errors",
    "ModelNotFound": "nbchat.core.errors",
    "NbchatError": "nbchat.core.errors",
    "NothingToDo": "nbchat.core.errors",
    "PauseExpired": "nbchat.core.errors",
    "PicklingRefused": "nbchat.core.errors",
    "ProtocolError": "nbchat.core.errors",
    "ProviderError": "nbchat.core.errors",
    "ProviderErrorEvent": "nbchat.core.errors",
    "ProviderUnavailable": "nbchat.core.errors",
    "QueueFull": "nbchat.core.errors",
    "RateLimited": "nbchat.core.errors",
    "RequestRejected": "nbchat.core.errors",
    "RunCrashed": "nbchat.core.errors",
    "RunInProgress": "nbchat.core.errors",
    "RunNotLive": "nbchat.core.errors",
    "RunOver": "nbchat.core.errors",
    "SessionFull": "nbchat.core.errors",
    "SessionGone": "nbchat.core.errors",
    "SnapshotCorrupt": "nbchat.core.errors",
    "SnapshotError": "nbchat.core.errors",
    "SnapshotTooLarge": "nbchat.core.errors",
    "SnapshotTooNew": "nbchat.core.errors",
    "StaleCommand": "nbchat.core.errors",
    "StoreBusy": "nbchat.core.errors",
    "StoreError": "nbchat.core.errors",
    "StoreFull": "nbchat.core.errors",
    "StoreReadOnly": "nbchat.core.errors",
    "StreamBroken": "nbchat.core.errors",
    "StreamTruncated": "nbchat.core.errors",
    "TooManySessions": "nbchat.core.errors",
    "TotalTimeout": "nbchat.core.errors",
    "UnknownSession": "nbchat.core.errors",
    "ViewOutOfSync": "nbchat.core.errors",
    "WireError": "nbchat.core.errors",
    "WouldDeadlock": "nbchat.core.errors",
    "new_id": "nbchat.core.ids",
    "ImagePart": "nbchat.core.messages",
    "Message": "nbchat.core.messages",
    "Part": "nbchat.core.messages",
    "ReasoningPart": "nbchat.core.messages",
    "TextPart": "nbchat.core.messages",
    "ToolCallPart": "nbchat.core.messages",
    "ToolResultPart": "nbchat.core.messages",
    "Usage": "nbchat.core.messages",
    "RunState": "nbchat.core.run",
    "ChatTabs": "nbchat.jupyter.widgets",
    "Limits": "nbchat.runtime.limits",
    "Notification": "nbchat.runtime.observers",
    "SessionRegistry": "nbchat.runtime.registry",
    "StreamingInfo": "nbchat.runtime.registry",
    "Progress": "nbchat.runtime.run",
    "Run": "nbchat.runtime.run",
    "Session": "nbchat.runtime.session",
}
"""Where each name lives; a module is loaded when its first name is used."""

__all__ = [
    "AuthenticationFailed",
    "CallbackError",
    "ChatTabs",
    "CommandError",
    "ConfigError",
    "ConnectFailed",
    "ContextTooLong",
    "EmptyResponse",
    "FirstTokenTimeout",
    "IdleTimeout",
    "ImagePart",
    "KernelGone",
    "LimitExceeded",
    "Limits",
    "Message",
    "ModelNotFound",
    "NbchatError",
    "NothingToDo",
    "Notification",
    "Part",
    "PauseExpired",
    "PicklingRefused",
    "Progress",
    "ProtocolError",
    "ProviderError",
    "ProviderErrorEvent",
    "ProviderUnavailable",
    "QueueFull",
    "RateLimited",
    "ReasoningPart",
    "RequestRejected",
    "Run",
    "RunCrashed",
    "RunInProgress",
    "RunNotLive",
    "RunOver",
    "RunState",
    "Session",
    "SessionFull",
    "SessionGone",
    "SessionRegistry",
    "SnapshotCorrupt",
    "SnapshotError",
    "SnapshotTooLarge",
    "SnapshotTooNew",
    "StaleCommand",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StreamBroken",
    "StreamTruncated",
    "StreamingInfo",
    "TextPart",
    "TooManySessions",
    "ToolCallPart",
    "ToolResultPart",
    "TotalTimeout",
    "UnknownSession",
    "Usage",
    "ViewOutOfSync",
    "WireError",
    "WouldDeadlock",
    "allow_nested_loops",
    "ask",
    "config",
    "discover",
    "get_completion",
    "new_id",
    "registry",
    "session",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is asked for
    """Load what is used, when it is used."""
    if name == "registry":
        # Not kept here: the registry belongs to the process, not to this copy of the module.
        return import_module("nbchat.api").the_registry()
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'nbchat' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be used, loaded or not."""
    return sorted({*globals(), *__all__})
