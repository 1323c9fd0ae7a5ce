"""The servers from wheels, used the way the tests and the local deployment use them."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from deploy.local.lock import AlreadyRunning
from deploy.local.postgres import prepare_postgres, running_postgres
from deploy.local.postgres_binaries import Privileges, find_postgres, reach_of_nobody
from deploy.local.processes import ProcessFailed, bury, start, wait_until_ready
from deploy.local.valkey import prepare_valkey, running_valkey
from tests.e2e.local.processes_seen import descendants_of, is_alive, wait_for


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with running_postgres(tmp_path_factory.mktemp("with space") / "it's \\ here", fsync=False) as server:
        yield server


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with running_valkey(tmp_path_factory.mktemp("with space") / 'a "quoted" \\ one') as server:
        yield server


async def fetch(url, statement):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("max_connections", "200"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
        ("fsync", "off"),
        ("synchronous_commit", "on"),
        ("lc_collate", "C"),
    ],
)
async def test_postgres_is_set_up_the_same_on_every_machine(postgres, setting, value):
    if setting == "lc_collate":
        statement = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
    else:
        statement = f"SELECT current_setting('{setting}')"
    assert await fetch(postgres.url, statement) == value


async def test_the_owner_may_clone_databases(postgres):
    connection = await asyncpg.connect(postgres.url.rpartition("/")[0] + "/postgres")
    try:
        await connection.execute("CREATE DATABASE clone TEMPLATE tollhouse")
        await connection.execute("DROP DATABASE clone")
    finally:
        await connection.close()


async def test_postgres_refuses_a_wrong_password(postgres):
    wrong = postgres.url.replace("tollhouse:", "tollhouse:not", 1)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await fetch(wrong, "SELECT 1")


async def test_valkey_refuses_a_missing_password_and_keeps_two_databases_apart(valkey):
    with socket.create_connection(("127.0.0.1", valkey.port)) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")
    async with Redis.from_url(valkey.url) as queue, Redis.from_url(valkey.cache_url) as cache:
        await queue.set("bell", "1")
        assert await cache.get("bell") is None
        assert (await queue.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


def test_secrets_are_readable_by_their_owner_only(tmp_path):
    prepare_postgres(tmp_path / "pg", tmp_path / "pg.log", fsync=False)
    prepare_valkey(tmp_path / "valkey", tmp_path / "valkey.log")
    for secret in (tmp_path / "pg" / "password", tmp_path / "valkey" / "valkey.conf"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


async def test_rows_survive_a_stop_and_a_kill_9(tmp_path):
    directory, log = tmp_path / "pg", tmp_path / "pg.log"
    with running_postgres(directory) as server:
        await fetch(server.url, "CREATE TABLE kept (x int)")
    server = prepare_postgres(directory, log)
    child = start(server.program)
    wait_until_ready(child)
    await fetch(server.url, "INSERT INTO kept VALUES (7)")
    os.kill(child.pid, signal.SIGKILL)
    bury(child)
    assert (server.data / "postmaster.pid").exists()
    with running_postgres(directory) as server:
        assert await fetch(server.url, "SELECT x FROM kept") == 7


async def test_a_pid_file_that_names_a_living_stranger_does_not_stop_the_start(tmp_path):
    server = prepare_postgres(tmp_path / "pg", tmp_path / "pg.log", fsync=False)
    server.data.joinpath("postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n0\n5432\n\n127.0.0.1\n")
    with running_postgres(tmp_path / "pg", fsync=False) as server:
        assert await fetch(server.url, "SELECT 1") == 1


async def test_valkey_keeps_its_data_only_when_asked_to(tmp_path):
    for persist, kept in ((True, b"1"), (False, None)):
        directory = tmp_path / str(persist)
        for expected in (None, kept):
            with running_valkey(directory, persist=persist) as server:
                async with Redis.from_url(server.url) as client:
                    assert await client.get("bell") == expected
                    await client.set("bell", "1")


def test_a_cluster_without_its_version_or_its_password_is_refused_by_the_files_name(tmp_path):
    data = tmp_path / "data"
    data.mkdir()

    def prepare():
        return prepare_postgres(tmp_path, tmp_path / "log", privileges=Privileges.OWN)

    with pytest.raises(ProcessFailed, match=r"PG_VERSION cannot be read.*--reset"):
        prepare()
    (data / "PG_VERSION").write_text(f"{find_postgres(tmp_path, Privileges.OWN).major}\n")
    with pytest.raises(ProcessFailed, match=r"password.*--reset"):
        prepare()


def test_a_cluster_of_another_major_version_is_refused_by_name(tmp_path):
    server = prepare_postgres(tmp_path, tmp_path / "pg.log", fsync=False)
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ProcessFailed, match=r"data was made by PostgreSQL 9, .*--reset"):
        prepare_postgres(tmp_path, tmp_path / "pg.log", fsync=False)


def test_an_interrupted_first_start_leaves_no_half_made_cluster(tmp_path):
    (tmp_path / "unfinished-abc").mkdir()
    (tmp_path / "unfinished-abc" / "data").mkdir()
    server = prepare_postgres(tmp_path, tmp_path / "pg.log", fsync=False)
    assert (server.data / "PG_VERSION").exists()
    assert not list(tmp_path.glob("unfinished-*"))


def test_a_second_user_of_the_same_directory_is_refused(tmp_path):
    with (
        running_valkey(tmp_path) as server,
        pytest.raises(AlreadyRunning, match=f"in use by process {os.getpid()}"),
        running_valkey(tmp_path),
    ):
        raise AssertionError(f"a second server beside {server.url}")


def test_a_port_taken_meanwhile_fails_with_the_servers_own_words(tmp_path):
    server = prepare_valkey(tmp_path, tmp_path / "valkey.log")
    with socket.create_server(("127.0.0.1", server.port)):
        child = start(server.program)
        with pytest.raises(ProcessFailed, match="already in use"):
            wait_until_ready(child)
        bury(child)


def test_a_missing_executable_is_an_error_that_names_it(tmp_path):
    program = prepare_valkey(tmp_path, tmp_path / "valkey.log").program
    with pytest.raises(ProcessFailed, match="Cannot run /no/such/server"):
        start(replace(program, argv=["/no/such/server"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_without_user_namespaces_root_runs_postgres_as_nobody(tmp_path):
    tmp_path.chmod(0o700)  # as /root is: nobody cannot look inside
    directory = tmp_path / "pg"
    with running_postgres(directory, fsync=False, privileges=Privileges.NOBODY) as server:
        assert await fetch(server.url, "SELECT 1") == 1
        assert server.data.owner() == "nobody"
        assert server.data.parent == reach_of_nobody(directory)
    shutil.rmtree(server.data.parent)


def test_kill_9_of_a_test_run_ends_its_servers(tmp_path):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from deploy.local.postgres import running_postgres\n"
        "from deploy.local.valkey import running_valkey\n"
        "base = Path(sys.argv[1])\n"
        "with running_postgres(base / 'pg', fsync=False), running_valkey(base / 'valkey'):\n"
        "    print('UP', flush=True); time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "UP\n"
        below = descendants_of(process.pid)
        assert len(below) > 2
        process.kill()
    assert wait_for(lambda: not [pid for pid in below if is_alive(pid)])
