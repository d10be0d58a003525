"""Where the service keeps its state, and how commands find it."""

import os
import stat

import pytest

from scheduler.errors import ConfigError, UnavailableError
from scheduler.service.settings import (
    ServiceFile,
    find_endpoint,
    forget_service,
    home_dir,
    read_service,
    write_private,
    write_service,
)


def a_service(home, pid=1, url="http://127.0.0.1:4"):
    (home / "token").write_text("secret\n")
    return ServiceFile(
        url=url, token_path=str(home / "token"), pid=pid, version="1", mode="enforce", cluster="demo", started_us=0
    )


def test_the_home_is_the_argument_then_the_variable_then_the_xdg_state_directory(tmp_path):
    env = {"DUALTRACK_HOME": str(tmp_path / "a"), "XDG_STATE_HOME": str(tmp_path / "b")}
    assert home_dir(str(tmp_path / "c"), env) == tmp_path / "c"
    assert home_dir(None, env) == tmp_path / "a"
    assert home_dir(None, {"XDG_STATE_HOME": str(tmp_path / "b")}) == tmp_path / "b" / "dualtrack"
    assert home_dir(None, {}).parts[-3:] == (".local", "state", "dualtrack")


def test_private_files_are_readable_by_their_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_private(tmp_path / "x", "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


def test_the_service_is_found_by_flag_then_variable_then_file(tmp_path):
    write_service(tmp_path, a_service(tmp_path))
    env = {"DUALTRACK_HOME": str(tmp_path)}
    assert find_endpoint(None, None, env).url == "http://127.0.0.1:4"
    assert find_endpoint(None, None, env).token == "secret"
    assert find_endpoint(None, None, {**env, "DUALTRACK_SERVER": "other:80"}).url == "http://other:80"
    assert find_endpoint("https://third/", None, {**env, "DUALTRACK_SERVER": "other"}).url == "https://third"


def test_the_token_of_a_home_is_never_sent_to_another_server(tmp_path):
    write_service(tmp_path, a_service(tmp_path))
    env = {"DUALTRACK_HOME": str(tmp_path)}
    assert find_endpoint("http://evil:80", None, env).token == ""
    assert find_endpoint("http://evil:80", None, {**env, "DUALTRACK_TOKEN": "mine"}).token == "mine"


def test_without_a_service_the_command_says_how_to_start_one(tmp_path):
    with pytest.raises(UnavailableError, match="dualtrack up"):
        find_endpoint(None, str(tmp_path), {})


def test_a_broken_service_file_is_an_error_in_words(tmp_path):
    (tmp_path / "service.json").write_text("{")
    with pytest.raises(ConfigError, match="remove it"):
        read_service(tmp_path)


def test_a_service_forgets_its_own_file_and_no_other(tmp_path):
    write_service(tmp_path, a_service(tmp_path, pid=7))
    forget_service(tmp_path, 8)
    assert read_service(tmp_path) is not None
    forget_service(tmp_path, 7)
    assert read_service(tmp_path) is None
