"""`docs/promises.md` gives a test, or a reason, for every promise, and each named test exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "promises.md").read_text()
ROWS = re.findall(r"^\| ([A-Z][A-Z0-9-]*\d+) \| (.+?) \| (.+) \|$", TEXT, re.MULTILINE)
NAMES = sorted(set(re.findall(r"`((?:tests|js/tests)/[^`]+)`", TEXT)))
EXPECTED = {
    *(f"P{n}" for n in range(1, 45)),
    *(f"K{n}" for n in range(1, 30)),
    *(f"B{n}" for n in range(1, 20)),
    *(f"D{n}" for n in range(1, 19)),
    *(f"U{n}" for n in range(1, 17)),
    *(f"T{n:02}" for n in range(1, 79)),
    *(f"S{n}" for n in range(1, 19)),
    *(f"T-TRUST-{n}" for n in range(1, 6)),
    *(f"F{n}" for n in range(1, 12)),
}
"""Provider, kernel, browser, disk, users, scenarios, security, a stranger's notebook, figures."""


def test_every_promise_has_one_line() -> None:
    """Each number occurs once, with a test or the reason for having no test."""
    numbers = [number for number, _, _ in ROWS]
    assert sorted(set(numbers)) == sorted(EXPECTED)
    assert len(numbers) == len(set(numbers))
    for number, _, proof in ROWS:
        assert "`" in proof or proof.startswith("No test: "), number


@pytest.mark.parametrize("name", NAMES)
def test_a_test_that_is_named_is_there(name: str) -> None:
    """The file exists and contains the test: a Python function, or a title in TypeScript."""
    path, _, test = name.partition("::")
    file = ROOT / path
    assert file.exists(), f"{path} is not there"
    if test and file.suffix == ".py":
        assert re.search(rf"^(async )?def {re.escape(test)}\(", file.read_text(), re.MULTILINE), name
    elif test:
        assert test in file.read_text(), name


def test_a_promise_names_a_test_and_not_a_file() -> None:
    """Each promise names a test, because a file alone does not show which of its tests holds the promise."""
    for number, _, proof in ROWS:
        for name in re.findall(r"`((?:tests|js/tests)/[^`]+)`", proof):
            assert "::" in name, f"{number}: {name}"
