"""Who is told what in a local deployment, and what is kept between its starts."""

import os
import shlex
import stat

import pytest

from deploy.local.commands import apps_of
from deploy.local.environment import (
    MARKER,
    Environment,
    Ports,
    Servers,
    fingerprint,
    next_database,
    servers_named_in,
    without_ours,
)
from deploy.local.processes import ProcessFailed
from deploy.local.state import Secrets, State, read_struct, write_private

SERVERS = Servers("postgresql://db", "redis://q/0", "redis://q/1", "identity")
SECRETS = Secrets("sk_test_x", "whsec_x", "1:" + "ab" * 32)
STRIPE = {"TOLLHOUSE_STRIPE_SECRET_KEY", "TOLLHOUSE_STRIPE_API_BASE"}
PEPPERS = {"TOLLHOUSE_KEY_PEPPERS"}
VERIFY = {"TOLLHOUSE_STRIPE_WEBHOOK_SECRETS"}


@pytest.mark.parametrize(
    ("process", "secrets"),
    [
        ("webhook", VERIFY),
        ("read", PEPPERS),
        ("api", PEPPERS | STRIPE),
        ("worker", STRIPE),
        ("scheduler", STRIPE),
        ("operator", PEPPERS | STRIPE),
    ],
)
def test_each_process_is_told_only_the_secrets_it_needs(process, secrets):
    environ = getattr(Environment(SERVERS, SECRETS, Ports(8000)), process)()
    assert {name for name in environ if name in STRIPE | PEPPERS | VERIFY} == secrets
    assert environ["TOLLHOUSE_DATABASE_URL"] == "postgresql://db"
    assert environ["TOLLHOUSE_ENV"] == "local"


def test_the_simulated_stripe_is_read_without_the_limit_of_the_real_one():
    assert Environment(SERVERS, SECRETS, Ports(8000)).worker()["TOLLHOUSE_STRIPE_RATE"] == "0"


def test_the_callers_own_settings_are_not_passed_on():
    assert without_ours({"TOLLHOUSE_SURPRISE": "1", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_shell_set_up_for_one_deployment_does_not_lend_its_servers_to_the_next(tmp_path):
    servers = Servers("postgresql://db", "redis://q/0", "redis://q/1", "identity", frozenset({"redis://q/0"}))
    exports = Environment(servers, SECRETS, Ports(8000)).exports()
    words = [line.removeprefix("export ").partition("=") for line in exports.splitlines()]
    sourced = {name: "".join(shlex.split(value)) for name, _, value in words}
    # The database was named by whoever started it, so it is theirs to name again.
    assert servers_named_in(sourced) == {
        "TOLLHOUSE_DATABASE_URL": "postgresql://db",
        "TOLLHOUSE_CACHE_URL": "redis://q/1",
    }
    assert servers_named_in(sourced | {"TOLLHOUSE_REDIS_URL": "redis://mine/0"})["TOLLHOUSE_REDIS_URL"]
    assert not MARKER.startswith("TOLLHOUSE_"), "a setting nobody knows stops every process"


def test_settings_given_on_the_command_line_reach_every_process():
    environment = Environment(SERVERS, SECRETS, Ports(8000), {"lease_s": "4"})
    assert environment.worker()["TOLLHOUSE_LEASE_S"] == "4"
    assert environment.read()["TOLLHOUSE_LEASE_S"] == "4"


@pytest.mark.parametrize(
    ("queue", "cache"),
    [
        ("redis://:p@h:1/0", "redis://:p@h:1/1"),
        ("redis://h/3", "redis://h/4"),
        ("redis://h:6379", "redis://h:6379/1"),
    ],
)
def test_the_cache_is_the_next_database_of_the_queues_server(queue, cache):
    assert next_database(queue) == cache


def test_secrets_are_made_once_and_are_the_owners_only(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    first = state.secrets()
    assert State(tmp_path / "state").secrets() == first
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "secrets.json").stat().st_mode) == 0o600


def test_a_damaged_file_names_itself_and_the_way_out(tmp_path):
    write_private(tmp_path / "secrets.json", b"{")
    with pytest.raises(ProcessFailed, match=r"secrets.json is damaged .* --reset"):
        read_struct(tmp_path / "secrets.json", Secrets)


def test_reset_removes_what_is_ours_and_nothing_else(tmp_path):
    state = State(tmp_path)
    state.open()
    made = state.secrets()
    state.log("worker").write_text("a line")
    (tmp_path / "demo").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    state.reset()
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "thesis.txt"}
    assert state.secrets() != made


def test_the_log_of_the_last_start_is_kept_beside_the_new_one(tmp_path):
    state = State(tmp_path)
    state.log("worker").write_text("first start")
    assert state.log("worker").read_text() == ""
    assert (tmp_path / "logs" / "worker.log.1").read_text() == "first start"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of somebody else")
def test_a_state_directory_of_another_user_is_refused(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ProcessFailed, match="belongs to user 65534, you are 0"):
        State(tmp_path).open()


def test_fingerprints_tell_databases_apart_without_telling_their_passwords():
    one, other = fingerprint("postgresql://a:secret@h/d"), fingerprint("postgresql://a:other@h/d")
    assert one != other
    assert "secret" not in one
    assert fingerprint("a", "bc") != fingerprint("ab", "c")


def test_apps_are_read_from_the_catalogs_answer():
    answer = {"projects": {"acme": {"apps": ["editor", "viewer"]}, "globex": {"apps": ["board"]}}}
    assert apps_of(answer) == ["acme/editor", "acme/viewer", "globex/board"]


@pytest.mark.parametrize("answer", [{}, {"projects": ["acme"]}, {"projects": {"acme": {}}}])
def test_an_answer_without_apps_is_an_error_that_shows_it(answer):
    with pytest.raises(ProcessFailed, match=r"lacks projects\.\*\.apps"):
        apps_of(answer)
