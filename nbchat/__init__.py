"""Many LLM conversations in one notebook.

Sessions, and the runs that generate answers in them, are kept in the kernel's registry. Widgets and cells
are views of it. Importing this package is cheap: it restores nothing, and modules are loaded at their
first use.

::

    import nbchat

    chat = nbchat.ChatTabs()
    geo = chat.session("geo", instructions="Answer briefly.")
    run = geo.send("Which rivers cross Paris?")
"""

from __future__ import annotations

# Imported early: the import fails after the main thread of a script has ended, and another thread may be
# the first to use nbchat.
import concurrent.futures.thread  # noqa: F401
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbchat.core.version import VERSION

if TYPE_CHECKING:
    from nbchat.api import (
        allow_nested_loops,
        ask,
        compare,
        config,
        discover,
        get_completion,
        import_,
        load,
        map,  # noqa: A004 - read as nbchat.map
        models,
        provider,
        session,
        sessions,
        stop_all,
    )
    from nbchat.batch.compare import Comparison
    from nbchat.batch.results import BatchProgress, Result, Results
    from nbchat.context.descriptions import describe
    from nbchat.core.errors import (
        AuthenticationFailed,
        CallbackError,
        CommandError,
        ConfigError,
        ConnectFailed,
        ContextTooLong,
        EmptyResponse,
        FirstTokenTimeout,
        IdleTimeout,
        KernelGone,
        LimitExceeded,
        ModelNotFound,
        NbchatError,
        NothingToDo,
        PauseExpired,
        PicklingRefused,
        ProtocolError,
        ProviderError,
        ProviderErrorEvent,
        ProviderUnavailable,
        QueueFull,
        RateLimited,
        RequestRejected,
        RunCrashed,
        RunInProgress,
        RunNotLive,
        RunOver,
        SessionFull,
        SessionGone,
        SnapshotCorrupt,
        SnapshotError,
        SnapshotTooLarge,
        SnapshotTooNew,
        StaleCommand,
        StoreBusy,
        StoreError,
        StoreFull,
        StoreReadOnly,
        StreamBroken,
        StreamTruncated,
        TooManySessions,
        TotalTimeout,
        UnknownSession,
        ViewOutOfSync,
        WireError,
        WouldDeadlock,
    )
    from nbchat.core.ids import (
        new_id,
    )
    from nbchat.core.messages import (
        FilePart,
        ImagePart,
        Message,
        Part,
        ReasoningPart,
        Source,
        TextPart,
        ToolCallPart,
        ToolResultPart,
        Usage,
    )
    from nbchat.core.run import (
        RunState,
    )
    from nbchat.engine.callbacks import (
        Notification,
    )
    from nbchat.engine.limits import (
        Limits,
    )
    from nbchat.handles.registry import (
        SessionRegistry,
    )
    from nbchat.handles.run import (
        Progress,
        Run,
    )
    from nbchat.handles.session import (
        Session,
    )
    from nbchat.handles.streaming_info import (
        StreamingInfo,
    )
    from nbchat.jupyter.widgets import (
        ChatTabs,
    )

    registry: SessionRegistry

__version__ = VERSION

_HOME = {
    "allow_nested_loops": "nbchat.api",
    "ask": "nbchat.api",
    "config": "nbchat.api",
    "discover": "nbchat.api",
    "get_completion": "nbchat.api",
    "import_": "nbchat.api",
    "load": "nbchat.api",
    "models": "nbchat.api",
    "provider": "nbchat.api",
    "session": "nbchat.api",
    "sessions": "nbchat.api",
    "stop_all": "nbchat.api",
    "BatchProgress": "nbchat.batch.results",
    "Result": "nbchat.batch.results",
    "Results": "nbchat.batch.results",
    "map": "nbchat.api",
    "Comparison": "nbchat.batch.compare",
    "compare": "nbchat.api",
    "describe": "nbchat.context.descriptions",
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
    "Source": "nbchat.core.messages",
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
    "FilePart": "nbchat.core.messages",
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
    "Limits": "nbchat.engine.limits",
    "Notification": "nbchat.engine.callbacks",
    "SessionRegistry": "nbchat.handles.registry",
    "StreamingInfo": "nbchat.handles.streaming_info",
    "Progress": "nbchat.handles.run",
    "Run": "nbchat.handles.run",
    "Session": "nbchat.handles.session",
}
"""Module of each public name. A module is loaded when one of its names is first used."""

__all__ = [
    "AuthenticationFailed",
    "BatchProgress",
    "CallbackError",
    "ChatTabs",
    "CommandError",
    "Comparison",
    "ConfigError",
    "ConnectFailed",
    "ContextTooLong",
    "EmptyResponse",
    "FilePart",
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
    "Result",
    "Results",
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
    "Source",
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
    "compare",
    "config",
    "describe",
    "discover",
    "get_completion",
    "import_",
    "load",
    "map",
    "models",
    "new_id",
    "provider",
    "registry",
    "session",
    "sessions",
    "stop_all",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is asked for
    """Return a public name and load its module at the first use."""
    if name == "registry":
        # Not cached: the registry belongs to the process, not to this copy of the module.
        return import_module("nbchat.api").the_registry()
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'nbchat' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, without internal modules, for completion."""
    return sorted([*__all__, "__version__", "__doc__"])


def load_ipython_extension(shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
    """Add `%chat`, `%%chat` and the configuration of `NbChat` to IPython: `%load_ext nbchat`."""
    from nbchat.jupyter.magics import load  # noqa: PLC0415 - IPython is there

    load(shell)
