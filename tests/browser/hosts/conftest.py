"""Marks the tests that need environments of their own, which `make test-hosts` makes."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is in this folder."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.hosts)
