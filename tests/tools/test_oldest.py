"""The oldest allowed releases are named by `pyproject.toml` alone."""

import tomllib
from pathlib import Path

import pytest

from tools.oldest import constraints, main

ROOT = Path(__file__).parents[2]


def test_a_range_wins_over_a_pin() -> None:
    """A requirement is at its lower end, even with another spelling of its name; the rest are as pinned."""
    found = constraints(["nest-asyncio>=1.6,<2"], ["# a comment", "nest_asyncio==1.7", "six==1.17.0"])
    assert list(found) == ["nest-asyncio==1.6", "six==1.17.0"]


def test_a_range_without_a_lower_end_is_refused() -> None:
    """Such a range would be tested with the newest release, unnoticed."""
    with pytest.raises(ValueError, match="not of the form"):
        list(constraints(["h11<1"], []))


def test_a_version_that_another_package_pins_is_free() -> None:
    """The oldest pydantic needs its own release of pydantic-core, not the pinned one."""
    found = constraints(["pydantic>=2.12,<3"], ["pydantic==2.14.3", "pydantic_core==2.50.4"])
    assert list(found) == ["pydantic==2.12"]


def test_every_dependency_is_constrained(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the package's own dependencies has a version."""
    main()
    named = {line.partition("==")[0] for line in capsys.readouterr().out.splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {text.partition(">=")[0] for text in project["dependencies"]} <= named
