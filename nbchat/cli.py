"""`main` runs the command `nbchat`. Each subcommand imports its modules when it is used."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from nbchat.core.errors import NbchatError

_DEFAULT_PORT = 8765
_LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status: 0 for success, 1 for failure, 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="nbchat", description="Many LLM conversations in one notebook.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_export(commands)
    _add_runner(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (NbchatError, OSError, ValueError) as error:
        sys.stderr.write(f"nbchat: {error}\n")
        return 1
    return 0


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve the demo models",
        description="Serve demo models over an OpenAI-compatible API, on this machine only, until Ctrl-C.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=_DEFAULT_PORT, help="port; 0 selects a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--pace",
        type=float,
        help="factor for delays: 1 as a large model, 0 without delays (default: NBCHAT_DEMO_PACE or 1)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name that requests may use in addition to loopback names; can be repeated",
    )
    parser.set_defaults(run=_serve)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port; use a number from 0 to {_LAST_PORT}")
    return port


def _serve(options: argparse.Namespace) -> None:
    from nbchat.server import serve  # noqa: PLC0415 - only when it is used

    serve(options.host, options.port, pace=options.pace, allowed_hosts=options.allow_host)


def _add_runner(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "runner",
        help="list or stop the processes that generate answers beside kernels, or serve many users",
        description="Runners generate answers beside a kernel, with nbchat.config(runner='local'). With "
        "--listen, this process is a runner for many users and machines.",
    )
    _add_service(parser)
    actions = parser.add_subparsers(metavar="ACTION")
    token = actions.add_parser("token", help="add a token of a person to a file, and print it")
    token.add_argument("person", metavar="PERSON")
    token.add_argument("--tokens", required=True, metavar="FILE", help="file of tokens, as hashes")
    token.set_defaults(run=_runner_token)
    listed = actions.add_parser("list", help="list the runners of this user")
    listed.set_defaults(run=_runner_list)
    stop = actions.add_parser("stop", help="end runners; live answers have a few seconds to finish")
    stop.add_argument(
        "notebook", nargs="*", metavar="NOTEBOOK.ipynb", help="only the runners of these notebooks"
    )
    stop.set_defaults(run=_runner_stop)
    doctor = actions.add_parser(
        "doctor", help="show the folder of runners and the environment in which they start"
    )
    doctor.set_defaults(run=_runner_doctor)
    serve = actions.add_parser(
        "serve", help="run in the foreground until no kernel needs it; used by kernels"
    )
    serve.add_argument("--folder", required=True, help="folder of the socket")
    serve.add_argument("notebook", metavar="NOTEBOOK.ipynb")
    serve.set_defaults(run=_runner_serve)


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="HOST:PORT", help="serve many users at this address")
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where sessions are kept: sqlite:///path/of/a/folder, or redis://host:port for several replicas "
        "(default: the variable NBCHAT_STORE)",
    )
    parser.add_argument(
        "--auth",
        choices=("token", "hub"),
        default="token",
        help="how people are identified (default: %(default)s)",
    )
    parser.add_argument("--tokens", metavar="FILE", help="file of tokens, as hashes; see the action token")
    parser.add_argument("--teams", metavar="FILE", help="TOML file of teams, with the roles of their members")
    parser.add_argument(
        "--prefix", metavar="PATH", help="path of the service (default: that of JupyterHub, or /)"
    )
    parser.add_argument("--certificate", metavar="FILE", help="certificate for TLS, with its chain")
    parser.add_argument("--key", metavar="FILE", help="private key, if it is not in the certificate's file")
    parser.add_argument(
        "--tls-by-proxy", action="store_true", help="a proxy in front of the service encrypts the links"
    )
    parser.add_argument("--metrics", metavar="HOST:PORT", help="answer Prometheus at this address")
    parser.add_argument(
        "--advertise", metavar="URL", help="address of this replica for others (default: that of --listen)"
    )
    for name, what in (
        ("links", "linked kernels"),
        ("live-runs", "runs with a connection to a model; others wait"),
        ("sessions", "sessions"),
        ("megabytes", "megabytes of sessions and of answers of batches in the store"),
    ):
        parser.add_argument(
            f"--max-{name}", type=_positive, metavar="N", help=f"limit of each person and team: {what}"
        )
    parser.add_argument(
        "--idle",
        type=_positive,
        metavar="SECONDS",
        help="time without a kernel and without a live run, after which sessions leave memory (default: 600)",
    )
    parser.set_defaults(run=_runner_listen)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _runner_listen(options: argparse.Namespace) -> None:
    from pathlib import Path  # noqa: PLC0415 - only when it is used

    store = options.store or os.environ.get("NBCHAT_STORE")  # in arguments, others could read a password
    if not options.listen or not store:
        raise ValueError("give an action, or --listen and --store; see nbchat runner --help.")
    from nbchat.service.process import Options, run  # noqa: PLC0415
    from nbchat.service.quotas import Quotas  # noqa: PLC0415

    megabytes = options.max_megabytes
    quotas = {
        "links": options.max_links,
        "live_runs": options.max_live_runs,
        "sessions": options.max_sessions,
        "store_bytes": None if megabytes is None else megabytes * 1_000_000,
        "idle_s": options.idle,
    }

    def path(value: str | None) -> Path | None:
        return None if value is None else Path(value)

    run(
        Options(
            listen=options.listen,
            store=store,
            advertise=options.advertise,
            auth=options.auth,
            tokens=path(options.tokens),
            teams=path(options.teams),
            prefix=options.prefix,
            certificate=path(options.certificate),
            key=path(options.key),
            tls_by_proxy=options.tls_by_proxy,
            quotas=Quotas(**{name: value for name, value in quotas.items() if value is not None}),
            metrics=options.metrics,
        )
    )


def _runner_token(options: argparse.Namespace) -> None:
    from pathlib import Path  # noqa: PLC0415 - only when it is used

    from nbchat.service.access import new_token  # noqa: PLC0415

    sys.stdout.write(f"{new_token(Path(options.tokens), options.person)}\n")


def _runner_list(_options: argparse.Namespace) -> None:
    from nbchat.runner.commands import described  # noqa: PLC0415 - only when it is used

    sys.stdout.write(described())


def _runner_stop(options: argparse.Namespace) -> None:
    from nbchat.runner.commands import stop  # noqa: PLC0415 - only when it is used

    sys.stdout.write(stop(options.notebook))


def _runner_doctor(_options: argparse.Namespace) -> None:
    from nbchat.runner.commands import doctor  # noqa: PLC0415 - only when it is used

    sys.stdout.write(doctor())


def _runner_serve(options: argparse.Namespace) -> None:
    from pathlib import Path  # noqa: PLC0415 - only when it is used

    from nbchat.jupyter.saved_by_runner import SavedByRunner  # noqa: PLC0415
    from nbchat.runner.process import run  # noqa: PLC0415

    run(options.notebook, Path(options.folder), SavedByRunner)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="print the conversations of a saved notebook",
        description="Print the conversations of a saved notebook in a format; no kernel is needed.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK.ipynb")
    parser.add_argument(
        "--to",
        choices=("md", "html", "jsonl", "ipynb"),
        help="format (default: that of FILE's extension, else md)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file instead of printing")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--session",
        action="append",
        default=[],
        metavar="TITLE",
        help="only the session with this title or id; can be repeated",
    )
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from pathlib import Path  # noqa: PLC0415 - only when it is used

    from nbchat.core.errors import NbchatError  # noqa: PLC0415
    from nbchat.export import export, render  # noqa: PLC0415
    from nbchat.export.raw_outputs import count_raw_outputs  # noqa: PLC0415
    from nbchat.export.reading import from_notebook, notebook_in  # noqa: PLC0415

    try:
        snapshot = from_notebook(Path(options.notebook))
    except NbchatError as error:
        raise ValueError(str(error)) from error
    for note in snapshot.notes:
        sys.stderr.write(f"nbchat: {note}\n")
    if raw := count_raw_outputs(notebook_in(Path(options.notebook))):
        sys.stderr.write(
            f"nbchat: {options.notebook} has {raw} output{'s' * (raw != 1)} that an earlier version saved as "
            "raw Markdown. Script in them runs if the notebook is trusted. Show a chat in it and save it, or "
            "clear its outputs.\n"
        )
    states = [saved.state for saved in snapshot.sessions]
    if options.session:
        states = [state for state in states if {state.id, state.title} & set(options.session)]
        if not states:
            raise ValueError(
                f"{options.notebook} has no session with the title or id {' or '.join(options.session)}."
            )
    if options.output:
        named = bool(Path(options.output).suffix)
        export(
            states, options.output, to=options.to or (None if named else "md"), overwrite=options.overwrite
        )
    else:
        sys.stdout.buffer.write(render(states, options.to or "md").encode("utf-8", "replace"))
        sys.stdout.flush()
