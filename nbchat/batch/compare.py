"""`Comparison`: one prompt, answered by several models side by side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.text import cut
from nbchat.core.text_table import Table
from nbchat.handles.data_frames import rate, runs_frame
from nbchat.handles.host import Host, NoHost
from nbchat.handles.run import check_timeout

if TYPE_CHECKING:
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.run import Run
    from nbchat.handles.session import Session

MAX_MODELS: Final = 20

COLUMNS: Final = ("model", "state", "first token (s)", "duration (s)", "tokens/s", "tokens", "characters")


class Comparison:
    """Sessions of several models with the same prompt, and the figures of their answers; see `compare`.

    As a cell's result it is a live view: the sessions side by side while they stream, with the table below.
    It holds no state, so it can be displayed again, and also shows later messages of its sessions.

    Attributes
    ----------
    prompt
        The prompt.
    runs
        The runs, in the order of the models.

    Examples
    --------
    >>> both = nbchat.compare("Hello", models=["nbchat-echo", "nbchat-tour"]).wait()
    >>> [session.model for session in both]
    ['nbchat-echo', 'nbchat-tour']
    >>> both.send("And once more?").wait()["nbchat-echo"].messages[-1].text
    'And once more?'
    """

    def __init__(
        self, prompt: str, sessions: Sequence[Session], runs: Sequence[Run], host: Host | None = None
    ) -> None:
        self.prompt = prompt
        self.runs: tuple[Run, ...] = tuple(runs)
        self._sessions = tuple(sessions)
        self._host: Host = NoHost() if host is None else host

    def __repr__(self) -> str:
        """Return the table as aligned text."""
        return repr(self.table())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's protocol
        shown = self._host.mimebundle(self, **kwargs)
        return {"text/plain": repr(self)} if shown is None else shown

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions, in the order of the models."""
        return self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def __getitem__(self, key: int | str) -> Session:
        """Return a session by its index, or the first one of a model.

        Raises
        ------
        KeyError, IndexError
            If there is no such session.
        """
        if isinstance(key, int):
            return self._sessions[key]
        for session in self._sessions:
            if session.model == key:
                return session
        raise KeyError(key)

    def send(self, prompt: str) -> Comparison:
        """Send another prompt to all sessions, and return the comparison of its answers."""
        runs = [session.send(prompt) for session in self._sessions]
        return Comparison(prompt, self._sessions, runs, self._host)

    def wait(self, timeout: float | None = None) -> Comparison:
        """Wait until all have answered, and return the comparison; errors are not raised.

        Raises
        ------
        TimeoutError
            If a run is not over after `timeout` seconds; all runs continue.
        WouldDeadlock
            If called on the engine's own thread.
        """
        check_timeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        for run in self.runs:
            run.wait(None if until is None else max(until - time.monotonic(), 0.0))
        return self

    def stop(self) -> None:
        """Stop those that have not answered yet; their text is kept."""
        for run in self.runs:
            run.stop()

    def table(self) -> Table:
        """Return the current figures: time to the first token, duration, tokens per second, length.

        Token counts are those reported by the server, and empty if it reported none.
        """
        return Table(COLUMNS, [_row(session, run) for session, run in zip(self, self.runs, strict=True)])

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each run of these sessions; as `registry.to_frame`."""
        return runs_frame([session._state for session in self._sessions], library)  # noqa: SLF001 - a handle


def _row(session: Session, run: Run) -> tuple[Any, ...]:
    now, usage = run.progress, run.usage
    tokens = usage.output_tokens if usage is not None else None
    streamed_s = (
        now.ended_at - now.first_delta_at
        if now.ended_at is not None and now.first_delta_at is not None
        else None
    )
    return (
        session.model or run.model,
        f"{run.state}: {run.error.code}" if run.error is not None else str(run.state),
        now.time_to_first_token_s,
        now.elapsed_s if now.started_at is not None else None,
        rate(tokens, streamed_s),
        tokens,
        len(run.text),
    )


def run_compare(
    registry: SessionRegistry,
    host: Host,
    prompt: str,
    models: Iterable[str | Mapping[str, Any]],
    *,
    instructions: str | None,
    params: Mapping[str, Any] | None,
) -> Comparison:
    """Send one prompt to several models, each in its own session; see `nbchat.compare`."""
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt must be a string, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("the prompt is empty; write what you want to ask.")
    common = {"instructions": instructions, "params": params}
    chosen = [common | one for one in _listed(models)]
    made: list[Session] = []
    try:
        for settings in chosen:
            title = settings.pop("title", None) or f"{settings.get('model') or 'default'}: {_short(prompt)}"
            made.append(registry.create(title, **settings))
    except BaseException:
        for session in made:
            session.delete()
        raise
    # Sent after all sessions exist, so that the runs start together.
    return Comparison(prompt, made, [session.send(prompt) for session in made], host)


def _listed(models: Iterable[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(models, str | Mapping) or not isinstance(models, Iterable):
        raise TypeError(f"models must be a list of models, as [{models!r}].")
    listed = []
    for one in models:
        if isinstance(one, str):
            listed.append({"model": one})
        elif isinstance(one, Mapping):
            unknown = set(one) - {"title", "model", "instructions", "params", "provider"}
            if unknown:
                raise TypeError(f"a model has no setting {min(unknown)!r}.")
            listed.append(dict(one))
        else:
            raise TypeError(f"a model is a name or a mapping of settings, not {type(one).__name__}.")
    if not 1 <= len(listed) <= MAX_MODELS:
        raise ValueError(f"compare takes from 1 to {MAX_MODELS} models, not {len(listed)}.")
    return listed


def _short(text: str) -> str:
    return cut(" ".join(text.split()), 40)


__all__ = ["Comparison"]
