"""Attachments of a question from a cell."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd
import polars as pl
import pytest

from nbchat.core.messages import FilePart, ImagePart, Part
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x00;"


def parts_of(registry: SessionRegistry, attachments: Any) -> tuple[Part, ...]:
    """Send a prompt with attachments, and return the message's attachment parts."""
    session = registry.create(provider=ScriptedProvider("Seen."))
    session.ask("What is this?", attachments=attachments)
    return session.messages[0].parts[1:]


def test_a_path_is_read(registry: SessionRegistry, tmp_path: Path) -> None:
    """A path, alone or in a list, attaches the file's text, or its image by content, not by name."""
    table, picture = tmp_path / "rivers.csv", tmp_path / "picture.txt"
    table.write_text("\ufeffname,km\nSeine,775\n", encoding="utf-8")
    picture.write_bytes(GIF)
    text = FilePart(name="rivers.csv", text="name,km\nSeine,775\n")
    assert parts_of(registry, str(table)) == (text,)
    assert parts_of(registry, (str(table), picture)) == (
        text,
        ImagePart(
            name="picture.txt",
            text="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACADs=",
        ),
    )


@pytest.mark.parametrize("library", [pd, pl])
def test_a_data_frame_is_attached_as_csv(registry: SessionRegistry, library: Any) -> None:
    """A data frame of pandas or polars becomes CSV; a mapping gives it a name."""
    frame = library.DataFrame({"name": ["Seine", "Rhône"], "km": [775, 813]})
    csv = "name,km\nSeine,775\nRhône,813\n"
    assert parts_of(registry, frame) == (FilePart(name="data frame.csv", text=csv),)
    assert parts_of(registry, {"rivers.csv": frame}) == (FilePart(name="rivers.csv", text=csv),)
    assert parts_of(registry, frame["km"]) == (FilePart(name="data frame.csv", text="km\n775\n813\n"),)


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (pd.DataFrame({"n": range(1001)}), "data frame (rows 1 to 1,000 of 1,001).csv"),
        (pl.LazyFrame({"n": range(1001)}), "data frame (rows 1 to 1,000).csv"),
    ],
)
def test_a_long_data_frame_is_cut_visibly(registry: SessionRegistry, frame: Any, name: str) -> None:
    """A longer data frame is cut to 1,000 rows; its name and a warning at the caller's line report it."""
    with pytest.warns(UserWarning, match="only the first 1,000 rows") as caught:
        (part,) = parts_of(registry, frame)
    assert part.text.splitlines()[-1] == "999"
    assert isinstance(part, FilePart)
    assert part.name == name
    assert caught[0].filename == __file__


def test_a_figure_is_attached_as_a_picture(registry: SessionRegistry) -> None:
    """A Matplotlib figure, or the axes that a plotting function returned, become a PNG image."""
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    axes.plot([1, 2])
    for given in (figure, axes):
        (part,) = parts_of(registry, given)
        assert isinstance(part, ImagePart)
        assert part.name == "figure.png"
        assert part.text.startswith("data:image/png;base64,iVBOR")


def test_bytes_are_attached_with_a_name(registry: SessionRegistry) -> None:
    """Bytes are given as a pair with their name; their content decides between text and image."""
    given = [("a.txt", b"Seine"), ("dot", GIF), ("note.md", "as text")]
    text, picture, note = parts_of(registry, given)
    assert text == FilePart(name="a.txt", text="Seine")
    assert isinstance(picture, ImagePart)
    assert note == FilePart(name="note.md", text="as text")
    assert parts_of(registry, ("a.txt", b"Seine")) == (text,)


def test_a_file_that_a_model_cannot_read_is_refused(registry: SessionRegistry, tmp_path: Path) -> None:
    """A binary file and a missing one raise before anything is sent."""
    session = registry.create(provider=ScriptedProvider("Seen."))
    with pytest.raises(ValueError, match=r"cannot attach 'x\.pdf': only text"):
        session.ask("?", attachments=[("x.pdf", b"%PDF\x00\xff")])
    with pytest.raises(FileNotFoundError):
        session.ask("?", attachments=tmp_path / "missing.csv")
    with pytest.raises(TypeError, match="bytes need a name"):
        session.ask("?", attachments=b"Seine")
    assert session.messages == ()


def test_a_large_question_gives_a_warning(registry: SessionRegistry) -> None:
    """A question of more than about 50,000 tokens warns at the caller's line, and is sent."""
    session = registry.create(provider=ScriptedProvider("Seen."))
    with pytest.warns(UserWarning, match=r"about 50,004 tokens") as caught:
        session.ask("What is this?", attachments=("long.txt", b"x" * 200_000))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.ask("What is this?", attachments=("short.txt", b"x" * 100_000))
    assert len(session.messages) == 4


def test_an_image_is_not_an_address(registry: SessionRegistry) -> None:
    """An `ImagePart` with the address of an image is refused before anything is sent."""
    session = registry.create(provider=ScriptedProvider("answer"))
    with pytest.raises(ValueError, match=r"'map' is not a data: URL.*Attach the file's path"):
        session.send("look", attachments=ImagePart(text="https://elsewhere.example/p.png", name="map"))
    assert session.messages == ()
