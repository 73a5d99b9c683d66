"""Server errors become one exception with all the information a user needs, and no secret."""

import pytest

from nbchat.core import errors
from nbchat.providers.errors import MAX_SAID_CHARS, code_of, from_status, request_id, retry_after, said, words

NOW = 1_445_412_470.0  # Wed, 21 Oct 2015 07:27:50 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after-ms": "300"}, 0.3),
        ({"retry-after-ms": "300", "retry-after": "7"}, 0.3),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:00:00 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 99999 07:00:00 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_a_wait_is_a_positive_number_or_nothing(headers: dict[str, str], seconds: float | None) -> None:
    """`Retry-After` in all its forms is converted to seconds, and invalid values to `None`."""
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "No.", "code": "bad"}}, "No.", "bad"),
        ({"error": {"message": "No.", "type": "oops", "code": None}}, "No.", "oops"),
        ({"error": "No."}, "No.", ""),
        ({"message": "No.", "code": "bad"}, "No.", "bad"),
        ({"detail": "No."}, "No.", ""),
        ({"detail": [{"loc": ["body", "model"], "msg": "missing"}]}, "body.model: missing", ""),
        ({"object": "error", "message": "No.", "type": "BadRequest"}, "No.", "BadRequest"),
        ({"error": {"message": {"message": "No."}}}, "No.", ""),
        ({"error": {"message": 5}}, "", ""),
        ({"error": [1, 2]}, "", ""),
        (["No."], "No.", ""),
        (7, "", ""),
        (None, "", ""),
    ],
)
def test_words_are_found_in_every_shape(body: object, message: str, code: str) -> None:
    """The message and the code are found in every place where servers put them."""
    assert (words(body), code_of(body)) == (message, code)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<b>bold</b> &amp; <script>evil()</script>x", "bold &amp; x"),
        ("a\n\t\0b\x1b[31m", "a b [31m"),
        ("left\u202eright\u200b\U000e0041", "left right"),
        ("key sk-proj-abcdefghijklmnop.", "key [redacted]."),
        ("key sk-<i>proj</i>-abc", "key sk- proj -abc"),
        ("mine: hunter22", "mine: [redacted]"),
        ("mine: p<b>ss-22 too", "mine: [redacted] too"),
        ("\ud800", "\ufffd"),
    ],
)
def test_server_messages_are_cleaned_for_display(text: str, shown: str) -> None:
    """Markup, control and invisible characters and secrets are removed from a server's message."""
    assert said(text, ["hunter22", "p<b>ss-22"]) == shown


def test_server_messages_are_redacted_before_they_are_cut() -> None:
    """A long text is cut to its limit, and the cut leaves no part of a key."""
    for at in range(150, 220):
        shown = said("x " * (at // 2) + "sk-proj-" + "a1" * 40)
        assert len(shown) <= MAX_SAID_CHARS
        assert "a1a1" not in shown
    assert len(said("<" * 1_000_000)) <= MAX_SAID_CHARS


def test_hints_name_the_next_step() -> None:
    """Quota, credit and a requested wait each have their own hint."""

    def hint(status: int, body: object, **headers: str) -> str:
        return from_status(status, host="h", body=body, headers=headers, quote=said).hint

    assert "billing" in hint(429, {"error": {"code": "insufficient_quota"}})
    assert "credit" in hint(402, "")
    assert "7 s" in hint(503, "", **{"retry-after": "7"})
    assert hint(503, "") == errors.ProviderUnavailable.hint


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        (404, {"error": {"code": "model_not_found"}}, errors.ModelNotFound),
        (400, {"error": {"code": "model_not_found"}}, errors.ModelNotFound),
        (400, {"error": {"code": "invalid_api_key"}}, errors.AuthenticationFailed),
        (
            400,
            {"error": {"message": "the request exceeds the available context size"}},
            errors.ContextTooLong,
        ),
        (400, {"error": {"message": "temperature is too high"}}, errors.RequestRejected),
        (400, [{"error": {"code": 400, "message": "API key not valid."}}], errors.AuthenticationFailed),
        (
            400,
            [{"error": {"message": "The input token count (9) exceeds the maximum number of tokens (5)."}}],
            errors.ContextTooLong,
        ),
        (418, "teapot", errors.RequestRejected),
        (599, "", errors.ProviderUnavailable),
        (304, "", errors.ConfigError),
    ],
)
def test_the_class_follows_status_and_code(
    status: int, body: object, cls: type[errors.ProviderError]
) -> None:
    """Every status has a class, and codes refine it."""
    assert type(from_status(status, host="h", body=body, headers={}, quote=said)) is cls


def test_an_error_in_a_list_of_one_is_read() -> None:
    """A list with one error, as Gemini sends, is read."""
    body = [{"error": {"code": 429, "message": "Quota exceeded."}}]
    error = from_status(429, host="h", body=body, headers={}, quote=said)
    assert "Quota exceeded." in str(error)


def test_a_requested_wait_is_a_number() -> None:
    """The wait that the server asked for is an attribute of the error."""
    error = from_status(429, host="h", body="", headers={"retry-after": "3600"}, quote=said)
    assert isinstance(error, errors.RateLimited)
    assert (error.retry_after_s, error.retryable) == (3600.0, 3600.0)


def test_a_request_id_is_printable_and_short() -> None:
    """A hostile header does not make a hostile id."""
    assert request_id({"x-request-id": "req\x07-\u202e1" + "x" * 500}, said) == ("req-1" + "x" * 500)[:100]
    assert request_id({"x-request-id": "\x07"}, said) is None
    assert request_id({}, said) is None
