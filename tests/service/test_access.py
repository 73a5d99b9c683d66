"""Files of tokens and teams, names of files, and addresses of services."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest

from nbchat.cli import main
from nbchat.core.errors import CommandError, ConfigError
from nbchat.service.access import Role, Teams, TokenFile, new_token
from nbchat.service.address import ServiceAddress
from nbchat.service.process import Options, address_in
from nbchat.service.quotas import Quotas
from nbchat.service.storage import SqliteFolder, storage_at, stored_name

TOKEN = {"NBCHAT_RUNNER_TOKEN": "nbchat-a"}


async def test_a_token_is_stored_as_a_hash(tmp_path: Path) -> None:
    """The file identifies people by tokens that it does not contain, and only its user can read it."""
    path = tmp_path / "tokens"
    ada, bob = new_token(path, "ada"), new_token(path, "bob")
    tokens = TokenFile(path)
    assert [await tokens.person(token) for token in (ada, bob, "", "other")] == ["ada", "bob", None, None]
    assert ada not in path.read_text("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A removed line revokes its token at once; a file that cannot be read changes nothing."""
    path = tmp_path / "tokens"
    ada, bob = new_token(path, "ada"), new_token(path, "bob")
    tokens = TokenFile(path)
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[1:]), "utf-8")
    assert [await tokens.person(token) for token in (ada, bob)] == [None, "bob"]
    path.unlink()
    assert await tokens.person(bob) == "bob"


async def test_an_invalid_line_keeps_no_revoked_token_alive(tmp_path: Path) -> None:
    """A line that becomes invalid while the service runs is skipped, and all other changes apply."""
    path = tmp_path / "tokens"
    ada, bob = new_token(path, "ada"), new_token(path, "bob")
    tokens = TokenFile(path)
    lines = path.read_text("utf-8").splitlines()
    path.write_text(f"{lines[1]}\nnot a line of this file\n", "utf-8")
    assert await tokens.person(ada) is None
    assert await tokens.person(bob) == "bob"


async def test_a_token_is_added_after_a_last_line_without_an_end(tmp_path: Path) -> None:
    """A file whose last line an editor has left open stays valid, with all its tokens."""
    path = tmp_path / "tokens"
    ada = new_token(path, "ada")
    path.write_text(path.read_text("utf-8").removesuffix("\n"), "utf-8")
    bob = new_token(path, "bob")
    tokens = TokenFile(path)
    assert await tokens.person(ada) == "ada"
    assert await tokens.person(bob) == "bob"
    assert len(path.read_text("utf-8").splitlines()) == 2


def test_the_command_prints_a_new_token_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`nbchat runner token` prints the token, and the file has its hash."""
    path = tmp_path / "tokens"
    assert main(["runner", "token", "ada", "--tokens", str(path)]) == 0
    token = capsys.readouterr().out.strip()
    assert token.startswith("nbchat-")
    assert token not in path.read_text("utf-8")
    assert main(["runner", "token", "../ada", "--tokens", str(path)]) == 1


def test_a_team_gives_roles(tmp_path: Path) -> None:
    """Members have the role in the file; others have none."""
    path = tmp_path / "teams.toml"
    path.write_text('[geo]\nada = "owner"\neve = "viewer"\n', "utf-8")
    teams = Teams(path)
    assert [teams.role("geo", person) for person in ("ada", "eve", "bob")] == [Role.OWNER, Role.VIEWER, None]
    assert teams.role("other", "ada") is None
    assert Teams(None).role("geo", "ada") is None


def test_a_group_gives_roles(tmp_path: Path) -> None:
    """Of the roles that a person has alone and by groups, the highest counts; `@` does not name a person."""
    path = tmp_path / "teams.toml"
    path.write_text('[geo]\nada = "viewer"\n"@my students" = "editor"\n"@all" = "viewer"\n', "utf-8")
    teams = Teams(path)
    assert teams.role("geo", "ada", {"my students", "all", "other"}) is Role.EDITOR
    assert teams.role("geo", "bob", {"all"}) is Role.VIEWER
    assert [teams.role("geo", person) for person in ("all", "bob")] == [None, None]
    assert teams.role("other", "ada", {"all"}) is None


@pytest.mark.parametrize(
    "text", ["[geo", 'geo = "owner"', '[geo]\nada = "king"', '["../geo"]\nada = "owner"']
)
def test_an_invalid_file_of_teams_is_refused(tmp_path: Path, text: str) -> None:
    """A service does not start with teams that it cannot read."""
    path = tmp_path / "teams.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError):
        Teams(path)


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example/",
        "http://127.0.0.1.example/",
        "https://ada:pw@hub.example/",
        "https:///link",
        "ftp://hub.example/",
        "https://hub.example/#geo",
        "https://hub.example:port/",
    ],
)
def test_an_address_that_would_reveal_the_token_is_refused(url: str) -> None:
    """Only https is used beyond this machine, and an address contains no credentials."""
    with pytest.raises(ConfigError) as error:
        ServiceAddress(url, TOKEN)
    assert "pw" not in str(error.value)


def test_an_address_does_not_show_its_token() -> None:
    """The token is in no representation of the address, and is not part of a URL."""
    address = ServiceAddress("https://hub.example/services/nbchat/?namespace=geo", TOKEN)
    assert address._link_url == "wss://hub.example/services/nbchat/link?namespace=geo"
    assert "nbchat-a" not in f"{address!r} {vars(address)}"
    with pytest.raises(ConfigError, match="token"):
        ServiceAddress("https://hub.example/", {})


def test_the_token_of_a_hub_is_used_without_another_one() -> None:
    """`NBCHAT_RUNNER_TOKEN` has precedence over the token that JupyterHub gives to a kernel."""
    hub = {"JUPYTERHUB_API_TOKEN": "of-hub"}
    url = "https://hub.example/"
    assert ServiceAddress(url, hub)._token.reveal() == "of-hub"
    assert ServiceAddress(url, hub | TOKEN)._token.reveal() == "nbchat-a"


NAMES = (
    *("José Ñ", "Jose\u0301 Ñ", "a b", "a  b", "x:y", "../..", "%2e", ".", "..", "ada", "Ada", "a%41", "a/b"),
    *("a+b", "a@b", "a\\b", "a\nb", "*", "{a}", "Ünïcödé", "ñ" * 255, "ñ" * 254 + "n", "😀" * 255, "a" * 255),
)
"""Names that users of a hub can have."""


def test_all_names_are_stored_apart() -> None:
    """Every name has a stored name of its own, also where case does not count, from which it can be read."""
    stored = {name: stored_name(f"person-{name}") for name in NAMES}
    assert len({name.casefold() for name in stored.values()}) == len(NAMES)
    for name, found in stored.items():
        assert re.fullmatch(r"person-[a-z0-9._%-]*", found)
        assert len(found) <= 200
        assert unquote(found) == f"person-{name}" or "%%" in found
    assert [len(name) for name, found in stored.items() if "%%" in found] == [255, 255, 255, 255]
    assert stored["ada"] == "person-ada"
    assert stored["José Ñ"] == "person-%4aos%c3%a9%20%c3%91"


def test_a_store_accepts_all_names(tmp_path: Path) -> None:
    """The files of a namespace with any name are in their folders, and are valid names of files."""
    storage = SqliteFolder(tmp_path)
    for name in NAMES:
        storage.open(f"person-{name}").close()
        storage.batch(f"person-{name}", f"b-{'0' * 32}").open().close()
    assert len(list(tmp_path.glob("person-*.sqlite"))) == len(NAMES)
    assert len(list((tmp_path / "batches").iterdir())) == len(NAMES)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"batches"}


def test_a_batch_s_file_is_in_its_folder(tmp_path: Path) -> None:
    """A batch id from a kernel cannot name another file."""
    storage = SqliteFolder(tmp_path)
    storage.batch("person-ada", f"b-{'0' * 32}").open().close()
    assert [path.suffix for path in (tmp_path / "batches").iterdir()] == [".jsonl"]
    with pytest.raises(CommandError):
        storage.batch("person-ada", "../../tokens")


def test_a_store_is_chosen_by_its_url(tmp_path: Path) -> None:
    """A folder or an `sqlite:` URL is used, and another URL is refused."""
    assert repr(storage_at(f"sqlite://{tmp_path}/a")) == f"<SqliteFolder {tmp_path}/a>"
    assert repr(storage_at(f"{tmp_path}/a")) == f"<SqliteFolder {tmp_path}/a>"
    with pytest.raises(ConfigError):
        storage_at("other://host")


def test_an_address_to_listen_at_has_a_port() -> None:
    """IPv4, IPv6 and names are accepted with a port only."""
    assert address_in("127.0.0.1:8800") == ("127.0.0.1", 8800)
    assert address_in("[::1]:0") == ("::1", 0)
    for listen in ("127.0.0.1", ":8800", "a:b", "a:70000"):
        with pytest.raises(ConfigError):
            address_in(listen)


def test_a_service_beyond_this_machine_needs_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a certificate or a proxy that encrypts, the service does not listen on a network."""
    path = tmp_path / "tokens"
    new_token(path, "ada")
    options = ["--listen", "0.0.0.0:0", "--store", str(tmp_path / "store"), "--tokens", str(path)]
    assert main(["runner", *options]) == 1
    assert "must be encrypted" in capsys.readouterr().err


def test_quotas_are_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each quota that is given replaces its default, and must be a whole number above 0."""
    given: list[Options] = []
    monkeypatch.setattr("nbchat.service.process.run", given.append)
    options = ["runner", "--listen", "127.0.0.1:0", "--store", str(tmp_path), "--tokens", "tokens"]
    assert main([*options, "--max-links", "3", "--max-megabytes", "2", "--idle", "60"]) == 0
    assert main(options) == 0
    assert [one.quotas for one in given] == [Quotas(links=3, store_bytes=2_000_000, idle_s=60), Quotas()]
    for wrong in ("0", "-1", "1.5", "many"):
        with pytest.raises(SystemExit):
            main([*options, "--max-sessions", wrong])
