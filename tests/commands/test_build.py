"""The version that `/readyz` names: of the release, and of the commit that was built."""

import subprocess
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import config
from tests import factories


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_without_a_checkout_it_is_the_release_alone(tmp_path: Path) -> None:
    assert config.read_version(tmp_path) == config.RELEASE


def test_a_file_made_when_it_was_built_names_the_commit(checkout: Path) -> None:
    (checkout / "COMMIT").write_text("0123456789abcdef0123456789abcdef01234567\n")
    assert config.read_version(checkout) == f"{config.RELEASE}+0123456789ab"


@pytest.mark.parametrize("text", ["", "not a commit", "0123", "\0", "$Format:%H$"])
def test_a_file_without_a_commit_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "COMMIT").write_text(text)
    assert config.read_version(tmp_path) == config.RELEASE


def test_a_checkout_names_its_commit_on_a_branch_packed_detached_and_in_a_worktree(checkout: Path, tmp_path: Path) -> None:
    expected = f"{config.RELEASE}+{_git(checkout, 'rev-parse', 'HEAD')[:12]}"
    assert config.read_version(checkout) == expected
    _git(checkout, "pack-refs", "--all")
    assert config.read_version(checkout) == expected
    _git(checkout, "worktree", "add", "-q", "-b", "feature", str(tmp_path / "other"))
    assert config.read_version(tmp_path / "other") == expected
    _git(checkout, "checkout", "-q", "--detach")
    assert config.read_version(checkout) == expected


def test_a_checkout_without_a_commit_or_with_a_broken_link_is_the_release_alone(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "-b", "main")
    assert config.read_version(tmp_path) == config.RELEASE
    other = tmp_path / "other"
    other.mkdir()
    (other / ".git").write_text("gitdir: /nowhere/at/all\n")
    assert config.read_version(other) == config.RELEASE


def test_readyz_names_the_build(client: FlaskClient) -> None:
    assert client.get("/readyz").json["version"] == client.get("/healthz").json["version"] == config.read_version(config.ROOT)
    assert config.VERSION.startswith(config.RELEASE)


def test_pages_name_the_build_to_who_is_signed_in(client: FlaskClient) -> None:
    assert config.VERSION not in client.get("/login").text
    factories.sign_in(client, factories.make_user())
    assert f"Gatepost {config.VERSION}</span>" in client.get("/account").text
