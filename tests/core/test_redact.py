"""`redact` removes secrets of known shape or value wherever they occur, and nothing else."""

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.records import safe_params
from nbchat.core.redact import REDACTED, redact

SHAPES = {
    "openai": "sk-" + "Ab1" * 16,
    "openai-project": "sk-proj-" + "Ab1-_" * 10,
    "anthropic": "sk-ant-api03-" + "Ab1" * 20,
    "google": "AIza" + "Ab1-_" * 7,
    "groq": "gsk_" + "Ab1" * 17,
    "hugging-face": "hf_" + "Ab" * 17,
    "xai": "xai-" + "Ab1" * 26,
    "github": "ghp_" + "Ab1" * 12,
    "github-fine-grained": "github_pat_" + "11AB_cd" * 11,
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----",
}

EMBEDDINGS = {
    "alone": "{}",
    "sentence": "Incorrect API key provided: {}. See your account.",
    "quoted": "key='{}'",
    "header": "Authorization: Bearer {}",
    "query": "https://example.com/v1?key={}&x=1",
    "brackets": "({})[{}]<{}>",
    "lines": "first\n{}\nlast",
    "end": "the key is {}",
    "markdown": "`{}` **{}**",
    "environment": "OPENAI_API_KEY={}",
    "traceback": '  File "x.py", line 1\n    client(api_key="{}")',
    "tabs": "\t{}\t",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_a_key_is_known_by_its_shape(shape: str, embedding: str) -> None:
    """A key of a known shape is removed from any text, and the text around it stays."""
    key = SHAPES[shape]
    text = redact(EMBEDDINGS[embedding].replace("{}", key))
    assert REDACTED in text
    for start in range(0, len(key) - 12, 4):
        assert key[start : start + 12] not in text
    before = EMBEDDINGS[embedding].partition("{}")[0]
    assert text.startswith(before.rstrip("'\" ")[:5])


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "pem"])
@pytest.mark.parametrize(
    "write",
    [
        lambda text: json.dumps({"error": {"message": text}}),
        repr,
        lambda text: repr(repr(text)),
        lambda text: quote(f"a={text}\n"),
        lambda text: json.dumps(json.dumps([f"\n{text}\u00e9"])),
    ],
)
def test_a_key_is_found_in_quoted_text(shape: str, write: object) -> None:
    """A key is removed even if the text around it is quoted or escaped."""
    assert callable(write)
    key = SHAPES[shape]
    assert key not in redact(write(f"line\n{key}\nline"))


def test_a_key_is_known_by_its_value() -> None:
    """A key that is passed by value is removed, both as it is and URL-encoded."""
    key = "p@ss word/ü"
    text = (
        f"{key} {quote(key, safe='')} {quote(key, safe='').lower()} {quote(key, safe='').replace('%20', '+')}"
    )
    assert redact(text, [key]) == " ".join([REDACTED] * 4)


def test_the_longest_value_goes_first() -> None:
    """Of two values that overlap, the longer one is removed completely."""
    assert redact("secret-and-more", ["secret", "secret-and-more"]) == REDACTED


def test_values_that_are_no_secrets_stay() -> None:
    """Empty and very short values are not removed."""
    assert redact("a none text", ["", "a", "none"]) == "a none text"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pass@host/x", f"https://{REDACTED}@host/x"),
        ("http://token@host", f"http://{REDACTED}@host"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: Basic {REDACTED}"),
        ("bearer 0123456789", f"bearer {REDACTED}"),
        ('{"api_key": "0123456789abcdef"}', f'{{"api_key": "{REDACTED}"}}'),
        ("password=hunter22&x=1", f"password={REDACTED}&x=1"),
        ("Incorrect API key provided: sk-test*****wxyz.", f"Incorrect API key provided: {REDACTED}."),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", REDACTED),
    ],
)
def test_other_forms(text: str, clean: str) -> None:
    """Passwords in URLs, authorization headers, named fields, masked keys and truncated keys are removed."""
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A risk-assessment of the task-scheduling-algorithms-in-use.",
        "sk-learn is a library; so is sk-image.",
        "Basic authentication is required, and the bearer of this is me.",
        "mail me@example.com about https://example.com/@someone/page",
        "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "eyJ is how base64 of JSON begins",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        base64.b64encode(bytes(60)).decode(),
    ],
)
def test_other_text_comes_back_as_it_is(text: str) -> None:
    """Text that only resembles a secret is returned unchanged."""
    assert redact(text) is text


@given(
    st.text()
    | st.lists(st.sampled_from([*SHAPES.values(), *EMBEDDINGS.values(), "://", "@", " "])).map("".join)
)
def test_redacting_again_changes_nothing(text: str) -> None:
    """Redacting a redacted text does not change it."""
    once = redact(text)
    assert redact(once) == once


HOSTILE = [
    "eyJ-",
    "sk-",
    "://",
    "-----BEGIN PRIVATE KEY-----",
    "bearer ",
    "basic aaaaaaaa ",
    "api_key ",
    "api_key=",
    "%3D",
    "\\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_proportional_to_the_text(piece: str) -> None:
    """Redaction takes time linear in the length of the text, even for hostile texts."""

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        best = 1e9
        for _ in range(3):
            before = time.process_time()
            redact(text)
            best = min(best, time.process_time() - before)
        return best

    assert seconds(400_000) < 40 * max(seconds(40_000), 0.002)


def test_fields_of_a_schema_are_not_credentials() -> None:
    """A schema is saved whole, whatever its fields are called; other parameters lose their credentials."""
    schema = {"type": "object", "properties": {"password": {"type": "string"}}, "required": ["password"]}
    assert safe_params({"schema": schema, "password": "p", "seed": 1}) == {"schema": schema, "seed": 1}
