# Names of the package and the modules that define them. This is their only list: `__init__.py` reads it when
# a name is first used, and type checkers read it too.

from typing import Any

from nbchat import tools as tools

from nbchat.api.batches import (
    compare as compare,
    map as map,
)
from nbchat.api.files import (
    import_ as import_,
    load as load,
)
from nbchat.api.sessions import (
    ask as ask,
    get_completion as get_completion,
    session as session,
    sessions as sessions,
    stop_all as stop_all,
)
from nbchat.api.setup import (
    allow_nested_loops as allow_nested_loops,
    clear_cache as clear_cache,
    config as config,
    discover as discover,
    models as models,
    provider as provider,
)
from nbchat.api.servers import (
    mcp as mcp,
)
from nbchat.batch.compare import (
    Comparison as Comparison,
)
from nbchat.batch.results import (
    BatchProgress as BatchProgress,
    Result as Result,
    Results as Results,
)
from nbchat.context.descriptions import (
    describe as describe,
)
from nbchat.core.alert import (
    Alert as Alert,
)
from nbchat.core.calls import (
    ToolCall as ToolCall,
)
from nbchat.core.errors import (
    AnswerInvalid as AnswerInvalid,
    AuthenticationFailed as AuthenticationFailed,
    CallbackError as CallbackError,
    CommandError as CommandError,
    ConfigError as ConfigError,
    ConnectFailed as ConnectFailed,
    ContextTooLong as ContextTooLong,
    EmptyResponse as EmptyResponse,
    FirstTokenTimeout as FirstTokenTimeout,
    IdleTimeout as IdleTimeout,
    KernelGone as KernelGone,
    LimitExceeded as LimitExceeded,
    ModelNotFound as ModelNotFound,
    NbchatError as NbchatError,
    NothingToDo as NothingToDo,
    Orphaned as Orphaned,
    PauseExpired as PauseExpired,
    PicklingRefused as PicklingRefused,
    ProtocolError as ProtocolError,
    ProviderError as ProviderError,
    ProviderErrorEvent as ProviderErrorEvent,
    ProviderUnavailable as ProviderUnavailable,
    QueueFull as QueueFull,
    RateLimited as RateLimited,
    RequestRejected as RequestRejected,
    RunCrashed as RunCrashed,
    RunInProgress as RunInProgress,
    RunNotLive as RunNotLive,
    RunOver as RunOver,
    SessionFull as SessionFull,
    SessionGone as SessionGone,
    SnapshotCorrupt as SnapshotCorrupt,
    SnapshotError as SnapshotError,
    SnapshotTooLarge as SnapshotTooLarge,
    SnapshotTooNew as SnapshotTooNew,
    StaleCommand as StaleCommand,
    StoreBusy as StoreBusy,
    StoreError as StoreError,
    StoreFull as StoreFull,
    StoreReadOnly as StoreReadOnly,
    StreamBroken as StreamBroken,
    StreamTruncated as StreamTruncated,
    TooManySessions as TooManySessions,
    TotalTimeout as TotalTimeout,
    UnknownSession as UnknownSession,
    WireError as WireError,
    WouldDeadlock as WouldDeadlock,
)
from nbchat.core.ids import (
    new_id as new_id,
)
from nbchat.core.messages import (
    FilePart as FilePart,
    ImagePart as ImagePart,
    Message as Message,
    Part as Part,
    ReasoningPart as ReasoningPart,
    Source as Source,
    TextPart as TextPart,
    ToolCallPart as ToolCallPart,
    ToolResultPart as ToolResultPart,
    Usage as Usage,
)
from nbchat.core.run import (
    RunState as RunState,
)
from nbchat.engine.callbacks import (
    Notification as Notification,
)
from nbchat.engine.limits import (
    Limits as Limits,
)
from nbchat.handles.progress import (
    Progress as Progress,
)
from nbchat.handles.registry import (
    SessionRegistry as SessionRegistry,
)
from nbchat.handles.run import (
    Run as Run,
)
from nbchat.handles.session import (
    Session as Session,
)
from nbchat.handles.streaming_info import (
    StreamingInfo as StreamingInfo,
)
from nbchat.jupyter.widgets import (
    ChatTabs as ChatTabs,
)
from nbchat.tools.function_tool import (
    tool as tool,
)

registry: SessionRegistry
__version__: str

def load_ipython_extension(shell: Any) -> None: ...
