"""Errors survive pickling, copying and the return from another process."""

import copy
import multiprocessing
import pickle
from typing import Any

import pytest

import nbchat
from nbchat.core import errors
from nbchat.core.values import DecodeError

OF_THEIR_OWN: dict[type[Exception], Exception] = {
    errors.UnknownSession: errors.UnknownSession("geo"),
    errors.SessionGone: errors.SessionGone("s-1"),
    errors.RunInProgress: errors.RunInProgress("s-1", "r-1", "streaming"),
    errors.SessionFull: errors.SessionFull("s-1", 11, 10),
    DecodeError: DecodeError("expected str, got int - at $.a"),
}
"""An error of each class whose `__init__` takes arguments other than a message."""


STAGES = {
    "command": "command_error callback_error nothing_to_do pickling_refused queue_full run_in_progress "
    "run_not_live run_over session_full session_gone stale_command too_many_sessions unknown_session "
    "would_deadlock",
    "connect": "config_error connect_failed",
    "first_byte": "authentication_failed context_too_long empty_response first_token_timeout "
    "model_not_found provider_unavailable rate_limited request_rejected",
    "stream": "answer_invalid idle_timeout kernel_gone limit_exceeded orphaned pause_expired "
    "protocol_error provider_error provider_error_event run_crashed stream_broken stream_truncated "
    "total_timeout",
    "restore": "snapshot_corrupt snapshot_error snapshot_too_large snapshot_too_new",
    "persist": "lease_lost store_busy store_conflict store_error store_full store_read_only "
    "store_rolled_back",
    "view": "wire_error",
}
"""Codes of errors by stage. Logs and snapshots contain them, so they never change."""

RETRYABLE = {"connect_failed", "provider_unavailable", "rate_limited"}


def one_of(cls: type[errors.NbchatError]) -> Exception:
    """Return an error of this class with every attribute set."""
    error = OF_THEIR_OWN.get(cls)
    if error is None:
        error = cls(
            "it broke.",
            hint="Mend it.",
            stage="persist",
            retryable=2.5,
            http_status=500,
            request_id="req-1",
            partial_chars=3,
        )
    error.add_note("seen in a test")
    return error


ALL = [one_of(cls) for cls in dict.fromkeys([errors.NbchatError, *errors.CLASSES.values()])] + [
    OF_THEIR_OWN[DecodeError]
]
PUBLIC = [
    value
    for name in nbchat.__all__
    if isinstance(value := getattr(nbchat, name), type) and issubclass(value, BaseException)
]


def check(got: Any, error: Exception) -> None:
    """Assert that two errors have the same type, text, arguments and attributes."""
    assert type(got) is type(error)
    assert got is not error
    assert (str(got), repr(got), got.args) == (str(error), repr(error), error.args)
    assert vars(got) == vars(error)
    if isinstance(error, errors.NbchatError):
        assert got.info == error.info


def test_codes_of_errors_never_change() -> None:
    """Each code that a log or a snapshot can contain keeps its class, stage and `retryable`."""
    for stage, codes in STAGES.items():
        for code in codes.split():
            kind = errors.CLASSES[code]
            assert (kind.code, kind.stage, kind.retryable) == (code, stage, code in RETRYABLE)
    of_the_module = {code for code, kind in errors.CLASSES.items() if kind.__module__ == errors.__name__}
    assert of_the_module == {code for codes in STAGES.values() for code in codes.split()}


def test_every_public_error_is_tested() -> None:
    """These tests cover every exception that `nbchat` exports."""
    assert PUBLIC
    assert set(PUBLIC) <= {type(error) for error in ALL}


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy(error: Exception) -> None:
    """Every pickle protocol and kind of copy keeps an error's text, attributes, arguments and notes."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        check(pickle.loads(pickle.dumps(error, protocol)), error)
    check(copy.copy(error), error)
    check(copy.deepcopy(error), error)


def test_a_copy_shares_no_attributes() -> None:
    """Changing a copy does not change the original."""
    error = errors.SessionGone("s-1")
    copied = copy.copy(error)
    copied.hint = "another"
    assert error.hint != "another"


def throw(error: Exception) -> None:
    """Raise an error in another process."""
    raise error


def test_errors_come_back_from_a_pool() -> None:
    """A `multiprocessing.Pool` raises what its workers raised, instead of waiting forever."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for error in OF_THEIR_OWN.values():
            with pytest.raises(type(error)) as caught:
                pool.apply_async(throw, (error,)).get(60)
            assert str(caught.value) == str(error)
            assert caught.value.args == error.args
