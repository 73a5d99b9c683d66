"""Settings that disable the journal."""

import pytest

from nbchat.stores import places


@pytest.mark.parametrize(
    ("setting", "voila", "disabled"),
    [("", False, False), ("0", False, True), ("off", True, True), ("", True, True), ("1", True, False)],
)
def test_voila_has_a_journal_only_on_request(
    monkeypatch: pytest.MonkeyPatch, setting: str, *, voila: bool, disabled: bool
) -> None:
    """In Voilà, whose kernels end with their page, nothing is written unless `NBCHAT_JOURNAL` requests it."""
    monkeypatch.setenv("NBCHAT_JOURNAL", setting)
    monkeypatch.delenv("VOILA_PREHEAT", raising=False)
    if voila:
        monkeypatch.setenv("VOILA_PREHEAT", "False")
    assert places.is_disabled() is disabled
