"""`nbchat.map`: many prompts, in order, within limits, resumable after a stop."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pydantic
import pytest

import nbchat
from nbchat.batch_engine.answer_file import AnswerFile
from nbchat.core.errors import ProviderUnavailable, StreamBroken
from nbchat.providers.base import Request
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.server import DemoServer
from tests.batch.limited_server import LimitedServer
from tests.engines import engine_of
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


def shouting() -> ScriptedProvider:
    """Return a provider that answers with the prompt in capitals."""
    return ScriptedProvider(lambda request: [request.messages[-1].text.upper()])


def asked(provider: ScriptedProvider) -> list[str]:
    """Return the prompts that a provider received."""
    return [request.messages[-1].text for request in provider.requests]


@contextmanager
def client_of(server: LimitedServer) -> Iterator[OpenAIProvider]:
    """Provide the real client of a server, and close its connections."""
    provider = OpenAIProvider(base_url=server.base_url, api_key="any")
    try:
        yield provider
    finally:
        engine_of(nbchat.registry).loop.run(provider.aclose())


def test_answers_come_in_the_order_of_the_prompts() -> None:
    """Results are in the order of the prompts."""
    results = nbchat.map([f"prompt {n}" for n in range(50)], provider=shouting(), progress=False)
    assert results.texts == [f"PROMPT {n}" for n in range(50)]
    assert [result.index for result in results] == list(range(50))
    assert repr(results) == "<Results: 50 answered, 0 failed, 0 tokens>"
    assert repr(results[3]) == "<Result 3 'prompt 3' 8 characters>"
    assert str(results[3]) == "PROMPT 3"


def test_five_hundred_prompts_against_a_server_that_limits_and_fails() -> None:
    """All prompts are answered in order within the limits, progress increases, and usage is summed."""
    told: list[nbchat.BatchProgress] = []
    prompts = [f"prompt {n}" for n in range(500)]
    with LimitedServer(per_s=200, fail=10) as server, client_of(server) as client:
        results = nbchat.map(prompts, provider=client, concurrency=6, rpm=190 * 60, progress=told.append)
        assert results.texts == [prompt.upper() for prompt in prompts]
        assert server.refused == 0
        assert server.most_at_once <= 6
        assert sum(server.asked.values()) > 500
        assert set(server.answered.values()) == {1}
    assert results.usage.total_tokens >= 2500
    assert [now.done for now in told] == list(range(501))
    assert (told[-1].total, told[-1].failed, told[-1].remaining_s) == (500, 0, 0)


def test_a_server_that_asks_to_wait_is_waited_for() -> None:
    """Without a configured rate, a 429 delays all prompts for the time that it requests."""
    with LimitedServer(per_s=20) as server, client_of(server) as client:
        results = nbchat.map([f"p{n}" for n in range(40)], provider=client, concurrency=4, progress=False)
        assert results.failed == []
        assert 1 <= server.refused <= 20


def test_killed_in_the_middle_nothing_is_asked_twice(tmp_path: Path) -> None:
    """After a kill, answers are restored, prompts in progress are interrupted, and only the rest is sent."""
    journal = tmp_path / "answers.jsonl"
    prompts = [f"prompt {n}" for n in range(500)]
    code = (
        "import nbchat, sys\n"
        "from nbchat.providers.openai import OpenAIProvider\n"
        "provider = OpenAIProvider(base_url=sys.argv[1], api_key='any')\n"
        "nbchat.map([f'prompt {n}' for n in range(500)], provider=provider, journal=sys.argv[2],\n"
        "           concurrency=6, rpm=60 * 190, progress=False)\n"
    )
    with LimitedServer(per_s=200, fail=10) as server, client_of(server) as client:
        server.hold_after(150)
        process = subprocess.Popen([sys.executable, "-c", code, server.base_url, str(journal)], cwd=ROOT)
        server.wait_held(6)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        server.wait_idle()
        server.hold_after(None)
        before = server.asked.copy()

        def go_on(**arguments: Any) -> nbchat.Results:
            limits: Any = {"concurrency": 6, "rpm": 60 * 190, "progress": False}
            return nbchat.map(prompts, provider=client, journal=journal, **limits, **arguments)

        results = go_on()
        lost = [result for result in results if isinstance(result.error, nbchat.KernelGone)]
        assert len(lost) == 6
        assert [result.state for result in lost] == ["interrupted"] * len(lost)
        assert [r.text for r in results if r not in lost] == [
            prompt.upper() for at, prompt in enumerate(prompts) if results[at] not in lost
        ]
        assert 150 <= sum(result.restored for result in results) <= 155
        asked_now = server.asked - before
        assert not {r.prompt for r in results if r.restored or r in lost} & set(asked_now)
        assert max(server.answered.values()) == 1

        before = server.asked.copy()
        whole = go_on(retry_interrupted=True)
        assert whole.texts == [prompt.upper() for prompt in prompts]
        assert set(server.asked - before) == {result.prompt for result in lost}
        assert (server.refused, server.most_at_once <= 6) == (0, True)

        before = server.asked.copy()
        again = go_on()
        assert again.texts == whole.texts
        assert all(result.restored for result in again)
        assert again.usage == whole.usage
        assert server.asked == before
    assert (journal.stat().st_mode & 0o077) == 0


@pytest.fixture
def keeping_server() -> Iterator[DemoServer]:
    """Run the embedded server, which keeps answers generated in the background."""
    engine = engine_of(nbchat.registry).loop
    server = DemoServer(pace=0.5)
    engine.run(server.start(), 10)
    yield server
    engine.run(server.close(), 10)


def asked_and_kept(journal: Path) -> tuple[Counter[str], set[str], set[str]]:
    """Return counts of requests by key, the keys that the server keeps, and the answered keys."""
    lines = [json.loads(line) for line in journal.read_bytes().split(b"\n")[1:-1]] if journal.exists() else []
    return (
        Counter(line["asked"] for line in lines if "asked" in line),
        {line["answering"] for line in lines if "answering" in line},
        {line["key"] for line in lines if "key" in line},
    )


@pytest.mark.parametrize("server_forgets", [False, True])
def test_an_answer_kept_by_the_server_is_read(
    keeping_server: DemoServer, server_forgets: bool, tmp_path: Path
) -> None:
    """After a kill, answers that the server kept are read from it, and no prompt is sent twice."""
    journal = tmp_path / "answers.jsonl"
    code = (
        "import nbchat, sys\n"
        "from nbchat.providers.openai import OpenAIProvider\n"
        "provider = OpenAIProvider(base_url=sys.argv[1], api_key='any', api='responses')\n"
        "prompts = [f'{n} and ' * 100 for n in range(24)]\n"
        "nbchat.map(prompts, provider=provider, model='nbchat-echo', journal=sys.argv[2], progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, keeping_server.base_url, str(journal)], cwd=ROOT)

    def in_the_middle() -> bool:
        _, kept, answered = asked_and_kept(journal)
        return bool(answered) and len(kept - answered) >= 4

    wait_for(in_the_middle, "some are answered and some are being answered")
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    _, kept, answered = asked_and_kept(journal)
    if server_forgets:
        journal.write_bytes(journal.read_bytes().replace(b'"resp_', b'"gone_'))

    provider = OpenAIProvider(base_url=keeping_server.base_url, api_key="any", api="responses")
    prompts = [f"{n} and " * 100 for n in range(24)]

    def go_on(**arguments: Any) -> nbchat.Results:
        settings: Any = {"provider": provider, "model": "nbchat-echo", "progress": False}
        return nbchat.map(prompts, journal=journal, **settings, **arguments)

    results = go_on()
    read = [result for result in results if result.ok and not result.restored]
    lost = [result for result in results if isinstance(result.error, nbchat.KernelGone)]
    assert sum(result.restored for result in results) == len(answered)
    assert len(read) + len(lost) == 24 - len(answered)
    asked, _, _ = asked_and_kept(journal)
    assert set(asked.values()) == {1}
    if server_forgets:
        assert len(lost) >= len(kept - answered)
        results = go_on(retry_interrupted=True)
        assert results.failed == []
    else:
        assert len(lost) <= 8 - len(kept - answered)  # killed before the server sent an id
    assert [r.text for r in results if r.ok] == [prompts[r.index] for r in results if r.ok]
    engine_of(nbchat.registry).loop.run(provider.aclose())


def test_a_broken_last_line_is_cut_off(tmp_path: Path) -> None:
    """An answer that was partly written when the process was killed counts as interrupted."""
    journal = tmp_path / "answers.jsonl"
    nbchat.map(["a", "b"], provider=shouting(), journal=journal, concurrency=1, progress=False)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    provider = shouting()

    def go_on(**arguments: Any) -> nbchat.Results:
        return nbchat.map(["a", "b"], provider=provider, journal=journal, progress=False, **arguments)

    assert go_on().texts == ["A", None]
    assert provider.requests == []
    assert go_on(retry_interrupted=True).texts == ["A", "B"]
    assert len(provider.requests) == 1
    assert journal.read_bytes().startswith(whole[: whole.rindex(b"{")])


def test_it_is_written_down_before_it_is_sent(tmp_path: Path) -> None:
    """A prompt is recorded in the journal before it is sent, and a failed prompt is sent again."""
    journal = tmp_path / "answers.jsonl"
    seen: list[str] = []

    def script(request: Request) -> list[Any]:
        seen.append(journal.read_text().splitlines()[-1])
        return [nbchat.RequestRejected("no.")] if len(seen) == 1 else [request.messages[-1].text.upper()]

    provider = ScriptedProvider(script)
    for expected in (None, "A"):
        (result,) = nbchat.map(["a"], provider=provider, journal=journal, progress=False)
        assert result.text == (expected or "")
    assert [list(json.loads(line)) for line in seen] == [["asked"], ["asked"]]
    kinds = [next(iter(json.loads(line))) for line in journal.read_text().splitlines()[1:]]
    assert kinds == ["asked", "unanswered", "asked", "key"]


@pytest.mark.parametrize("is_abandoned", [True, False])
def test_a_prompt_in_progress_is_unknown_only_if_the_batch_was_abandoned(
    tmp_path: Path, is_abandoned: bool
) -> None:
    """A prompt is sent again if its batch was stopped, not if its process ended by itself."""
    journal = AnswerFile(tmp_path / "answers.jsonl")
    journal.asked("a")
    journal.close(is_abandoned=is_abandoned)
    journal = AnswerFile(tmp_path / "answers.jsonl")
    assert [type(answer.error) for answer in journal.find(["a"]).values()] == (
        [nbchat.KernelGone] if is_abandoned else []
    )
    journal.close()


def test_two_batches_do_not_share_a_journal(tmp_path: Path) -> None:
    """A journal that another batch is writing is refused before anything is sent."""
    journal = tmp_path / "answers.jsonl"
    second = shouting()

    def while_the_first_runs(_now: nbchat.BatchProgress) -> None:
        with pytest.raises(nbchat.StoreBusy, match="another batch is writing"):
            nbchat.map(["a"], provider=second, journal=journal, progress=False)

    nbchat.map(["a"], provider=shouting(), journal=journal, progress=while_the_first_runs)
    assert second.requests == []


def test_a_journal_that_cannot_be_written_ends_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that cannot be recorded in the journal is not sent."""

    def full(_file: AnswerFile, _key: str) -> None:
        raise nbchat.StoreError("no space left.")

    monkeypatch.setattr(AnswerFile, "asked", full)
    provider = shouting()
    with pytest.raises(nbchat.StoreError, match="no space left"):
        nbchat.map(["a", "b"], provider=provider, journal=tmp_path / "answers.jsonl", progress=False)
    assert provider.requests == []


def test_keys_of_a_journal_cover_all_settings_of_an_answer(tmp_path: Path) -> None:
    """A prompt is sent again with other settings, and once for each time that it is in the list."""
    journal = tmp_path / "answers.jsonl"
    provider = shouting()
    nbchat.map(["a", "a"], provider=provider, journal=journal, model="m1", progress=False)
    assert len(provider.requests) == 2
    for settings in ({"model": "m1"}, {"model": "m2"}, {"model": "m1", "instructions": "Be brief."}):
        nbchat.map(["a", "a"], provider=provider, journal=journal, progress=False, **settings)
    assert len(provider.requests) == 6


def test_another_file_is_not_written_to(tmp_path: Path) -> None:
    """A file that is not a journal is refused and not changed."""
    for content in ("one line of something\n", '{"half a', "[]\n[]\n"):
        notes = tmp_path / "notes.txt"
        notes.write_text(content)
        with pytest.raises(ValueError, match="holds no answers"):
            nbchat.map(["a"], provider=shouting(), journal=notes, progress=False)
        assert notes.read_text() == content
    with pytest.raises(nbchat.StoreError, match="cannot be kept"):
        nbchat.map(["a"], provider=shouting(), journal=tmp_path, progress=False)


def test_an_error_stands_in_its_place() -> None:
    """The result of a failed prompt has its error, and the other prompts are answered."""

    def script(request: Request) -> list[Any]:
        text = request.messages[-1].text
        return [nbchat.RequestRejected("not this one.")] if text == "bad" else [text]

    results = nbchat.map(["a", "bad", "c"], provider=ScriptedProvider(script), progress=False)
    assert results.texts == ["a", None, "c"]
    assert [result.index for result in results.failed] == [1]
    assert isinstance(results[1].error, nbchat.RequestRejected)
    assert results[1].attempts == 1
    with pytest.raises(ExceptionGroup, match="1 of 3 prompts were not answered"):
        results.raise_errors()


def test_a_temporary_failure_is_retried() -> None:
    """A temporary failure is retried, and the result is the complete answer."""
    failures: list[Any] = [ProviderUnavailable("busy."), StreamBroken("cut.")]

    def script(_request: Request) -> list[Any]:
        return ["half", failures.pop()] if failures else ["whole"]

    (result,) = nbchat.map(["a"], provider=ScriptedProvider(script), progress=False)
    assert (result.text, result.attempts) == ("whole", 3)


def test_a_wrong_key_is_not_tried_five_hundred_times() -> None:
    """An error that affects every prompt ends the batch, and every result has it."""
    with LimitedServer(status=401) as server, client_of(server) as client:
        results = nbchat.map([f"p{n}" for n in range(500)], provider=client, concurrency=4, progress=False)
        assert sum(server.asked.values()) <= 4
    assert {type(result.error) for result in results} == {nbchat.AuthenticationFailed}


def test_prompts_are_made_by_templates() -> None:
    """Templates are filled from mappings or single values, or are functions; missing values are errors."""
    provider = shouting()

    def ask(prompts: Any, template: Any) -> list[str | None]:
        return nbchat.map(prompts, template, provider=provider, progress=False).texts

    assert ask([{"a": "x", "b": 2}], "{a}-{b:03}") == ["X-002"]
    assert ask([1, 2], "n={prompt}") == ["N=1", "N=2"]
    assert ask([1, 2], lambda n: f"f{n}") == ["F1", "F2"]
    assert ask([{"a": "x", "b": 2}], '{{a}}: {"b": {b}}, Q{b}{a}') == ['{A}: {"B": 2}, Q2X']
    frame = pd.DataFrame({"review": ["x"], "a b": [1]})
    assert ask(frame, lambda row: f"{row.review}, {row['a b']}") == ask(frame, "{row.review}, 1") == ["X, 1"]
    assert ask([{"a": None}, {"a": float("nan")}, {"a": ""}], "{a}") == [None, None, None]
    assert ask(["a", "", None], None) == ["A", None, None]
    assert ask([], None) == []
    tags = np.array(["x", "y"])
    assert ask([{"q": "a", "tags": tags}], "{q}: {tags}") == ["A: ['X' 'Y']"]
    assert ask(pd.DataFrame({"q": ["a"], "tags": [tags]}), "{q}: {tags}") == ["A: ['X' 'Y']"]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nbchat.map("one prompt"), TypeError, "a list of prompts, not one str"),
        (lambda: nbchat.map(5), TypeError, "a list of prompts, not one int"),  # type: ignore[arg-type]
        (lambda: nbchat.map([1, 2]), TypeError, "prompt 0 is of type int"),
        (lambda: nbchat.map([{"a": 1}], "{b}"), ValueError, "names 'b'"),
        (lambda: nbchat.map(["a"], concurrency=0), ValueError, "concurrency must be from 1"),
        (lambda: nbchat.map(["a"], concurrency=True), TypeError, "whole number"),
        (lambda: nbchat.map(["a"], rpm=-1), ValueError, "rpm must be positive"),
        (lambda: nbchat.map(["a"], rpm="10"), TypeError, "rpm must be a number"),
        (lambda: nbchat.map(["a"], params={"stream": False}), ValueError, "nbchat sets it"),
        (lambda: nbchat.map(pl.DataFrame({"a": ["x"], "b": ["y"]})), ValueError, "several columns"),
        (lambda: nbchat.map(pl.DataFrame({"a": ["x"]}), "{c}"), ValueError, "names 'c'.*It has a"),
        (lambda: nbchat.map([1], "n={}"), ValueError, r"has no field; name a value in it, as \{prompt\}"),
        (
            lambda: nbchat.map([{"text": "a"}], "{txt}"),
            ValueError,
            r"'txt'.*did you mean 'text'\?",
        ),
        (
            lambda: nbchat.map(pl.DataFrame({"text": ["x"]}), lambda row: row.txt),
            AttributeError,
            "no column 'txt'; did you mean 'text'",
        ),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_asked(
    call: Any, error: type[Exception], says: str
) -> None:
    """The error names the argument and its allowed values."""
    with pytest.raises(error, match=says):
        call()


FRAMES = {
    "pandas": lambda data: pd.DataFrame(data, index=[7, 3, 3]),
    "polars": pl.DataFrame,
    "polars, lazy": pl.LazyFrame,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_goes_in_and_comes_out(kind: str) -> None:
    """Rows fill the template, and answers are added to the same kind of data frame."""
    frame = FRAMES[kind]({"city": ["Paris", None, "Rome"], "answer": [1, 2, 3]})
    results = nbchat.map(frame, "River of {city}?", provider=shouting(), progress=False)
    assert results.texts == ["RIVER OF PARIS?", None, "RIVER OF ROME?"]
    out = results.to_frame()
    assert type(out).__module__.split(".")[0] == type(frame).__module__.split(".")[0]
    assert list(out.columns)[:2] == ["city", "answer"]
    assert list(out["answer"]) == [1, 2, 3]
    assert list(out["nbchat_answer"])[0::2] == ["RIVER OF PARIS?", "RIVER OF ROME?"]
    assert list(out["error"])[1] == "request_rejected"
    if kind == "pandas":
        assert list(out.index) == [7, 3, 3]


@pytest.mark.parametrize("name", [0, "a.b", "q: short", "q[0]", "q!", "Why {x}?", "2"])
def test_the_only_column_is_the_prompts_whatever_its_name(name: object) -> None:
    """A frame with one column needs no template, and its name is not read as one."""
    frame = pd.DataFrame({name: ["a", None, "b"]})
    assert nbchat.map(frame, provider=shouting(), progress=False).texts == ["A", None, "B"]


def test_columns_without_names_are_numbered() -> None:
    """Columns without names are referred to by number in a template, as in pandas."""
    frame = pd.DataFrame([["a", "b"], ["c", "d"]])
    results = nbchat.map(frame, "{1} after {0}", provider=shouting(), progress=False)
    assert results.texts == ["B AFTER A", "D AFTER C"]
    results = nbchat.map(frame, lambda row: row[1], provider=shouting(), progress=False)
    assert results.texts == ["B", "D"]
    with pytest.raises(ValueError, match="several columns"):
        nbchat.map(frame)


def test_a_series_is_its_own_prompts() -> None:
    """A series of strings needs no template, and a list gives a frame of the requested library."""
    assert nbchat.map(pd.Series(["a", "b"]), provider=shouting(), progress=False).texts == ["A", "B"]
    series = nbchat.map(pl.Series("q", ["a"]), provider=shouting(), progress=False).to_frame()
    assert series.columns[:3] == ["q", "prompt", "answer"]
    listed = nbchat.map(["a"], provider=shouting(), progress=False)
    assert isinstance(listed.to_frame("polars"), pl.DataFrame)
    assert isinstance(listed.to_frame("pandas"), pd.DataFrame)
    with pytest.raises(ValueError, match="library must be one of"):
        listed.to_frame("excel")


def test_no_frame_library_is_loaded_for_a_list() -> None:
    """A list of prompts imports neither pandas nor polars nor narwhals."""
    code = (
        "import nbchat, sys\n"
        "from nbchat.providers.scripted import ScriptedProvider\n"
        "nbchat.map(['a'], provider=ScriptedProvider('b'))\n"
        "print({'pandas', 'polars', 'narwhals', 'ipywidgets', 'IPython'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_it_cannot_wait_for_itself() -> None:
    """Calling `map` on the engine's thread raises instead of blocking."""
    with pytest.raises(nbchat.WouldDeadlock):
        engine_of(nbchat.registry).loop.call(lambda: nbchat.map(["a"]))


def test_it_belongs_to_its_call() -> None:
    """Stopping all sessions does not stop a batch, and an exception in its progress function does."""
    hanging = ScriptedProvider(lambda request: ["x"] if request.messages[-1].text == "0" else [HANG])

    def stop(now: nbchat.BatchProgress) -> None:
        if now.done == 1:
            hanging.wait_until(lambda provider: len(provider.requests) == 3)
            nbchat.registry.stop_all()
            nbchat.registry.wait_all(30)
            assert hanging.closed == 1
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        nbchat.map(["0", "1", "2"], provider=hanging, concurrency=2, progress=stop)
    hanging.wait_until(lambda provider: provider.closed == 3)


def test_an_interrupt_ends_it_and_the_journal_keeps_the_rest(tmp_path: Path) -> None:
    """Ctrl-C ends a batch, and a second call continues after the stored answers."""

    def script(request: Request) -> list[Any]:
        number = int(request.messages[-1].text)
        if number == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return ["x"] if number < 10 else [HANG]

    hanging = ScriptedProvider(script)
    journal = tmp_path / "answers.jsonl"
    prompts = [str(n) for n in range(100)]
    with pytest.raises(KeyboardInterrupt) as caught:
        nbchat.map(prompts, provider=hanging, journal=journal, concurrency=3, progress=False)
    assert caught.value.__notes__ == ["nbchat.map: 10 of 100 were answered; journal=… keeps them."]
    hanging.wait_until(lambda p: p.closed == len(p.requests))

    provider = shouting()
    results = nbchat.map(prompts, provider=provider, journal=journal, progress=False)
    assert results.texts == ["x"] * 10 + prompts[10:]
    assert sorted(asked(provider), key=int) == prompts[10:]


RIVER = {
    "type": "object",
    "properties": {"river": {"type": "string"}, "model": {"type": "string"}, "km": {"type": "integer"}},
    "required": ["river", "km"],
}


def test_a_schema_gives_one_column_per_field(tmp_path: Path) -> None:
    """Each row has the fields of its answer, or an error if the answer never matches."""
    frame = pd.DataFrame({"text": ["Seine 775", "Loire 1006", "nothing"]})

    def answered(request: Request) -> list[str]:
        name, _, km = request.messages[0].text.partition(" ")
        return [json.dumps({"river": name, "km": int(km), "model": "m1"} if km else {"river": name})]

    for restored in (False, True):
        provider = ScriptedProvider(answered)
        results = nbchat.map(
            frame, "{text}", schema=RIVER, provider=provider, journal=tmp_path / "a.jsonl", progress=False
        )
        assert len(provider.requests) == (0 if restored else 4)  # the third is corrected once
        assert results[0].data == {"river": "Seine", "km": 775, "model": "m1"}
        assert [result.ok for result in results] == [True, True, False]
        error = results[2].error
        assert isinstance(error, nbchat.AnswerInvalid)
        assert "'km' is a required property" in str(error)
        assert results[2].text == '{"river": "nothing"}'
        table = results.to_frame()
        assert list(table.columns[:4]) == ["text", "river", "model", "km"]
        assert list(table["river"][:2]) == ["Seine", "Loire"]
        assert list(table["km"][:2]) == [775, 1006]
        assert table["km"].isna().tolist() == [False, False, True]
        assert "nbchat_model" in table
        assert table["error"].tolist()[2] == "answer_invalid"


@dataclasses.dataclass
class DataclassCity:
    """A city, with fields that an answer may leave out."""

    name: str
    country: str = "France"
    rivers: list[str] = dataclasses.field(default_factory=list)


class StructCity(msgspec.Struct, omit_defaults=True, rename={"country": "land"}):
    """The same, with another name of a field in JSON."""

    name: str
    country: str = "France"


class ModelCity(pydantic.BaseModel):
    """The same, with a default that is not in the schema."""

    name: str
    country: str = pydantic.Field(default_factory=lambda: "France")


@pytest.mark.parametrize(
    ("schema", "column"), [(DataclassCity, "country"), (StructCity, "land"), (ModelCity, "country")]
)
def test_fields_that_an_answer_leaves_out_have_their_defaults(schema: Any, column: str) -> None:
    """A data frame has the same values as `data`, also where a field's default was used."""
    answers = {"Paris": {"name": "Paris"}, "Rome": {"name": "Rome", column: "Italy"}}
    provider = ScriptedProvider(lambda request: [json.dumps(answers[request.messages[0].text])])
    results = nbchat.map(list(answers), schema=schema, provider=provider, progress=False)
    assert [result.data.country for result in results] == ["France", "Italy"]
    assert results.to_frame("pandas")[column].tolist() == ["France", "Italy"]


def test_another_schema_is_another_question_in_the_journal(tmp_path: Path) -> None:
    """Answers in a journal are not reused for another schema, or without one."""
    journal = tmp_path / "a.jsonl"
    other = {**RIVER, "title": "Other"}
    for asked, schema in ((1, RIVER), (0, RIVER), (1, other), (1, None)):
        provider = ScriptedProvider('{"river": "Seine", "km": 775}')
        nbchat.map(["Seine"], schema=schema, provider=provider, journal=journal, progress=False)
        assert len(provider.requests) == asked


def test_a_validator_that_raises_ends_no_batch() -> None:
    """An exception of any kind in the user's type is the error of its row; the other rows have their data."""

    @dataclasses.dataclass
    class Speed:
        km: int
        hours: int

        def __post_init__(self) -> None:
            self.km_per_hour = self.km / self.hours

    provider = ScriptedProvider(lambda request: [f'{{"km": 10, "hours": {request.messages[0].text}}}'])
    results = nbchat.map(["2", "0", "5"], schema=Speed, provider=provider, progress=False)
    assert [result.ok for result in results] == [True, False, True]
    assert [results[0].data.km_per_hour, results[2].data.km_per_hour] == [5.0, 2.0]
    error = results[1].error
    assert isinstance(error, nbchat.AnswerInvalid)
    assert "division by zero" in str(error)
