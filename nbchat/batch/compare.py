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
    """Sessions that were asked the same, and how they answer. Returned by `compare`.

    Shown as a cell's result it is a live view: the sessions side by side while they stream, and the table
    below. It holds nothing of its own, so it can be shown again, and whatever is asked in one of its
    sessions stands there too.

    Attributes
    ----------
    prompt
        What was asked.
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
        """Return the table, lined up."""
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
        """Return a session by its place, or the first of a model.

        Raises
        ------
        KeyError, IndexError
            There is none.
        """
        if isinstance(key, int):
            return self._sessions[key]
        for session in self._sessions:
            if session.model == key:
                return session
        raise KeyError(key)

    def send(self, prompt: str) -> Comparison:
        """Ask all sessions one more thing, and return the comparison of these answers."""
        runs = [session.send(prompt) for session in self._sessions]
        return Comparison(prompt, self._sessions, runs, self._host)

    def wait(self, timeout: float | None = None) -> Comparison:
        """Wait until all have answered, and return the comparison; errors are not raised.

        Raises
        ------
        TimeoutError
            Some run is not over after `timeout` seconds; all go on.
        WouldDeadlock
            Called on the engine's own thread.
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
        """Return the figures as they stand: time to the first token, duration, tokens per second, length.

        Tokens are those that the server reported; where it reported none, the place is empty.
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
    """Ask several models the same, each in a session of its own; see `nbchat.compare`."""
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
    # Sent only now, so that they start together.
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
