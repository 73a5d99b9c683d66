"""The browser tests find a browser, or name the packages to install."""

from pathlib import Path

import pytest

from tools import chromium


def browser(path: Path, version: str) -> str:
    """Write a program that prints `version`, and return its path."""
    path.write_text(f"#!/bin/sh\necho '{version}'\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_browser_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NBCHAT_CHROMIUM has precedence over any installed browser."""
    named = browser(tmp_path / "mine", "Chromium 156")
    monkeypatch.setenv("NBCHAT_CHROMIUM", named)
    assert chromium.find() == named


def test_a_named_browser_that_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong NBCHAT_CHROMIUM is reported, and nothing is installed in its place."""
    monkeypatch.setattr(chromium, "install", pytest.fail)
    monkeypatch.setenv("NBCHAT_CHROMIUM", str(tmp_path / "nowhere"))
    assert chromium.main(["--install"]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_script_that_only_explains_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first program on the path that identifies itself as Chromium or Chrome is used."""
    browser(tmp_path / "chromium", "please install the snap")
    chrome = browser(tmp_path / "google-chrome", "Google Chrome 156")
    monkeypatch.delenv("NBCHAT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.find() == chrome


def test_without_a_browser_it_names_the_packages_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no browser can be installed, the message names the ways to get one."""
    monkeypatch.delenv("NBCHAT_CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "candidates", list)
    monkeypatch.setattr(chromium, "install", lambda: None)
    assert chromium.main(["--install"]) == 1
    assert "apt-get install chromium" in capsys.readouterr().err
