"""Marks the tests that need the separate environments created by `make test-hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests in this folder."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.hosts)
