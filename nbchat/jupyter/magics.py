"""`ChatMagics`: the magics `%chat` and `%%chat`, which send a cell as a message.

They use the public API only; `nbchat.session` and its methods can do the same.
"""

from __future__ import annotations

import argparse
import keyword
import shlex
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, Never

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from nbchat.context.mentions import without_escapes
from nbchat.core.ids import new_id
from nbchat.core.interpolation import field_names, interpolate
from nbchat.core.messages import Attachment
from nbchat.core.text_table import Table
from nbchat.engine.config import Configuration
from nbchat.handles.run import Run
from nbchat.handles.session import Session
from nbchat.jupyter.cell_output import show
from nbchat.jupyter.configuration import attach
from nbchat.jupyter.last_error import describe_last_error
from nbchat.jupyter.process import current
from nbchat.jupyter.variables import Variables, truncated_repr
from nbchat.jupyter.widgets import ChatTabs

SESSION: Final = "chat"
"""Title of the default session."""

FIX: Final = "This code failed. Say why in one or two sentences, then show the corrected code."

HELP: Final = """%chat                    list the sessions
%chat show [SESSION]     show one session's live view; without a name, all of them in tabs
%chat new [TITLE]        make a new session
%chat stop [SESSION]     stop what runs in a session; without a name, in all of them
%chat wait [SESSION]     wait until a session, or all of them, have answered
%chat save               save all sessions now
%chat model [NAME]       show or set the default model; with -s SESSION, that session's
%chat models             list the server's models
%chat config             show the defaults, and where each came from
%chat fix [QUESTION]     send the last error, trimmed and without secrets; -n only shows what would be sent
%%chat [-s SESSION] [-m MODEL] [-i TEXT] [-o VAR] [--no-wait] [--raw]
                         send the cell; the answer streams into its output
"""

COMMANDS: Final = ("config", "fix", "help", "model", "models", "new", "save", "show", "stop", "wait")


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` instead of ending the process."""

    def error(self, message: str) -> Never:
        raise UsageError(f"{self.prog}: {message}. %chat help lists what there is.")


def _parser(prog: str) -> _Parser:
    parser = _Parser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("-s", "--session", default=None, metavar="SESSION")
    parser.add_argument("-m", "--model", default=None)
    parser.add_argument("-i", "--instructions", default=None, metavar="TEXT")
    parser.add_argument("-o", "--output", default=None, metavar="VAR")
    parser.add_argument("--no-wait", action="store_true")
    return parser


@magics_class
class ChatMagics(Magics):
    """The magics `%chat` and `%%chat`."""

    shell: Any
    """The InteractiveShell."""

    @line_cell_magic
    def chat(self, line: str, cell: str | None = None) -> Any:  # noqa: ANN401 - the command's result
        r"""Send a cell to a chat, or manage the chats from a line.

        `%%chat [-s SESSION] [-m MODEL] [-i TEXT] [-o VAR] [--no-wait] [--raw]` sends the cell. The answer
        streams into the cell's output; interrupting the cell stops it.

        -s SESSION  id or title of the session; created if it does not exist. Default: `chat`.
        -m MODEL    new model of the session.
        -i TEXT     new instructions of the session.
        -o VAR      variable that receives the answer, a `Message`; with --no-wait, the `Run`.
        --no-wait   do not wait: the answer continues in the background.
        --raw       send the cell unchanged. Otherwise `@name` sends a description of the variable of that
                    name with the question (`nbchat.describe`), `@error` the last error, `@cell:3` the cell
                    with that number and its output; `\@name` is sent as `@name`. `{name}` is replaced by
                    the text of the variable of that name if it exists, `{name:format}` as in an
                    f-string; `{{name}}` is sent as `{name}`.

        `%chat help` lists the commands.
        """
        words = _split(line)
        if cell is not None:
            return self._send(words, cell)
        if not words:
            return _listing()
        command, rest = words[0], words[1:]
        if command not in COMMANDS:
            raise UsageError(
                f"%chat has no command {command!r}; it has {', '.join(COMMANDS)}. "
                "To ask something, begin the cell with %%chat."
            )
        handler: Callable[[Sequence[str]], Any] = getattr(self, f"_{command}")
        return handler(rest)

    # The cell

    def _send(self, words: Sequence[str], cell: str) -> Run | None:
        parser = _parser("%%chat")
        parser.add_argument("--raw", action="store_true")
        options = parser.parse_args(words)
        attachments: tuple[Attachment, ...] = ()
        if options.raw:
            prompt = cell
        else:
            # Before `{name}` is replaced: an `@name` in a variable's text is not a mention.
            attachments = self._mentioned(cell)
            self._warn_of_truncated(cell)
            prompt = interpolate(without_escapes(cell), self.shell.user_ns)
        if not prompt.strip():
            raise UsageError("%%chat: the cell is empty; write below the first line what you want to ask.")
        return self._ask(prompt.strip("\n"), options, attachments)

    def _mentioned(self, cell: str) -> tuple[Attachment, ...]:
        try:
            return Variables(self.shell).mentioned(cell, current().engine.providers.defaults.share)
        except (LookupError, ValueError) as error:
            raise UsageError(f"%%chat: {error.args[0]}") from error

    def _warn_of_truncated(self, cell: str) -> None:
        for name in dict.fromkeys(field_names(cell)):
            kind = truncated_repr(self.shell.user_ns.get(name)) if f"{{{name}}}" in cell else None
            if kind is not None:
                warnings.warn(
                    f"{{{name}}} inserts a {kind} as it is printed, with parts left out; "
                    f"@{name} sends its columns, types and statistics.",
                    stacklevel=2,
                )
                return

    def _ask(
        self, prompt: str, options: argparse.Namespace, attachments: tuple[Attachment, ...] = ()
    ) -> Run | None:
        if options.output is not None and not _is_variable(options.output):
            raise UsageError(f"%%chat: -o takes the name of a variable, not {options.output!r}.")
        process = current()
        session = process.registry.get_or_create(
            options.session or SESSION, model=options.model, instructions=options.instructions
        )
        run_id = new_id("r-")
        try:
            run = session._send(prompt, attachments, run_id, {})  # noqa: SLF001 - as `Session.ask`
            if options.no_wait:
                self._bind(options.output, run)
                return run
            try:
                show(run, self.shell)
            finally:
                self._bind(options.output, run.message)
        except KeyboardInterrupt:
            # The cell owns its run, even if the interrupt arrived before `_send` returned or before
            # any output.
            session._run(run_id).stop()  # noqa: SLF001 - as `Session.ask`
            raise
        if run.error is not None:
            raise run.error
        return None

    def _bind(self, name: str | None, value: object) -> None:
        if name is not None:
            self.shell.user_ns[name] = value

    # The lines

    def _help(self, _words: Sequence[str]) -> None:
        print(HELP, end="")  # noqa: T201 - a magic's answer

    def _show(self, words: Sequence[str]) -> Any:  # noqa: ANN401 - a widget
        return _existing(words[0]) if _one("show", words) else ChatTabs()

    def _new(self, words: Sequence[str]) -> Session:
        return current().registry.create(" ".join(words))

    def _stop(self, words: Sequence[str]) -> None:
        stopped = _existing(words[0]).stop_all() if _one("stop", words) else current().registry.stop_all()
        print(f"{stopped} run{'s' * (stopped != 1)} stopped")  # noqa: T201 - a magic's answer

    def _wait(self, words: Sequence[str]) -> None:
        if _one("wait", words):
            for run in _existing(words[0]).runs:
                run.wait()
        else:
            current().registry.wait_all()

    def _save(self, words: Sequence[str]) -> None:
        _none("save", words)
        saved = current().registry.save()
        print("saved" if saved else "not saved: this kernel has no journal")  # noqa: T201 - a magic's answer

    def _model(self, words: Sequence[str]) -> str | None:
        parser = _Parser(prog="%chat model", add_help=False)
        parser.add_argument("name", nargs="?")
        parser.add_argument("-s", "--session")
        options = parser.parse_args(words)
        if options.session is not None:
            session = _existing(options.session)
            if options.name:
                session.model = options.name
            return session.model
        if options.name:
            current().engine.providers.defaults.set({"model": options.name})
        return current().engine.providers.model

    def _models(self, words: Sequence[str]) -> list[str]:
        _none("models", words)
        engine = current().engine
        return list(engine.loop.run(engine.providers.models()))

    def _config(self, words: Sequence[str]) -> Any:  # noqa: ANN401 - nbchat.config()
        _none("config", words)
        return Configuration(current().engine.providers.defaults.values())

    def _fix(self, words: Sequence[str]) -> Run | None:
        parser = _parser("%chat fix")
        parser.add_argument("-n", "--dry-run", action="store_true")
        parser.add_argument("question", nargs="*")
        options = parser.parse_args(words)
        problem = describe_last_error(self.shell)
        if problem is None:
            raise UsageError("%chat fix: no cell has failed yet in this kernel.")
        prompt = f"{' '.join(options.question) or FIX}\n\n{problem}"
        providers = current().engine.providers
        model = options.model or providers.model
        where = f"{providers.name}, {model}" if model else providers.name
        verb = "would be" if options.dry_run else "is"
        print(f"What {verb} sent to {where}:\n\n{prompt}\n")  # noqa: T201 - shown before it is sent
        return None if options.dry_run else self._ask(prompt, options)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%chat: {error}. Put words that belong together between quotes.") from error


def _one(command: str, words: Sequence[str]) -> bool:
    """Return whether the command names a session."""
    if len(words) > 1:
        raise UsageError(f"%chat {command} takes one session; write a title of several words between quotes.")
    return bool(words)


def _none(command: str, words: Sequence[str]) -> None:
    if words:
        raise UsageError(f"%chat {command} takes no arguments.")


def _existing(key: str) -> Session:
    registry = current().registry
    if key not in registry:
        raise UsageError(f"%chat: there is no session {key!r}. %chat lists the sessions.")
    return registry[key]


def _listing() -> Table:
    rows = [
        (session.title, session.status, session.model, len(session.messages), session.id)
        for session in current().registry.values()
    ]
    return Table(("session", "status", "model", "messages", "id"), rows)


def _complete(_shell: object, event: Any) -> list[str]:  # noqa: ANN401 - IPython's completion event
    """Return the completions at the cursor of a line that begins with `%chat` or `%%chat`."""
    words = event.text_until_cursor.split()
    before = words[:-1] if event.symbol and words and words[-1] == event.symbol else words
    process, previous = current(), before[-1]
    if previous in ("-s", "--session", "show", "stop", "wait"):
        found = [shlex.quote(session.title or session.id) for session in process.registry.values()]
    elif previous in ("-m", "--model", "model"):
        found = list(process.engine.providers.known_models)
    elif previous == "-o":
        return []
    elif before[0].startswith("%%"):
        found = ["--instructions", "--model", "--no-wait", "--output", "--raw", "--session"]
    elif len(before) == 1:
        found = list(COMMANDS)
    elif before[1] == "fix":
        found = ["--dry-run", "--model", "--no-wait", "--output", "--session"]
    else:
        found = []
    return [word for word in found if word.startswith(event.symbol)]


def _is_variable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def load(shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
    """Register the magics, their completion and the configuration. Called by `%load_ext nbchat`."""
    attach(current().engine.providers)
    shell.register_magics(ChatMagics)
    for name in ("%chat", "%%chat"):
        shell.set_hook("complete_command", _complete, str_key=name)
