"""Variables passed as `context=`: their names, descriptions and limits."""

from typing import Any

import pandas as pd
import pytest

import nbchat
from nbchat.core.messages import FilePart, ImagePart, Part
from nbchat.handles.context import described, read_context
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from tests.engines import kernel_engine_of

SECRET = "Lovelace"


@pytest.fixture(autouse=True)
def _quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo server answer at once: its answers repeat the descriptions of the variables."""
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "0")


@pytest.fixture
def rivers() -> pd.DataFrame:
    """Return a data frame with text of high cardinality."""
    return pd.DataFrame({"km": [775, 813, 350], "owner": [f"{SECRET} {i}" for i in range(3)]})


def parts(session: Session) -> tuple[Part, ...]:
    """Return the parts of the first question after its text."""
    return session.messages[0].parts[1:]


def variable(name: str, value: object, level: Any = "summary") -> FilePart:
    """Return the part that describes a variable."""
    return FilePart(name=name, text=nbchat.describe(value, level), kind="variable")


def test_a_value_is_named_after_the_caller_s_variable(
    registry: SessionRegistry, rivers: pd.DataFrame
) -> None:
    """A value in `context=` is named after the variable that holds it, and any other value is numbered."""
    session = registry.create("a")
    session.ask("?", context=[rivers, [1, 2]], timeout=30)
    assert parts(session) == (variable("rivers", rivers), variable("value 2", [1, 2]))


def test_a_mapping_gives_the_names(registry: SessionRegistry, rivers: pd.DataFrame) -> None:
    """A mapping gives names to its values, and a single value needs no list."""
    session = registry.create("a")
    session.ask("?", context={"sales": rivers}, timeout=30)
    assert parts(session) == (variable("sales", rivers),)
    assert read_context(rivers, "schema") == (variable("rivers", rivers, "schema"),)
    assert read_context(None, "summary") == read_context((), "summary") == ()


def test_a_number_that_two_variables_share_has_no_name() -> None:
    """Python shares small numbers between variables, so their names are not guessed."""
    first = second = 7
    assert first is second
    assert read_context([first], "summary") == (variable("value 1", 7),)


def test_a_value_is_described_when_the_question_is_sent(
    registry: SessionRegistry, rivers: pd.DataFrame
) -> None:
    """A later change of a variable does not change a question that was sent."""
    session = registry.create("a")
    before = nbchat.describe(rivers)
    run = session.send("?", context=rivers)
    rivers["added"] = 1
    run.wait(30)
    assert parts(session)[0].text == before


def test_share_limits_the_level_of_detail(
    registry: SessionRegistry, rivers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`share` and `NBCHAT_SHARE` choose the level; an unknown level in the variable sends the least."""
    session = registry.create("a")
    for value, level in (("rows", "rows"), ("schema", "schema"), ("everything", "schema"), ("", "summary")):
        monkeypatch.setenv("NBCHAT_SHARE", value)
        session.ask("?", context=rivers, timeout=30)
        assert session.messages[-2].parts[1] == variable("rivers", rivers, level)
    kernel_engine_of(registry).providers.defaults.set({"share": "schema"})
    session.ask("?", context=rivers, timeout=30)
    assert session.messages[-2].parts[1] == variable("rivers", rivers, "schema")
    with pytest.raises(ValueError, match="share must be one of summary, schema, rows"):
        kernel_engine_of(registry).providers.defaults.set({"share": "all"})


def test_a_figure_is_sent_as_a_picture_and_as_text(registry: SessionRegistry) -> None:
    """A Matplotlib figure becomes an image and a text part, and at `schema` only the text."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    plot = Figure()
    plot.add_subplot().set_title("Rivers")
    text, picture = read_context(plot, "summary")
    assert text == variable("plot", plot)
    assert isinstance(picture, ImagePart)
    assert picture.name == "plot.png"
    assert picture.text.startswith("data:image/png;base64,")
    assert read_context(plot, "schema") == (variable("plot", plot, "schema"),)
    session = registry.create("a")
    session.send("?", context=plot).wait(30)
    assert parts(session) == (text, picture)


def test_a_message_has_at_most_24_000_characters_of_descriptions() -> None:
    """Values beyond the limit are described by their schema, and refused if that does not fit either."""
    wide = pd.DataFrame({f"column {i}": [0.5] for i in range(70)})
    found = list(described({f"v{i}": wide for i in range(8)}, "summary"))
    assert sum(len(part.text) for part in found) <= 24_000
    assert found[0].text == nbchat.describe(wide)
    assert found[-1].text == nbchat.describe(wide, "schema")
    with pytest.raises(ValueError, match="does not fit; name fewer values"):
        list(described({f"v{i}": wide for i in range(40)}, "summary"))


def test_a_message_with_longer_descriptions_is_refused_whichever_way_it_comes(
    registry: SessionRegistry, rivers: pd.DataFrame
) -> None:
    """Descriptions that are passed as attachments count too, and nothing of such a message is sent."""
    session = registry.create("a")
    prepared = [FilePart(name=f"v{i}", text="x" * 6000, kind="variable") for i in range(5)]
    with pytest.raises(ValueError, match="24,000 characters, and 'rivers' does not fit"):
        session.send("?", attachments=prepared[:4], context=rivers)
    with pytest.raises(nbchat.RequestRejected, match="have 30,000 characters; one message can have 24,000"):
        session.send("?", attachments=prepared)
    assert session.messages == ()
    file = FilePart(name="a.txt", text="x" * 6000)
    session.ask("?", attachments=[*prepared[:3], file], context=rivers, timeout=30)
    assert parts(session) == (*prepared[:3], file, variable("rivers", rivers))


def test_the_model_reads_a_variable_by_its_name(rivers: pd.DataFrame) -> None:
    """A variable is sent with its name and description, in a block that the description cannot close."""
    assert variable("rivers", rivers).markdown == f"Variable `rivers`:\n```\n{nbchat.describe(rivers)}\n```"
    assert FilePart(name="a`b", text="```", kind="variable").markdown == "Variable `ab`:\n````\n```\n````"


def test_variables_are_saved_and_exported(registry: SessionRegistry, rivers: pd.DataFrame) -> None:
    """Snapshots and exports contain a variable as text, and files from earlier versions remain files."""
    session = registry.create("a")
    session.ask("?", context=rivers, timeout=30)
    other = SessionRegistry()
    try:
        (restored,) = other.restore(registry.snapshot())
        assert restored.messages[0].parts[1] == variable("rivers", rivers)
    finally:
        other.shutdown()
    assert "*Variable:* `rivers`" in session.export("markdown")
    assert "Variable: <bdi>rivers</bdi>" in session.export("html")
    assert FilePart(name="a.txt", text="a").kind == "file"


def test_map_and_ask_send_the_context(rivers: pd.DataFrame) -> None:
    """`nbchat.map` sends `context=` with every prompt, and `nbchat.ask` accepts it too."""
    results = nbchat.map(["a", "b"], context={"rivers": rivers}, model="nbchat-echo", progress=False)
    for text in results.texts:
        assert text is not None
        assert nbchat.describe(rivers) in text
    assert nbchat.describe(rivers) in nbchat.ask("?", context=rivers, model="nbchat-echo").text


def test_nothing_of_a_data_frame_is_sent_without_being_named(rivers: pd.DataFrame) -> None:
    """A question that names no variable is sent as it is written."""
    assert nbchat.ask("@rivers {rivers}", model="nbchat-echo").text == "@rivers {rivers}"
    assert len(rivers)
