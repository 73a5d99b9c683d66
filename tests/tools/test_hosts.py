"""The table of hosts in the documentation."""

import re
from pathlib import Path

import pytest

from tools.hosts import COLUMNS, TABLE, table

ROOT = Path(__file__).parents[2]
NAMED = sorted({name for row in TABLE.values() for cell in row for name in cell.tests})


def test_the_documentation_has_the_table_of_the_tests() -> None:
    """The documentation has the table that `make test-hosts` prints if all tests pass, with all columns."""
    assert all(len(row) == len(COLUMNS) for row in TABLE.values())
    assert table() in (ROOT / "docs" / "reference" / "hosts.md").read_text(encoding="utf-8")


def test_a_failed_test_is_seen_in_the_table() -> None:
    """Only the cells whose test failed are marked."""
    (failed,) = [name for name in NAMED if "visitors_page" in name]
    assert table(frozenset([failed])).count("FAILED") == sum(
        failed in cell.tests for row in TABLE.values() for cell in row
    )


@pytest.mark.parametrize("name", NAMED)
def test_a_test_behind_a_cell_exists(name: str) -> None:
    """Each test named in the table exists in its file."""
    path, _, test = name.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
