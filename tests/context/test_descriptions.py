"""Descriptions of values: their content, private content that they omit, and the absence of side effects."""

import functools
import string
import threading
from collections import UserDict, deque
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Never

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbchat
from benchmarks.describe import frame
from nbchat.context import deadline
from nbchat.context.levels import LEVELS, MAX_CHARS, Level, checked_level
from nbchat.context.text import form
from nbchat.handles.attachments import estimate_tokens

TIMES = "\N{MULTIPLICATION SIGN}"
CLASSES = (string.ascii_uppercase, string.digits, string.ascii_lowercase, "!#$%&*")
TEXTS = st.text(st.sampled_from("".join(CLASSES) + " @.-_/:,"), max_size=30)


def other_text(text: str) -> str:
    """Return another text of the same form and length: each letter, digit and mark is replaced."""
    for kind in CLASSES:
        text = "".join(kind[(kind.index(c) + 1) % len(kind)] if c in kind else c for c in text)
    return text


@given(st.lists(TEXTS, min_size=1, max_size=150, unique=True))
@settings(max_examples=150, deadline=None)
def test_text_of_high_cardinality_leaves_only_as_form_and_length(values: list[str]) -> None:
    """At `summary`, columns whose texts differ but have the same forms have the same description."""
    others = [other_text(value) for value in values]
    for make in (pd.DataFrame, pl.DataFrame, pd.Series, pl.Series, list, deque):
        given_, other = (
            (make(column) if make in (pd.Series, pl.Series, list, deque) else make({"c": column}))
            for column in (values, others)
        )
        described = nbchat.describe(given_)
        assert described == nbchat.describe(other)
        if make is not list and make is not deque:
            assert not any(
                value in described for value in values if len(value) > 5 and form(value) not in value
            )


@given(st.lists(TEXTS, min_size=4, max_size=40, unique=True))
@settings(max_examples=50, deadline=None)
def test_text_that_occurs_once_among_categories_stays_private(values: list[str]) -> None:
    """A value that occurs once in a column of placeholders is not shown as a category."""
    common = ["n/a"] * (len(values) * 3)
    one, other = (
        nbchat.describe(pd.DataFrame({"c": [*common, *column]}))
        for column in (values, [other_text(value) for value in values])
    )
    assert one == other
    assert "'n/a'" in one


def test_names_addresses_and_keys_are_described_by_their_form() -> None:
    """Names, mail addresses and keys are described only by their forms, even in a frame of ten rows."""
    frame = pd.DataFrame(
        {
            "name": [f"Ada{i} Lovelace" for i in range(10)],
            "mail": [f"ada{i}@example.org" for i in range(10)],
            "key": [f"sk-{i:04d}abcdEFGH" for i in range(10)],
        }
    )
    text = nbchat.describe(frame)
    assert "Lovelace" not in text
    assert "example" not in text
    assert "abcd" not in text
    assert "all distinct, 16 characters, like a9@a.a 100%" in text


def test_levels_send_names_then_statistics_then_rows() -> None:
    """`schema` has no values, `summary` has extremes and categories, `rows` has the first three rows."""
    frame = pd.DataFrame(
        {
            "km": [775.0, 1230.5, None, 350.0],
            "sea": ["A", "B", "A", "B"],
            "mail": ["a@b", "c@d", "e@f", "g@h"],
        }
    )
    schema, summary, rows = (nbchat.describe(frame, level) for level in LEVELS)
    assert schema == "pandas DataFrame, 4 rows, 3 columns\nfloat64: km\nstr: sea, mail"
    assert "km (float64): min 350, median 775, max 1230.5, 25% missing" in summary
    assert "sea (str): 2 categories: 'A' 50%, 'B' 50%" in summary
    assert "a@b" not in summary
    assert "first: 'a@b', 'c@d', 'e@f'" in rows
    assert "g@h" not in rows


def test_a_lazy_frame_is_not_computed() -> None:
    """A lazy frame gives its columns and types, and no row of it is computed."""
    computed: list[object] = []

    def compute(frame: pl.DataFrame) -> pl.DataFrame:
        computed.append(frame)
        return frame

    lazy = pl.LazyFrame({"a": [1, 2]}).map_batches(compute)
    for level in LEVELS:
        assert nbchat.describe(lazy, level) == "polars LazyFrame, 1 column, rows not counted (lazy)\nint64: a"
    assert not computed


FRAMES: dict[str, Any] = {
    "5,000 columns": pd.DataFrame(np.zeros((4, 5000)), columns=[f"column {i}" for i in range(5000)]),
    "5,000 columns of polars": pl.DataFrame({f"column {i}": [1.5] for i in range(5000)}),
    "long labels": pd.DataFrame([[1] * 200], columns=[f"{i}{'x' * 1000}" for i in range(200)]),
    "MultiIndex": pd.DataFrame(
        [[1, 2]],
        columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", 3)]),
        index=pd.MultiIndex.from_tuples([("secret", 1)], names=["city", "year"]),
    ),
    "duplicate names": pd.DataFrame([[1, "x"]], columns=["a", "a"]),
    "nested": pl.DataFrame({"a": [[1, 2], [3]], "b": [{"c": "secret"}, {"c": "y"}]}),
    "nested in pandas": pd.DataFrame({"a": [[1, 2], [3]], "b": [{"c": "secret"}, None]}),
    "all null": pd.DataFrame({"a": [None, None], "b": [float("nan")] * 2, "c": [pd.NaT, pd.NaT]}),
    "0 rows": pd.DataFrame({"a": pd.Series([], dtype="int64")}),
    "0 columns": pd.DataFrame(),
    "0 rows of polars": pl.DataFrame({"a": []}),
    "mixed": pd.DataFrame({"a": [1, "secret", None, 2.5, object()]}),
    "odd labels": pd.DataFrame([[1, 2, 3]], columns=[None, 3, object()]),
    "huge integers": pd.DataFrame({"a": [10**5000, 1]}),
    "series": pd.Series([1, 2]),
    "index": pd.Index([1, 2]),
    "array of pandas": pd.array(["a", "b"]),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", "y", "x", "y"])}),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_kind_of_frame_is_described(name: str, level: Level) -> None:
    """A frame of any shape gives its size and a text within the limit."""
    frame = FRAMES[name]
    text = nbchat.describe(frame, level)
    assert len(text) <= MAX_CHARS
    assert text.startswith(("pandas ", "polars "))
    assert "could not be read" not in text
    assert f"{len(frame):,} row" in text
    assert level == "rows" or "secret" not in text


def test_unusual_properties_of_a_frame_are_named() -> None:
    """Index levels, repeated names, nested values, empty columns and omitted columns are shown."""
    assert "index: city, year (MultiIndex)\n- a / b (int64)" in nbchat.describe(FRAMES["MultiIndex"])
    assert nbchat.describe(FRAMES["duplicate names"]).count("\n- a (") == 2
    assert "- a (list): list of 1 to 2 items" in nbchat.describe(FRAMES["nested"])
    assert nbchat.describe(FRAMES["all null"]).count("all missing") == 3
    assert "no rows" in nbchat.describe(FRAMES["0 rows"])
    assert "mixed: " in nbchat.describe(FRAMES["mixed"])
    assert "Other columns:\nfloat64: " in nbchat.describe(FRAMES["5,000 columns"])
    assert nbchat.describe(FRAMES["5,000 columns"]).endswith(" more")


def test_a_wide_frame_costs_few_tokens() -> None:
    """40 columns cost at most 1,500 tokens at `summary` and 250 at `schema`, and each is named."""
    df = frame(10_000)
    for level, most in (("summary", 1500), ("schema", 250)):
        text = nbchat.describe(df, checked_level(level))
        assert estimate_tokens(text) <= most
        assert all(name in text for name in df.columns)
        assert "Lovelace" not in text


def test_a_column_is_not_read_whole() -> None:
    """Statistics of a long frame come from 2,000 evenly spread rows, and the text states this."""
    frame = pd.DataFrame({"n": np.arange(1_000_000)})
    text = nbchat.describe(frame)
    assert "Statistics are from 2,000 evenly spread rows." in text
    assert "min 0, median 500249, max 999999" in text


class Changing(pd.DataFrame):
    """A frame that another thread changes during its first reads."""

    failures = 0

    @property
    def iloc(self) -> Any:
        """Raise as pandas does in the middle of a change."""
        if type(self).failures:
            type(self).failures -= 1
            raise IndexError("positional indexers are out-of-bounds")
        return super().iloc


@pytest.mark.parametrize("failures", [0, 1, 2, 3, 100])
def test_a_frame_that_changes_is_read_again_then_described_without_values(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame is read three times; then the text has its columns, and states that values are missing."""
    frame = Changing({"a": [1, 2]})
    monkeypatch.setattr(Changing, "failures", failures)
    text = nbchat.describe(frame)
    if failures < 3:
        assert "min 1, median 2, max 2" in text
    else:
        assert text.endswith("int64: a\n(its values could not be read)")


class Odd:
    """A type of another author."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __repr__(self) -> str:
        """Return the result of the test's callable."""
        return self.call()  # type: ignore[no-any-return]


def test_a_repr_that_hangs_or_raises_gives_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `__repr__` that hangs takes the deadline at most; one that raises or exits gives type and error."""
    monkeypatch.setattr(deadline, "DEADLINE_S", 0.05)
    release = threading.Event()

    def leave() -> Never:
        raise SystemExit(3)

    def fail() -> Never:
        raise ValueError("secret")

    assert nbchat.describe(Odd(release.wait)).endswith("(its description took longer than 0.05 seconds)")
    assert nbchat.describe(Odd(fail)).endswith(".Odd (its description raised ValueError)")
    assert nbchat.describe(Odd(leave)).endswith("(its description raised RuntimeError)")
    assert nbchat.describe(Odd(lambda: 3)).endswith("(its description raised TypeError)")
    assert "short" in nbchat.describe(Odd(lambda: "short"))
    assert nbchat.describe(Odd(fail), "schema").endswith(".Odd")
    release.set()


def test_code_of_other_authors_runs_with_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterating a mapping of an unknown type, which may hang, takes the deadline at most."""
    monkeypatch.setattr(deadline, "DEADLINE_S", 0.05)
    release = threading.Event()

    class Remote(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            release.wait()
            return iter(["a"])

    text = nbchat.describe(Remote())
    release.set()
    assert "took longer" in text


class WithClass:
    """A type whose `__class__` must not be called in the caller's thread."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        """Fail on access in any other thread."""
        assert threading.current_thread().name == "nbchat-describe"
        return WithClass


def test_the_class_property_of_a_value_is_not_called() -> None:
    """A value's `__class__` property does not decide how the value is described."""
    assert nbchat.describe(WithClass(), "schema").endswith(".WithClass")
    assert nbchat.describe([WithClass()]).endswith(".WithClass")


class Tensor:
    """A type with the attributes of a tensor."""

    shape = (2, 3)
    dtype = "float32"
    device = "cuda:0"

    def __array__(self) -> Never:
        """Copy from the device."""
        raise AssertionError("values are copied from the device")

    __repr__ = __iter__ = __len__ = tolist = cpu = __array__


class Model:
    """A type with the interface of a scikit-learn estimator."""

    def __init__(self) -> None:
        self.coef_ = np.zeros((1, 3))
        self._secret_ = "secret"

    def fit(self) -> None:
        """Fit."""

    def get_params(self, *, deep: bool) -> dict[str, Any]:
        """Return the parameters."""
        assert not deep
        return {"alpha": 0.5, "solver": "auto"}


class Steps(Model):
    """A type with the interface of a scikit-learn pipeline, which has no fitted attributes."""

    def __init__(self, *, fitted: bool) -> None:
        self.steps = [("model", Model())]
        self._fitted = fitted

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted

    def get_params(self, *, deep: bool) -> dict[str, Any]:
        """Return the parameters, and if `deep` those of the steps."""
        nested = {"model": self.steps[0][1], "model__alpha": 0.5}
        return {"steps": self.steps, "cache": None, "verbose": True} | (nested if deep else {})


def documented(x: int = 3, data: Any = pd.DataFrame({"c": ["secret"]})) -> None:  # noqa: B008 - the default counts
    """Do something with `x`."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.arange(6.0).reshape(2, 3), f"numpy ndarray, shape 2 {TIMES} 3, float64\nmin 0, median 3, max 5"),
        (np.array([True, False]), "numpy ndarray, shape 2, bool\n50% true"),
        (np.array([1.0, np.nan]), "numpy ndarray, shape 2, float64\nmin 1, median 1, max 1, 50% missing"),
        (np.ma.array([1, 2], mask=[0, 1]), ("numpy MaskedArray, shape 2, int64\n"
            "min 1, median 1, max 1, 50% missing")),
        (np.array(["secret"]), "numpy ndarray, shape 1, <U6"),
        (np.array([]), "numpy ndarray, shape 0, float64"),
        (Tensor(), f"test_descriptions.Tensor, shape 2 {TIMES} 3, float32, device cuda:0"),
        ({"a": 1, "b": "Ada9", "c": None}, ("dict, 3 items\n"
            "- a: 1\n- b: str, 4 characters, like Aa9\n- c: None")),
        ([1, 2], "list, 2 items of type int"),
        (["secret"], "list, 1 item of type str"),
        ([], "list, 0 items"),
        ([{"a": [1, "secret"]}], ("list, 1 item\n- dict, 1 item\n"
            "  - a: list, 2 items\n    - 1\n    - str, 6 characters, like a")),
        (UserDict({"a": 1}), "collections.UserDict, 1 item\n- a: 1"),
        (Model(), ("test_descriptions.Model, fitted\nparameters:\n- alpha: 0.5\n- solver: 'auto'\n"
            f"fitted attributes:\n- coef_: numpy.ndarray, shape 1 {TIMES} 3")),
        (documented, "def documented(x: int = 3, data: Any = …) -> None\nDo something with `x`."),
        (functools.partial(documented, 4), "partial of documented(data: Any = …) -> None\nDo something"),
        (Tensor, "class Tensor"),
        (string, "module string\nA collection of string constants."),
        (1.5, "float: 1.5"),
        (None, "NoneType"),
        (b"secret", "bytes, 6 bytes"),
        ("a text", "str, 6 characters:\na text"),
        (pd.Timestamp("2026-01-02"), "2026-01-02"),
    ],
)  # fmt: skip
def test_every_kind_of_value_is_described(value: object, expected: str) -> None:
    """Arrays, tensors, containers, models, functions and plain values have their own descriptions."""
    text = nbchat.describe(value)
    assert expected in text
    assert "secret" not in text
    assert all(len(nbchat.describe(value, level)) <= MAX_CHARS for level in LEVELS)


def test_a_figure_is_described_by_its_axes() -> None:
    """A Matplotlib figure gives titles, labels, legend and what is drawn; axes give their figure."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure((4, 3))
    axes = figure.add_subplot()
    axes.plot([1, 2], label="Seine")
    axes.set(title="Rivers", xlabel="year", ylabel="km")
    axes.legend()
    expected = (
        f"matplotlib Figure, 4 {TIMES} 3 inches, 1 axes\n"
        "- Rivers: labels year and km; legend Seine; 1 lines, 0 patches, 0 collections"
    )
    assert nbchat.describe(figure) == nbchat.describe(axes) == expected


def test_a_container_within_itself_ends() -> None:
    """A list that contains itself is described once."""
    loop: list[Any] = []
    loop.append(loop)
    assert nbchat.describe(loop) == "list, 1 item\n- list, 1 item"


def test_a_long_text_keeps_its_beginning_and_end() -> None:
    """A text that is too long keeps its beginning and end, within the limit."""
    text = nbchat.describe("a" * 50_000 + "z" * 50_000)
    assert text.startswith("str, 100,000 characters; the first and last 2,900:\naaa")
    assert text.endswith("zzz")
    assert len(text) <= MAX_CHARS


def test_keys_are_removed_from_every_description() -> None:
    """Text that looks like a key is replaced, wherever it comes from."""
    key = "sk-" + "a1B2" * 12
    for value in (key, {key: 1}, Odd(lambda: key), pd.DataFrame({key: [key] * 4})):
        for level in LEVELS:
            assert key not in nbchat.describe(value, level)


def test_types_are_registered_as_with_singledispatch() -> None:
    """A registered function describes its type and subclasses; it can take the level."""

    class Grid: ...

    class Fine(Grid): ...

    @nbchat.describe.register
    def _(value: Grid, level: str) -> str:
        return f"a {type(value).__name__} at {level}"

    assert nbchat.describe(Fine(), "rows") == "a Fine at rows"
    nbchat.describe.register(Fine, lambda _: "x" * 10_000)
    assert len(nbchat.describe(Fine())) == MAX_CHARS
    assert nbchat.describe(Grid()) == "a Grid at summary"


def test_a_type_can_describe_itself() -> None:
    """`_repr_llm_` is used where a type has it, and `None` means that it gives no description."""

    class Own:
        text: str | None = "mine"

        def _repr_llm_(self) -> str | None:
            return self.text

    assert nbchat.describe(Own()) == "mine"
    Own.text = None
    assert "Own object at" in nbchat.describe(Own())


def test_an_unknown_level_is_refused() -> None:
    """A level that does not exist is an error that lists the levels."""
    with pytest.raises(ValueError, match="unknown level 'all'; expected one of: schema, summary, rows"):
        nbchat.describe(1, "all")  # type: ignore[arg-type]


def test_computed_attributes_of_a_module_are_not_read() -> None:
    """A module gives its name, and `__getattr__` of the module is not called."""

    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> Never:
            raise AssertionError(name)

    assert nbchat.describe(Lazy("lazy")).startswith("module lazy")


def test_a_mapping_that_changes_while_it_is_read_is_described() -> None:
    """A dictionary that another thread changes is described, whichever of its items are read."""
    changing: dict[int, int] = {}
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            changing.update(dict.fromkeys(range(30), 1))
            changing.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            assert nbchat.describe(changing).startswith("dict")
    finally:
        over.set()
        thread.join()
