"""`RedisBatch`: several processes send the prompts of one batch, at one rate."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from nbchat.core.errors import ConfigError, StoreError
from nbchat.stores.redis_batch import Outcome, RedisBatch, memory_of
from nbchat.stores.redis_client import RedisClient
from tests.redis_process import LossyProxy, RedisProcess
from tests.waiting import wait_for

Join = Callable[..., RedisBatch]


@pytest.fixture
def join(redis_server: RedisProcess, namespace: str) -> Iterator[Join]:
    """Return a function that joins this test's batch as another process does."""
    with ExitStack() as stack:

        def made(
            url: str = redis_server.url, lease_s: float = 60.0, temporary: str = "", joins: bool = False
        ) -> RedisBatch:
            batch = RedisBatch(url, namespace, temporary, joins=joins, lease_s=lease_s)
            stack.callback(lambda: _closed(batch))
            return batch

        yield made


def _closed(batch: RedisBatch) -> None:
    with suppress(StoreError):
        batch.close()


def vanish(batch: RedisBatch) -> None:
    """End as a killed process does, which releases nothing."""
    batch._closing.set()
    batch._renewing.join()
    RedisClient.close(batch)


def send(batch: RedisBatch, key: str) -> None:
    """Claim a prompt, and mark it as sent."""
    assert batch.claim(key, again=False)
    assert batch.sent(key)


def test_a_prompt_is_sent_by_one_process(join: Join) -> None:
    """A prompt that one process has claimed is refused to others, which get its outcome."""
    one, other = join(), join()
    assert one.claim("a", again=False)
    assert not other.claim("a", again=True)
    assert not other.sent("a")
    assert one.sent("a")
    assert other.news() == []
    one.keep("a", b"answer", is_answer=True)
    assert not other.claim("a", again=True)
    assert other.news() == [Outcome(key="a", body=b"answer")]
    assert other.news() == []
    assert join().read(["a", "b"]) == {"a": Outcome(key="a", body=b"answer")}


def test_a_prompt_of_a_killed_process_is_unknown(join: Join) -> None:
    """A sent prompt of a vanished process is unknown, and claimed only on request; unsent ones are free."""
    killed, other = join(lease_s=1.0), join()
    send(killed, "sent")
    killed.answering("sent", "resp_1")
    assert killed.claim("unsent", again=False)
    vanish(killed)
    unknown, free = Outcome(key="sent", times=1, response_id="resp_1"), Outcome(key="unsent")
    wait_for(lambda: len(other.news()) == 2, "the end of the lease")
    assert sorted(other.news(), key=lambda outcome: outcome.key) == [unknown, free]
    assert other.read(["sent", "unsent"]) == {"sent": unknown}
    assert not other.claim("sent", again=False)
    assert other.claim("unsent", again=False)
    taker = join(lease_s=1.0)
    assert taker.claim("sent", again=True)
    vanish(taker)  # before it was sent a second time
    wait_for(lambda: other.news() == [unknown], "the end of the second lease")
    assert other.claim("sent", again=True)
    assert other.sent("sent")


def test_a_process_that_ends_in_order_releases_its_prompts(join: Join) -> None:
    """Prompts of a process that has closed the batch are free for the others at once."""
    one, other = join(), join()
    send(one, "a")
    one.close()
    assert other.news() == [Outcome(key="a")]
    send(other, "a")


def test_a_process_that_abandons_a_batch_leaves_sent_prompts_unknown(join: Join) -> None:
    """Of a process that ends without having been stopped, sent prompts are unknown; the others are free."""
    one, other = join(), join()
    send(one, "sent")
    assert one.claim("unsent", again=False)
    one.close(is_abandoned=True)
    assert other.news() == [Outcome(key="unsent"), Outcome(key="sent", times=1)]
    assert not other.claim("sent", again=False)
    send(other, "unsent")


def test_an_unanswered_prompt_remains_claimed(join: Join) -> None:
    """Between two attempts a prompt is not sent by others; if its process vanishes then, it is free."""
    one, other = join(lease_s=0.5), join()
    send(one, "a")
    one.unanswered("a")
    vanish(one)
    wait_for(lambda: other.news() == [Outcome(key="a")], "the end of the lease")
    send(other, "a")
    other.unanswered("a")
    assert not join().claim("a", again=True)


def test_a_process_that_joins_sends_no_failed_prompt_again(join: Join) -> None:
    """A prompt that failed before it joined the batch is left to the process that began it."""
    one = join()
    send(one, "a")
    one.unanswered("a")
    one.keep("a", b"failed", is_answer=False)
    assert not join(joins=True).claim("a", again=True)
    assert join().claim("a", again=False)


def test_a_failure_counts_for_the_processes_that_run(join: Join) -> None:
    """A failed prompt is reported to running processes and not sent again; a later batch sends it."""
    one, other = join(), join()
    send(one, "a")
    one.keep("a", b"failure", is_answer=False)
    assert not other.claim("a", again=True)
    assert other.news() == [Outcome(key="a", body=b"failure")]
    later = join()
    assert later.read(["a"]) == {}
    send(later, "a")
    later.keep("a", b"answer", is_answer=True)
    assert later.read(["a"]) == {"a": Outcome(key="a", body=b"answer")}


def test_the_first_answer_remains(join: Join) -> None:
    """A process that was suspended and replaced cannot replace an answer, nor end the prompt of another."""
    suspended, other = join(lease_s=1.0), join()
    send(suspended, "a")
    suspended._closing.set()
    suspended._renewing.join()
    wait_for(lambda: other.news() != [], "the end of the lease")
    assert other.claim("a", again=True)
    assert other.sent("a")
    assert not suspended.sent("a")
    suspended.unanswered("a")
    suspended.keep("a", b"failure", is_answer=False)
    assert not join().claim("a", again=True)
    suspended.keep("a", b"late answer", is_answer=True)
    other.keep("a", b"second answer", is_answer=True)
    assert other.read(["a"]) == {"a": Outcome(key="a", body=b"late answer")}


def test_a_lost_answer_changes_nothing(join: Join, redis_server: RedisProcess) -> None:
    """Operations whose answers are lost are repeated, with the same result."""
    with LossyProxy(redis_server) as proxy:
        lossy, other = join(proxy.url), join()
        for work in (
            lambda: lossy.claim("a", again=False),
            lambda: lossy.sent("a"),
            lambda: lossy.keep("a", b"answer", is_answer=True) is None,
        ):
            proxy.drop_answers(1)
            assert work()
        assert proxy.dropped == 3
        assert other.news() == [Outcome(key="a", body=b"answer")]
        lossy.close()


def test_all_processes_share_one_rate(join: Join, redis_server: RedisProcess) -> None:
    """However many processes ask, turns are no closer together than the interval."""
    interval_s, turns = 0.01, 40
    granted: list[None] = []

    def clock() -> float:
        with redis_server.client() as client:
            seconds, microseconds = client.time()  # type: ignore[misc]
        return float(seconds) + microseconds / 1_000_000

    def work(batch: RedisBatch) -> None:
        while len(granted) < turns:
            if batch.take_turn("model", interval_s) == 0:
                granted.append(None)

    threads = [threading.Thread(target=work, args=(join(),)) for _ in range(3)]
    began = clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock() - began >= (len(granted) - 1) * interval_s
    assert join().take_turn("another model", 60.0) == 0


def test_a_refusal_holds_all_processes(join: Join) -> None:
    """When one process has closed the gate, no other one gets a turn, also without a rate."""
    one, other = join(), join()
    assert other.take_turn("model", 0.0) == 0
    one.close_gate("model", 600.0)
    one.close_gate("model", 1.0)
    assert 500 < other.take_turn("model", 0.0) <= 600
    assert 500 < one.take_turn("model", 60.0) <= 600
    assert other.take_turn("another model", 0.0) == 0


def test_a_temporary_batch_is_separate_and_not_kept(join: Join, redis_server: RedisProcess) -> None:
    """Temporary batches share only the rate; each is deleted on request, or a week after its last use."""
    first, second = join(temporary="b-1"), join(temporary="b-2")
    for batch in (first, second):
        send(batch, "a")
        batch.keep("a", b"answer", is_answer=True)
    assert first.take_turn("model", 60.0) == 0
    assert second.take_turn("model", 60.0) > 0
    first.delete()
    assert list(second.read(["a"])) == ["a"]
    with redis_server.client() as client:
        assert client.keys(f"{second._root}map:b-1:*") == []
    second.close()
    with redis_server.client() as client:
        (log,) = client.keys(f"{second._root}map:b-2:log")  # type: ignore[misc]
        assert 0 < client.pttl(log) <= 7 * 86_400_000  # type: ignore[operator]


def test_the_memory_of_temporary_batches_is_measured(join: Join, redis_server: RedisProcess) -> None:
    """The memory of all temporary batches of one name is counted, until they are deleted."""
    batches = [join(temporary=f"b-{number}") for number in range(3)]
    name = batches[0].where.partition("#")[2]
    empty = memory_of(redis_server.url, name)
    for batch in batches:
        send(batch, "a")
        batch.keep("a", random.Random(1).randbytes(10_000), is_answer=True)
    assert 30_000 < memory_of(redis_server.url, name) - empty < 60_000
    assert memory_of(redis_server.url, f"{name}-2") == 0
    for batch in batches:
        batch.delete()
    assert memory_of(redis_server.url, name) == 0


def test_batches_in_use_are_counted(join: Join, redis_server: RedisProcess) -> None:
    """The list of the batches that are counted has those that were used in the last week."""
    with redis_server.client() as client:
        used = join(lease_s=0.2, temporary="b-1")
        registered = f"{used._root}batches"
        client.delete(registered)
        client.zadd(registered, {"b-2": time.time() - 8 * 86_400})
        wait_for(lambda: client.zrange(registered, 0, -1) == [b"b-1"], "the renewal of the lease")


@pytest.mark.parametrize("name", ["", "a b", "a/b"])
def test_a_batch_needs_a_name(redis_server: RedisProcess, name: str) -> None:
    """An address without a valid name is refused, with an example of one."""
    with pytest.raises(ConfigError, match="name of a batch") as caught:
        RedisBatch(redis_server.url, name)
    assert "#reviews" in str(caught.value)
