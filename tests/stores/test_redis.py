"""The store on a server of Redis or Valkey: its start, its keys, its errors."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from nbchat.core.errors import (
    ConfigError,
    SnapshotTooNew,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
)
from nbchat.core.ids import new_id
from nbchat.stores.base import MAX_WRITE_IDS, Acknowledged, Base, Gone, Kept, RunEvents, Stretch
from nbchat.stores.bodies import compressed
from nbchat.stores.redis import RedisStore
from nbchat.stores.redis_server import check, connect, translated
from tests.redis_process import RedisProcess

ROOT = Path(__file__).parent.parent.parent
LEASE_S = 60.0


@pytest.fixture
def store(redis_server: RedisProcess, namespace: str) -> Iterator[RedisStore]:
    """Return an empty store."""
    made = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    yield made
    made.close()


def stretch(first: int, count: int = 1, *, by: str, session: str = "s-1") -> Stretch:
    """Return events `first` to `first + count - 1`."""
    return Stretch(session_id=session, first_seq=first, count=count, epoch=by, body=b"[]" * count)


# The start

SOUND = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": 1}


@pytest.mark.parametrize(
    ("change", "error", "remedy"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, StoreError, "maxmemory-policy noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, StoreError, "maxmemory-policy noeviction"),
        ({"aof_enabled": 0}, StoreError, "appendonly yes"),
        ({"redis_version": "6.0.16"}, StoreError, "Redis 6.2"),
        ({"role": "slave"}, StoreReadOnly, "primary"),
        ({"loading": 1}, StoreBusy, "kept in memory"),
    ],
)
def test_a_server_that_cannot_keep_sessions_is_refused_with_the_remedy(
    change: dict[str, Any], error: type[StoreError], remedy: str
) -> None:
    """A server that may drop sessions, is too old, a replica or loading is refused with a hint."""
    check(SOUND, "the server", safe=True)
    with pytest.raises(error) as refused:
        check({**SOUND, **change}, "the server", safe=True)
    assert remedy in refused.value.hint


def test_a_server_that_is_known_to_be_safe_can_be_used(redis_server: RedisProcess, namespace: str) -> None:
    """A running server that evicts keys or has no log on disk is refused unless the caller accepts it."""
    for name, bad, good in (("maxmemory-policy", "allkeys-lru", "noeviction"), ("appendonly", "no", "yes")):
        with redis_server.client() as client:
            client.config_set(name, bad)
            try:
                with pytest.raises(StoreError, match=name):
                    RedisStore(redis_server.url, namespace, timeout_s=60.0)
                RedisStore(redis_server.url, namespace, safe=False, timeout_s=60.0).close()
            finally:
                client.config_set(name, good)


def test_a_valkey_server_needs_no_version_of_redis() -> None:
    """A server of Valkey is accepted whatever version of Redis it reports."""
    check({**SOUND, "redis_version": "6.0.0", "valkey_version": "9.0.0"}, "the server", safe=True)


@pytest.mark.parametrize("name", ["", "a:b", "a{b}", "a b", "\n", "x" * 201])
def test_names_that_would_change_the_keys_are_refused(name: str) -> None:
    """A namespace or prefix that could reach another namespace's keys is refused."""
    with pytest.raises(ValueError, match="namespace"):
        RedisStore("redis://127.0.0.1:1", name)
    if name != "a:b":
        with pytest.raises(ValueError, match="prefix"):
            RedisStore("redis://127.0.0.1:1", "n-1", prefix=name)


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://localhost:port/"])
def test_an_address_that_is_not_valid_is_refused(url: str) -> None:
    """A URL that is not one of a server is an error of the configuration."""
    with pytest.raises(ConfigError):
        RedisStore(url, "n-1")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, the error has the command that installs it, which pyproject.toml defines."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(line.startswith("redis>=") for line in project["optional-dependencies"]["redis"])
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError) as missing:
        RedisStore("redis://127.0.0.1:1", "n-1")
    assert f"pip install '{project['name']}[redis]'" in missing.value.hint


def test_the_library_is_imported_when_a_store_is_opened() -> None:
    """Importing the module of the store does not import the extra."""
    code = "import sys, nbchat.stores.redis; print('redis' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"


def test_a_newer_layout_is_left_alone(store: RedisStore, redis_server: RedisProcess) -> None:
    """A namespace that a newer nbchat wrote is refused and not changed."""
    with redis_server.client() as client:
        client.hset(store._key("head"), "layout", 99)
    with pytest.raises(SnapshotTooNew):
        RedisStore(redis_server.url, store.namespace, timeout_s=60.0)


# Keys


def test_all_keys_of_a_namespace_are_in_one_slot_of_a_cluster(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    """Every key has the prefix and the namespace as its hash tag, also if a session's id contains braces."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    ended = RunEvents(run_id="r-1", seq=2, over=True)
    records = [
        Base(session_id="s-{x}", seq=1, body=b"{}"),
        Stretch(session_id="s-{x}", first_seq=2, count=1, epoch=token, body=b"[]", runs=(ended,)),
        Acknowledged(command_id="c-1", body=b"1"),
    ]
    store.write(token, "w-1", records)
    store.remember("path", "a")
    with redis_server.client() as client:
        keys = sorted(client.scan_iter(match=f"*{store.namespace}*"))
    start = f"nb:{{{store.namespace}}}:"
    names = ("ack_order", "acks", "facts", "head", "s:s-{x}:base", "s:s-{x}:ends", "s:s-{x}:log")
    expected = [start + name for name in (*names, "sessions", "tokens", "writes")]
    assert [key.decode() for key in keys] == expected
    assert len({key_slot(key) for key in keys}) == 1
    assert store.read().sessions["s-{x}"].stretches != ()


def test_namespaces_and_prefixes_share_nothing(store: RedisStore, redis_server: RedisProcess) -> None:
    """A session or a lease of one namespace is not seen in another one, nor under another prefix."""
    store.write([stretch(1, by="k-1")])
    for namespace, prefix in ((store.namespace + "2", "nb"), (store.namespace, "other")):
        other = RedisStore(redis_server.url, namespace, prefix=prefix, timeout_s=60.0)
        assert other.read().sessions == {}
        assert other.claim(new_id("l-"), LEASE_S)
        other.close()
    assert store.holder() is None


def test_a_base_frees_the_memory_of_earlier_events(store: RedisStore, redis_server: RedisProcess) -> None:
    """A base removes the events that it includes from the server; later events are kept."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    log = store._keys_of("s-1", "log")[0]
    store.write(token, "w-1", [stretch(1, by=token), stretch(2, 2, by=token)])
    with redis_server.client() as client:
        assert client.xlen(log) == 2
        store.write(token, "w-2", [Base(session_id="s-1", seq=3, body=b"{}")])
        assert client.exists(log) == 0
        store.write(token, "w-3", [stretch(4, by=token)])
        assert client.xlen(log) == 1
    assert store.read_session("s-1").stretches == (stretch(4, by=token),)


def test_bodies_are_compressed(store: RedisStore, redis_server: RedisProcess) -> None:
    """Text takes less memory on the server than it has characters."""
    body = b'{"text": "The quick brown fox jumps over the lazy dog."}' * 100
    store.write([Base(session_id="s-1", seq=1, body=body)])
    with redis_server.client() as client:
        assert client.hstrlen(store._keys_of("s-1", "base")[0], "body") < len(body) // 10


def test_ids_of_writes_are_kept_within_their_limit_and_end_with_the_lease(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    """The server keeps the ids of the last writes of a lease, and none after it."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    with redis_server.client() as client:
        earlier = 2 * MAX_WRITE_IDS
        client.zadd(store._key("writes"), {f"+w-{number}": number for number in range(earlier)})
        client.hset(store._key("head"), "writes", earlier)
        for number in range(64):
            store.write(token, f"w-{earlier + number}", [])
        assert MAX_WRITE_IDS <= client.zcard(store._key("writes")) < MAX_WRITE_IDS + 64
        assert client.zscore(store._key("writes"), "+w-0") is None
        store.release(token)
        assert client.exists(store._key("writes")) == 0


def test_any_text_is_a_valid_id(store: RedisStore) -> None:
    """Ids with surrogates, colons and null bytes are stored and read."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    names = ["\ud800", "a:b", "\x00", "ä", "s:1:log"]
    store.write(token, "w-1", [stretch(1, by=token, session=name) for name in names])
    contents = store.read()
    assert contents.damage == ()
    assert contents.sessions == {
        name: Kept(stretches=(stretch(1, by=token, session=name),)) for name in names
    }


# Errors


@pytest.mark.parametrize(
    ("session", "field", "value"),
    [
        ("s-1", "body", b"not compressed"),
        ("s-1", "body", compressed(b"other")),
        ("s-1", "seq", b"7"),
        ("s-1", "seq", b"seven"),
        ("s-2", "gone", b""),
        ("s-2", "crc", b"1"),
    ],
)
def test_damaged_entries_are_omitted_and_reported(
    store: RedisStore, redis_server: RedisProcess, session: str, field: str, value: bytes
) -> None:
    """An entry that was changed on the server is not used, and other sessions are read."""
    whole = Base(session_id="s-3", seq=1, body=b"{}")
    store.write([Base(session_id="s-1", seq=1, body=b"{}"), Gone(session_id="s-2", body=b"{}"), whole])
    with redis_server.client() as client:
        client.hset(store._keys_of(session, "base")[0], field, value)
    contents = store.read()
    assert contents.damage == (f"session {session}: a record is damaged",)
    assert session not in contents.sessions
    assert contents.sessions["s-3"] == Kept(base=whole)


def test_a_damaged_stretch_is_reported_with_the_gap_that_it_leaves(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    """Events after a stretch that cannot be read are not used."""
    store.write([stretch(1, by="k-1")])
    with redis_server.client() as client:
        client.xadd(store._keys_of("s-1", "log")[0], {"f": 2, "e": "k-1", "c": 1, "b": "x"}, id="2-0")
    store.write([stretch(3, by="k-1")])
    contents = store.read()
    assert contents.damage == ("session s-1: a record is damaged", "session s-1: events 2 to 2 are missing")
    assert contents.sessions["s-1"].stretches == (stretch(1, by="k-1"),)


def test_a_full_server_accepts_what_frees_memory(store: RedisStore, redis_server: RedisProcess) -> None:
    """With a full server the lease can be claimed, renewed and released, and sessions can be deleted."""
    token = new_id("l-")
    store.write([Base(session_id="s-1", seq=1, body=b"{}")])
    gone = Gone(session_id="s-1", body=b"{}")
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            assert store.claim(token, LEASE_S)
            with pytest.raises(StoreFull, match="memory"):
                store.write(token, "w-1", [Base(session_id="s-2", seq=1, body=b"{}")])
            with pytest.raises(StoreFull):
                store.write(token, "w-1", [Acknowledged(command_id="c-1", body=b"1")])
            store.write(token, "w-1", [gone])
            assert store.renew(token, LEASE_S)
            store.release(token)
        finally:
            client.config_set("maxmemory", 0)
    assert store.read().sessions == {"s-1": Kept(gone=gone)}
    assert store.holder() is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "Error running script (call to f_1): -OOM command not allowed when used memory > 'maxmemory'",
            StoreFull,
        ),
        ("MISCONF Errors writing to the AOF file: No space left on device", StoreFull),
        ("READONLY You can't write against a read only replica.", StoreReadOnly),
        ("NOPERM this user has no permissions to run the 'evalsha' command", StoreReadOnly),
        ("NOAUTH Authentication required.", StoreReadOnly),
        ("LOADING Redis is loading the dataset in memory", StoreBusy),
        ("BUSY Redis is busy running a script.", StoreBusy),
        ("CLUSTERDOWN The cluster is down", StoreBusy),
        ("NOREPLICAS Not enough good replicas to write.", StoreBusy),
        ("ERR unknown command", StoreError),
    ],
)
def test_errors_of_the_server_are_translated(text: str, error: type[StoreError]) -> None:
    """Each error of a server becomes the store's error for it, and shows no password."""
    answer = f"-{text} hunter22\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = connect(f"redis://127.0.0.1:{port}", 60.0)
        server = threading.Thread(target=answer_all, args=(listener, answer))
        server.start()
        with pytest.raises(StoreError) as raised, translated("redis://host", ("hunter22",)):
            client.execute_command("PING")
        client.close()
        server.join()
    assert type(raised.value) is error
    assert "hunter22" not in f"{raised.value} {raised.value.hint}"


def answer_all(listener: socket.socket, answer: bytes) -> None:
    """Give the same answer to everything that one client sends."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):  # the client may close it early
        while data := connection.recv(65536):
            connection.sendall(answer * data.count(b"*"))


def test_a_password_is_shown_nowhere(redis_server: RedisProcess) -> None:
    """Neither the store nor an error of its connection shows the user or the password of its address."""
    url = redis_server.url.replace("unix://", "unix://somebody:hunter22@")
    with pytest.raises(StoreReadOnly) as refused:
        RedisStore(url, "n-1", timeout_s=60.0)
    with pytest.raises(StoreError) as unreachable:
        RedisStore("redis://somebody:hunter22@127.0.0.1:1/0?password=hunter22", "n-1", timeout_s=60.0)
    for error in (refused.value, unreachable.value):
        assert not re.search("hunter22|somebody", f"{error!r} {error} {error.hint}")


def test_a_closed_store_raises(store: RedisStore) -> None:
    """A store that was closed raises a store's error, and closing it again has no effect."""
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.read()
