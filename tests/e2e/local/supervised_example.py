"""A deployment of stand-ins under the real supervisor, run as a program by the tests of supervision.

    python -m tests.e2e.local.supervised_example DIRECTORY NAME...

Each NAME is a line of PROGRAMS below. Prints every report line; prints `UP` when all are ready.
"""

import signal
import sys
from functools import partial
from pathlib import Path

from deploy.local.postgres import prepare_postgres
from deploy.local.processes import Program, log_since_start
from deploy.local.supervisor import Supervisor
from deploy.local.valkey import prepare_valkey

#: Stand-ins by what they do; each prints `ready` when it is.
PROGRAMS = {
    "plain": "import time; print('ready', flush=True); time.sleep(600)",
    # Forks two children that know nothing of death signals, as multiprocessing does.
    "forks": (
        "import os, time\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(600)\n"
        "print('ready', flush=True); time.sleep(600)"
    ),
    "stubborn": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(600)"
    ),
    "broken": "import sys; print('no such table'); sys.exit(3)",
    # Takes a second signal for impatience, as Dramatiq does.
    "touchy": (
        "import signal, sys, time\n"
        "asked = []\n"
        "def leave(*_):\n"
        "    asked.append(1); print(f'asked {len(asked)}', flush=True)\n"
        "signal.signal(signal.SIGTERM, leave); print('ready', flush=True)\n"
        "while not asked: time.sleep(0.01)\n"
        "time.sleep(0.2)"
    ),
    # Says in which order things ended.
    "polite": (
        "import signal, sys, time\n"
        "def leave(*_):\n"
        "    print(f'left at {time.monotonic()}', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave); print('ready', flush=True); time.sleep(600)"
    ),
}


def main() -> None:
    directory = Path(sys.argv[1])
    with Supervisor(say) as supervisor:
        for number, name in enumerate(sys.argv[2:]):
            log = directory / f"{number}-{name}.log"
            if name == "postgres":
                supervisor.start_prepared(partial(prepare_postgres, directory / "pg", log, fsync=False))
            elif name == "valkey":
                supervisor.start_prepared(partial(prepare_valkey, directory / "valkey", log))
            else:
                supervisor.start_together([stand_in(name, log)])
        say("UP")
        supervisor.watch()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def stand_in(name: str, log: Path) -> Program:
    return Program(
        name=name,
        argv=[sys.executable, "-S", "-c", PROGRAMS[name]],
        log=log,
        is_ready=lambda child: b"ready" in log_since_start(child),
        death_signal=signal.SIGKILL,
        stop_timeout_s=0.5,
    )


if __name__ == "__main__":
    main()
