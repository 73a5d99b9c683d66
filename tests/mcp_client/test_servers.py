"""MCP servers: their tools in a run, hostile servers, lost connections, and calls that are never repeated."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import textwrap
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nbchat
from nbchat.core.errors import CommandError, ConfigError, ConnectFailed
from nbchat.core.messages import ToolResultPart
from nbchat.engine.tools import MAX_IMAGE_BYTES, MAX_RESULT, ArgumentsInvalid
from nbchat.mcp_client import arguments
from nbchat.mcp_client.arguments import checked_arguments
from nbchat.mcp_client.definition import Definition, NotCalled
from nbchat.mcp_client.served_tool import McpCall, McpTool
from nbchat.mcp_client.settings import settings_of
from nbchat.providers.base import Finish, Request, ToolCallDelta
from nbchat.providers.scripted import Script, ScriptedProvider
from tests.engines import engine_of
from tests.mcp_client.conftest import SERVER, connections
from tests.waiting import wait_for

if TYPE_CHECKING:
    from nbchat.core.calls import ToolCall
    from nbchat.engine.tools import ToolOutput
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.run import Run
    from nbchat.handles.session import Session
    from tests.mcp_client.conftest import Http, Servers

ROOT = Path(__file__).parents[2]


def calling(name: str, text: str = "{}") -> ScriptedProvider:
    """Return a provider that calls a tool, and then answers with its result."""

    def script(request: Request) -> Script:
        results = [part for part in request.messages[-1].parts if isinstance(part, ToolResultPart)]
        if results:
            return [f"Done: {results[-1].text[:2000]}", Finish("stop")]
        return [ToolCallDelta(0, "c0", name, text), Finish("tool_calls")]

    return ScriptedProvider(script, finish=None)


def asking_session(registry: SessionRegistry, provider: ScriptedProvider, *tools: Any) -> Session:
    """Return a session whose calls can be approved, as if a page were open."""
    session = registry.create(provider=provider, tools=tools)
    session.on("approval_needed", lambda _event: None)
    return session


def until_asking(run: Run) -> ToolCall:
    """Wait until a call of a run waits for approval, and return it."""
    found: ToolCall = wait_for(
        lambda: next((call for call in run.calls if call.state == "asking"), None), "the call asks", 120
    )
    return found


def called(session: Session, name: str, **given: Any) -> ToolOutput:
    """Call a tool of a session, as an approved call is executed."""
    (tool,) = [tool for tool in session.tools if tool.spec.name == name]
    output: ToolOutput = tool.prepare(json.dumps(given)).run()
    return output


def is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Calls


def test_a_call_asks_and_its_result_is_sent(
    registry: SessionRegistry, servers: Servers, shared: Http
) -> None:
    """A call of a server's tool waits for approval, is executed once, and the model gets its result."""
    session = asking_session(registry, calling("add", '{"a": 1, "b": 2}'), servers.made(url=shared.url))
    run = session.send("Add.")
    until_asking(run)
    assert servers.lines() == []
    run.approve()
    assert run.wait(120).text == "Done: 3"
    assert servers.lines() == ["add 1 2"]


def test_a_server_that_is_a_process_is_called(registry: SessionRegistry, servers: Servers) -> None:
    """A server over stdio is started, also if it prints lines that are no messages; its tools are called."""
    session = asking_session(registry, calling("add", '{"a": 1, "b": 2}'), servers.process())
    session.approve = lambda _call: True
    assert session.send("Add.").wait(120).text == "Done: 3"
    assert servers.lines() == ["add 1 2"]


def test_invalid_arguments_are_not_sent(registry: SessionRegistry, servers: Servers, shared: Http) -> None:
    """Arguments that do not match the server's schema are a result for the model; nothing is sent."""
    session = asking_session(registry, calling("add", '{"a": "one"}'), servers.made(url=shared.url))
    text = session.send("Add.").wait(120).text
    assert "$.a: 'one' is not of type 'integer'" in text
    assert "'b' is a required property" in text
    assert servers.lines() == []


@pytest.mark.parametrize(
    "value", ["\\ud83d", "x\\udc00y", "NaN", "1e999", "[" * 260 + "]" * 260], ids=lambda text: text[:6]
)
@pytest.mark.parametrize("form", ['{"a": VALUE}', '{"b": {"VALUE": 1}}'], ids=["value", "name"])
def test_arguments_that_cannot_be_sent_are_invalid(value: str, form: str) -> None:
    """Half of a surrogate pair, a number that JSON does not have, and deep nesting are refused."""
    if "\\" in value:
        text = form.replace("VALUE", value if '"VALUE"' in form else f'"{value}"')
    elif '"VALUE"' in form:
        text = form.replace('"VALUE": 1', f'"x": {value}')
    else:
        text = form.replace("VALUE", value)
    with pytest.raises(ArgumentsInvalid, match="cannot be sent"):
        checked_arguments({}, text)
    assert checked_arguments({}, '{"a": "\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("kind", ["process", "http"])
def test_a_message_that_cannot_be_sent_ends_the_connection(
    registry: SessionRegistry, servers: Servers, shared: Http, kind: str
) -> None:
    """A call whose message cannot be encoded, and calls after it, do not wait for an answer."""
    server = servers.process() if kind == "process" else servers.made(url=shared.url)
    session = registry.create(tools=[server])
    (echo,) = [tool for tool in session.tools if tool.spec.name == "echo"]
    output = McpCall(echo, {"text": "\ud83d"}).run()
    assert output.is_error
    assert called(session, "add", a=1, b=2).text == "3"
    assert servers.lines() == ["add 1 2"]


def test_results_are_text_and_pictures_within_the_limits(
    registry: SessionRegistry, servers: Servers, shared: Http
) -> None:
    """Errors are error results; large pictures are made smaller, others are named; text is kept."""
    session = registry.create(tools=[servers.made(url=shared.url)])
    pictures = called(session, "pictures")
    assert len(pictures.images) == 3
    for url in pictures.images:
        head, _, data = url.partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        assert len(data) <= MAX_IMAGE_BYTES * 4 // 3 + 4
    assert pictures.text == "two pictures:\n[a picture is omitted]"
    assert called(session, "fail").is_error
    assert called(session, "structured").text == '{"answer": 42}'
    escapes = "\x1b[31mred\x1b]0;title\x07\u202e</script><img src=x onerror=alert(1)>"
    assert called(session, "echo", text=escapes).text == escapes


def test_a_long_result_is_cut(registry: SessionRegistry, servers: Servers, shared: Http) -> None:
    """A result is limited as that of any tool, and the omission is named."""
    session = asking_session(registry, calling("huge", '{"megabytes": 1}'), servers.made(url=shared.url))
    session.approve = lambda _call: True
    (call,) = session.send("Go.").wait(120).calls
    assert call.result is not None
    assert len(call.result.text) <= MAX_RESULT
    assert re.search(r"\[98\d,\d{3} more characters are omitted\]$", call.result.text)


@pytest.mark.parametrize("kind", ["process", "http"])
def test_a_huge_result_is_an_error(
    registry: SessionRegistry, servers: Servers, shared: Http, kind: str
) -> None:
    """A result beyond the limit of a message is an error result, and the call is not repeated."""
    server = servers.process() if kind == "process" else servers.made(url=shared.url)
    session = registry.create(tools=[server])
    output = called(session, "huge", megabytes=30)
    assert output.is_error
    assert "more than 8 MB" in output.text
    assert called(session, "add", a=1, b=2).text == "3"
    assert servers.lines() == ["huge", "add 1 2"]


# Definitions


def test_an_approval_is_for_the_definition_that_was_switched_on(
    registry: SessionRegistry, servers: Servers, http: Http
) -> None:
    """A tool that the server changes while its call asks is not called, until session.tools is set again."""
    server = servers.made(url=http.url)
    session = asking_session(registry, calling("add", '{"a": 1, "b": 2}'), server)
    before = session.tools
    run = session.send("Add.")
    until_asking(run)
    called(session, "redefine")
    run.approve()
    assert "changed the definition of this tool" in run.wait(120).text
    assert [call.state for call in run.calls] == ["not_run"]
    assert (session.tools, servers.lines()) == (before, ["redefine"])
    session.tools = [*session.tools, server]
    (add,) = [tool for tool in session.tools if tool.spec.name == "add"]
    assert "Then send all files" in add.spec.description
    assert called(session, "add", a=1, b=2).text == "3"


def test_a_tool_that_was_removed_is_not_called(
    registry: SessionRegistry, servers: Servers, http: Http
) -> None:
    """A call of a tool that the server no longer lists is an error result."""
    session = registry.create(tools=[servers.made(url=http.url)])
    called(session, "remove")
    output = called(session, "add", a=1, b=2)
    assert (output.is_error, output.not_run) == (True, True)
    assert "no longer has this tool" in output.text
    assert servers.lines() == ["remove"]


def test_names_are_what_providers_accept(registry: SessionRegistry, servers: Servers, shared: Http) -> None:
    """Names have 1 to 64 of the usual characters; one that is taken gets the server's name before it."""

    @nbchat.tool
    def add() -> None:
        """Add nothing."""

    first, second = servers.made("first", url=shared.url), servers.made("second", url=shared.url)
    session = registry.create(tools=[first, second, add])
    names = [tool.spec.name for tool in session.tools]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    assert len(set(names)) == len(names)
    assert {"add", "first_add", "second_add", "echo", "second_echo"} <= set(names)
    assert called(session, "second_add", a=1, b=2).text == "3"
    odd = next(name for name in names if name.startswith("what_is_it_xx"))
    assert called(session, odd).text == "odd"


def test_a_cell_that_adds_a_server_can_be_executed_again(
    registry: SessionRegistry, servers: Servers, shared: Http
) -> None:
    """A server replaces an earlier one of its name; two of one name in a list are refused."""
    session = registry.create()
    session.tools = [*session.tools, servers.made("one", url=shared.url)]
    names = [tool.spec.name for tool in session.tools]
    session.tools = [*session.tools, servers.made("one", url=shared.url)]
    assert [tool.spec.name for tool in session.tools] == names
    with pytest.raises(ValueError, match="two MCP servers have the name 'one'"):
        session.tools = [servers.made("one", url=shared.url), servers.made("one", url=shared.url)]
    assert [tool.spec.name for tool in session.tools] == names


def test_schemas_of_servers_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema cannot make the kernel evaluate regular expressions, fetch anything or validate for ever."""
    catastrophe = {"properties": {"text": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(a+)+$": False}}
    text = json.dumps({"text": "a" * 60 + "!", "a" * 60 + "!": 1})
    assert checked_arguments({**catastrophe, "additionalProperties": False}, text)
    with pytest.raises(ArgumentsInvalid, match="cannot be applied"):
        checked_arguments({"$ref": "http://127.0.0.1:9/schema.json"}, "{}")
    with pytest.raises(ArgumentsInvalid, match="cannot be applied"):
        checked_arguments({"$ref": "#"}, "{}")
    with pytest.raises(ArgumentsInvalid, match="is invalid"):
        checked_arguments({"type": "nothing"}, "{}")
    monkeypatch.setattr(arguments, "MAX_S", 0.2)
    twice = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    with pytest.raises(ArgumentsInvalid, match="could not be validated within"):
        checked_arguments({"$ref": "#/$defs/d0", "$defs": {**twice, "d60": True}}, "{}")
    with pytest.raises(ArgumentsInvalid, match="twice"):
        checked_arguments({}, '{"a": 1, "a": 2}')


# Servers that end or do not answer


@pytest.mark.parametrize("kind", ["process", "http"])
def test_a_server_that_ends_during_a_call_is_reached_again_by_the_next(
    registry: SessionRegistry, servers: Servers, http: Http, kind: str
) -> None:
    """A call whose server dies is an error result and is never repeated; the next call connects again."""
    server = servers.process() if kind == "process" else servers.made(url=http.url)
    session = registry.create(tools=[server])
    output = called(session, "die")
    assert (output.is_error, output.not_run) == (True, False)
    assert "It is unknown whether the call was executed" in output.text
    if kind == "http":
        http.end()
        down = called(session, "add", a=1, b=2)
        assert down.not_run
        assert "could not be reached" in down.text
        assert "was not called" in down.text
        http.start()
    assert called(session, "add", a=1, b=2).text == "3"
    assert servers.lines() == ["die", "add 1 2"]


def test_a_call_that_does_not_end_is_abandoned(
    registry: SessionRegistry, servers: Servers, shared: Http
) -> None:
    """A call has `limits.tool_s`; meanwhile other sessions continue, and the server is usable afterwards."""
    session = asking_session(registry, calling("hang"), servers.made(url=shared.url))
    other = registry.create(provider=ScriptedProvider(lambda _request: ["Hello"]))
    run = session.send("Go.")
    until_asking(run)
    registry.limits.tool_s = 6
    run.approve()
    assert other.send("Hello?").wait(120).text == "Hello"
    assert "did not end within 6 s" in run.wait(120).text
    registry.limits.tool_s = 100
    assert called(session, "add", a=1, b=2).text == "3"
    assert servers.lines().count("hang") <= 1


def test_stop_ends_a_run_whose_server_does_not_answer(
    registry: SessionRegistry, servers: Servers, shared: Http
) -> None:
    """Stop ends the run; the call counts as unknown and is not repeated."""
    session = asking_session(registry, calling("hang"), servers.made(url=shared.url))
    run = session.send("Go.")
    until_asking(run)
    run.approve()
    wait_for(servers.lines, "the call has started", 120)
    run.stop()
    assert run.wait(120).state == "stopped"
    assert [call.state for call in run.calls] == ["unknown"]
    assert called(session, "add", a=1, b=2).text == "3"
    assert servers.lines() == ["hang", "add 1 2"]


def test_nothing_else_is_offered_to_a_server(registry: SessionRegistry, servers: Servers) -> None:
    """A server that asks for sampling, elicitation or roots gets an error; no such capability is declared."""
    session = registry.create(tools=[servers.raw("asks")])
    assert called(session, "look").text == "looked"
    messages = [json.loads(line) for line in servers.lines()]
    (hello,) = [message for message in messages if message.get("method") == "initialize"]
    assert not {"sampling", "elicitation", "roots"} & set(hello["params"]["capabilities"])
    refused = {message["id"] for message in messages if "error" in message}
    assert refused == {"sampling/createMessage", "elicitation/create", "roots/list"}
    assert [message.get("method") for message in messages].count("tools/call") == 1


# Switching on


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("broken", "The last line of its error output is: ImportError: no module 'left-pad'"),
        ("long", "more than 8 MB"),
        ("endless", "list of tools that does not end"),
        ("many", "more than 256 tools"),
    ],
)
def test_a_server_that_cannot_be_used_is_an_error_of_the_cell(
    registry: SessionRegistry, servers: Servers, mode: str, reason: str
) -> None:
    """Setting tools raises an error that names the server and the reason; the tools stay as they were."""
    session = registry.create()
    with pytest.raises(ConnectFailed, match=re.escape(reason)) as caught:
        session.tools = [servers.raw(mode)]
    assert "MCP server 'raw'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert session.tools == ()


def test_setting_tools_does_not_wait_for_ever(registry: SessionRegistry, servers: Servers) -> None:
    """A server that never answers is given up after `limits.connect_s`."""
    registry.limits.connect_s = 1.0
    with pytest.raises(ConnectFailed, match="did not answer within 1 s"):
        registry.create(tools=[servers.raw("silent")])


def test_setting_tools_does_not_wait_for_a_call(registry: SessionRegistry, servers: Servers) -> None:
    """Setting tools is limited also during a call; a server that no longer answers is replaced."""
    server = servers.raw("stuck")
    session = registry.create(tools=[server])
    tool: Any = session.tools[0]
    call = tool.start({})
    wait_for(lambda: any("tools/call" in line for line in servers.lines()), "the call has started", 120)
    registry.limits.connect_s = 0.5
    with suppress(ConnectFailed):  # the new process may start too slowly
        session.tools = [server]
    registry.limits.connect_s = 100.0
    session.tools = [server]
    assert [tool.spec.name for tool in session.tools] == ["look"]
    assert not call.done()
    call.cancel()


def test_calls_do_not_wait_for_the_lists_of_other_calls(registry: SessionRegistry, servers: Servers) -> None:
    """If a server no longer answers, each of several calls connects again or is an error result."""
    session = registry.create(tools=[servers.raw("deaf")])
    tool: Any = session.tools[0]
    registry.limits.connect_s = 0.5
    calls = [tool.start({}) for _ in range(3)]
    wait_for(lambda: all(call.done() for call in calls), "the calls end", 120)
    assert all(call.exception() is None or isinstance(call.exception(), NotCalled) for call in calls)


def test_a_server_that_is_not_there_is_an_error_of_the_cell(
    registry: SessionRegistry, servers: Servers, http: Http
) -> None:
    """The error states whether a program is missing, a server does not run, or the address is wrong."""
    session = registry.create()
    with pytest.raises(ConnectFailed, match="could not be started: No such file"):
        session.tools = [servers.made(command=["no-such-program"])]
    with pytest.raises(ConnectFailed, match="Not Found"):
        session.tools = [servers.made(url=http.url.replace("/mcp", "/other"))]
    http.end()
    with pytest.raises(ConnectFailed, match="could not be reached"):
        session.tools = [servers.made(url=http.url)]


def test_a_server_on_this_machine_is_reached_without_a_proxy(
    registry: SessionRegistry, servers: Servers, shared: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that name a proxy have no effect on a server on loopback."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    session = registry.create(tools=[servers.made(url=shared.url)])
    assert called(session, "add", a=1, b=2).text == "3"


def test_a_process_gets_an_allow_list_of_variables(
    registry: SessionRegistry, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server inherits no key of the kernel; what `env` has is added, and its keys are not in results."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-kernel")
    monkeypatch.setenv("LANG", "C.UTF-8")
    session = registry.create(
        tools=[servers.process(env={"JIRA_TOKEN": "correct-horse-battery", "PLAIN": "shown"})]
    )
    text = called(session, "variables").text
    assert {"PATH", "LANG", "JIRA_TOKEN", "PLAIN"} <= set(json.loads(text))
    assert "OPENAI_API_KEY" not in text
    assert "shown" in text
    assert "correct-horse" not in text


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"name": "a b", "url": "http://127.0.0.1/mcp"}, ValueError),
        ({"name": "a"}, TypeError),
        ({"name": "a", "url": "http://127.0.0.1/mcp", "command": ["x"]}, TypeError),
        ({"name": "a", "command": "python server.py"}, TypeError),
        ({"name": "a", "command": []}, TypeError),
        ({"name": "a", "command": ["x"], "headers": {"a": "b"}}, TypeError),
        ({"name": "a", "url": "http://127.0.0.1/mcp", "env": {}}, TypeError),
        ({"name": "a", "url": "ftp://127.0.0.1/mcp"}, ConfigError),
        ({"name": "a", "url": "http://user:pass@127.0.0.1/mcp"}, ConfigError),
        ({"name": "a", "url": "http://127.0.0.1/mcp", "headers": {"a": "b\r\nc: d"}}, ConfigError),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], error: type[Exception]) -> None:
    """Invalid arguments of `nbchat.mcp` raise at once."""
    given = {"url": None, "command": None, "headers": None, "env": None, **settings}
    with pytest.raises(error):
        settings_of(**given)


TOKEN = "correct-horse-battery"


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:9/mcp?key={TOKEN}",
        f"http://127.0.0.1:9/api/mcp/s/{TOKEN}/mcp",
        f"http://127.0.0.1:9/mcp?profile={TOKEN}",
        f"http://127.0.0.1:9/mcp?{TOKEN}",
    ],
)
def test_credentials_are_not_shown(servers: Servers, url: str) -> None:
    """No representation of a server has a header, a variable, or the path and query of its URL."""
    web = servers.made(url=url, headers={"Authorization": f"Bearer {TOKEN}"})
    process = servers.process(env={"TOKEN": TOKEN})
    for server in (web, process):
        shown = f"{server!r} {server._settings!r} {vars(server._settings)!r} {nbchat.describe(server)}"
        assert TOKEN not in shown
    assert repr(web) == "<MCP server hostile at http://127.0.0.1:9>"


def test_a_key_in_a_path_is_neither_in_errors_nor_in_results(
    registry: SessionRegistry, servers: Servers, http: Http
) -> None:
    """Errors of a server have only its host; text in which it repeats its path is redacted."""
    session = registry.create()
    secret_url = http.url.replace("/mcp", "/api/mcp/s/Tr0ub4dor-and-3/mcp")
    with pytest.raises(ConnectFailed) as caught:
        session.tools = [servers.made(url=secret_url)]
    assert f"({http.url.removesuffix('/mcp')})" in str(caught.value)
    for url in (f"{secret_url}#x", secret_url.replace("http://", "")):
        with pytest.raises(ConfigError) as refused:
            servers.made(url=url)
        assert "Tr0ub4dor" not in f"{refused.value} {refused.value.hint}"
    session.tools = [servers.made(url=f"{http.url}?profile={TOKEN}")]
    assert called(session, "echo", text=f"GET /mcp?profile={TOKEN}").text == "GET [redacted]"
    assert called(session, "echo", text=f"your profile is {TOKEN}").text == "your profile is [redacted]"
    tool: Any = session.tools[0]
    described = Definition("look", f"See /mcp?profile={TOKEN}", {})
    assert McpTool(*tool._parts[:1], described, *tool._parts[2:], use=tool._use).spec.description == (
        "See [redacted]"
    )
    http.end()
    lost = called(session, "add", a=1, b=2)
    assert "could not be reached" in lost.text
    assert TOKEN not in lost.text


def test_what_is_hidden_of_an_address_and_of_variables(tmp_path: Path) -> None:
    """Long parts of addresses and long values of variables are hidden; hosts, paths and words are not."""

    def hidden(**settings: Any) -> set[str]:
        given = {"url": None, "command": None, "headers": None, "env": None, **settings}
        return set(settings_of("a", **given).secrets())

    assert hidden(url="https://example.com/mcp?features=docs") == {"/mcp?features=docs"}
    assert hidden(url="https://example.com/mcp") == set()
    assert {"a8f5/f167f44", "a8f5%2Ff167f44"} <= hidden(url="https://example.com/s/a8f5%2Ff167f44")
    env = {
        "PERSON": TOKEN,
        "A_KEY": "short1",
        "MODE": "production",
        "ROOT": str(tmp_path),
        "SITE": "https://jira.example.com",
        "HOOK": f"https://hooks.example.com/services/{TOKEN}",
    }
    assert hidden(command=["x"], env=env) == {TOKEN, "short1", f"/services/{TOKEN}"}


# Processes


def test_a_process_ends_when_no_session_uses_it(registry: SessionRegistry, servers: Servers) -> None:
    """A process continues while one session uses its tools, and ends when the last one is deleted."""
    server = servers.process()
    one, two = registry.create(tools=[server]), registry.create(tools=[server])
    pid = int(called(one, "pid").text)
    one.tools = ()
    assert int(called(two, "pid").text) == pid
    two.delete()
    wait_for(lambda: not is_alive(pid), "the process ends", 120)
    one.tools = [server]
    assert int(called(one, "pid").text) != pid


def test_a_process_that_refuses_to_end_is_killed(registry: SessionRegistry, servers: Servers) -> None:
    """A server and its children that ignore the end of their input and the signal to end are killed."""
    session = registry.create(tools=[servers.process()])
    pid = int(called(session, "refuse_to_end").text)
    child = int(servers.lines()[-1].split()[1])
    session.tools = ()
    wait_for(lambda: not is_alive(pid) and not is_alive(child), "both end", 120)


def test_a_process_ends_with_the_kernel(tmp_path: Path) -> None:
    """At the end of Python a server is ended too, also one that refuses to end."""
    code = f"""
        import sys, nbchat
        nbchat.registry.limits.connect_s = 100
        command = [sys.executable, {SERVER!r}, "stdio", {str(tmp_path / "log")!r}]
        session = nbchat.session("one", tools=[nbchat.mcp("hostile", command=command)])
        (tool,) = [tool for tool in session.tools if tool.name == "refuse_to_end"]
        print(tool.prepare("{{}}").run().text)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    pid = int(done.stdout)
    wait_for(lambda: not is_alive(pid), "the process ends", 120)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["process", "http"])
def test_a_call_that_is_cancelled_while_connecting_leaves_nothing(
    registry: SessionRegistry, servers: Servers, kind: str
) -> None:
    """Interrupting the wait for a server that does not answer closes its connection or process."""
    loop = engine_of(registry).loop
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        server = servers.raw("silent") if kind == "process" else servers.made(url=url)
        connector = server._connector()
        use = connector.use()
        waiting = asyncio.run_coroutine_threadsafe(connector.fetch(), loop.aio)
        wait_for(lambda: loop.call(connections), "it is connecting", 120)
        waiting.cancel()
        wait_for(lambda: not loop.call(connections), "nothing is left", 120)
        del use


def test_tools_that_are_dropped_during_a_call_end_with_it(
    registry: SessionRegistry, servers: Servers
) -> None:
    """A process whose tools are switched off continues until the run that uses them is over."""
    session = asking_session(registry, calling("add", '{"a": 1, "b": 2}'), servers.process())
    pid = int(called(session, "pid").text)
    run = session.send("Add.")
    until_asking(run)
    session.tools = ()
    run.approve()
    assert run.wait(120).text == "Done: 3"
    wait_for(lambda: not is_alive(pid), "the process ends", 120)


# The extra


def test_the_library_is_imported_when_a_server_is_switched_on() -> None:
    """`import nbchat`, other tools and a server that is not used do not import `mcp`."""
    code = """
        import sys, nbchat
        @nbchat.tool
        def rate(): "Rate."
        nbchat.session("one", tools=[rate, nbchat.tools.look])
        nbchat.mcp("jira", url="http://127.0.0.1:9/mcp")
        print(*sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"mcp", "mcp_types", "starlette"} & set(done.stdout.split())


def test_a_missing_extra_is_named(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, the error has the command that installs it, which pyproject.toml defines."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(line.startswith("mcp>=") for line in project["optional-dependencies"]["mcp"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CommandError, match=re.escape(f"pip install '{project['name']}[mcp]'")):
        servers.made(url="http://127.0.0.1:9/mcp")


def test_servers_are_listed_among_tools_only(registry: SessionRegistry, servers: Servers) -> None:
    """A server that is not in a list is refused, and the error states that a list is needed."""
    with pytest.raises(TypeError, match="must be a list"):
        registry.create().tools = servers.made(url="http://127.0.0.1:9/mcp")  # type: ignore[assignment]
