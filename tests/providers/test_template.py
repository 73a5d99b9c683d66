"""The shortcut gives what the long way gives, or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from nbchat.providers.chat import ChatDecoder, plain_text
from nbchat.providers.template import Template
from tests.providers.fault_server import chunk, event, say


def learned(text: str = "text", **more: object) -> Template:
    """Return a template that knows a chunk with that text."""
    template = Template(plain_text)
    template.learn(event(say(text, **more)), text)
    return template


def test_a_chunk_like_the_last_one_is_read_by_its_text_alone() -> None:
    """Only the text differs, whatever characters are in it."""
    template = learned()
    for text in ("", " river", 'a "quoted" \\ one', "\n\u2028\0", "wörld 🌍", '"}}', "data: x"):
        assert template.match(event(say(text))) == text


def test_the_text_is_told_from_the_same_letters_elsewhere() -> None:
    """A text that also is a field's name or value is found where the text stands, or not at all."""
    for text in ("content", "finish_reason", "delta", "answering-model", "chatcmpl-1", "index", ""):
        for more in ({}, {"extra": text}, {"extra": {"content": text}}):
            template = learned(text, **more)
            for other in ("other", text):
                assert template.match(event(say(other, **more))) in {other, None}
            # Only what stands elsewhere has changed.
            assert template.match(event(say(text, extra="else"))) in {text, None}


def test_other_chunks_are_left_to_the_long_way() -> None:
    """A chunk with anything else in it is no match: an end, an error, a field more, half an event."""
    template = learned()
    whole = event(say("x"))
    others = [
        event(chunk(None, "stop")),
        event({"error": {"message": "x"}}),
        event(say("x", usage={"prompt_tokens": 1})),
        event(chunk({"content": "x", "role": "assistant"})),
        event(chunk({"content": None})),
        event(chunk({"content": 1})),
        whole + whole,
        whole[:-1],
        whole[:-2] + b"\r\n\r\n",
        b": ping\n\n" + whole,
        whole.replace(b'"x"', b'"x"\r'),
        whole.replace(b'"x"', b'"\n"'),
        whole.replace(b'"x"', b'"x","y":"z"'),
        whole.replace(b'"x"', b'"'),
        whole.replace(b'"x"', b""),
        whole.replace(b'"x"', b'"\\ud800"'),
    ]
    assert [template.match(other) for other in others] == [None] * len(others)


@given(st.lists(st.text(), max_size=6), st.sampled_from(["same", "counter", "padding"]))
def test_the_shortcut_changes_nothing(texts: list[str], kind: str) -> None:
    """A decoder that takes the shortcut and one that cannot give the same deltas."""
    events = [
        event(
            say(
                text,
                **{"same": {}, "counter": {"n": number}, "padding": {"p": "x" * number}}[kind],
            )
        )
        for number, text in enumerate(texts)
    ]
    quick, long = ChatDecoder(), ChatDecoder()
    by_event = [delta for one in events for delta in quick.feed(one)]
    all_at_once = list(long.feed(b"".join(events)))
    assert by_event == all_at_once


def test_a_server_whose_chunks_always_differ_is_let_alone() -> None:
    """Surroundings that never last are learned a few times, not with every chunk."""
    probes = 0

    def counting(value: object) -> str | None:
        nonlocal probes
        probes += 1
        return plain_text(value)

    template = Template(counting)
    for number in range(100):
        one = event(say("text", n=number))
        assert template.match(one) is None
        template.learn(one, "text")
    assert probes < 10
