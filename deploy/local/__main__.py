"""`python -m deploy.local`: the local deployment's commands (also `tollhouse local …`)."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from deploy.local.background import start_in_background, stop_background
from deploy.local.demo import run_demo
from deploy.local.deployment import Choices, run_deployment
from deploy.local.environment import ROOT
from deploy.local.lock import AlreadyRunning
from deploy.local.processes import ProcessFailed
from deploy.local.seed.run import run_seed
from deploy.local.web import NoAnswer

STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".tollhouse"),
    show_default=True,
    help="Where data, logs and secrets are kept.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def local() -> None:
    """Tollhouse with everything it needs on this machine: no Docker, no account, no network."""


@local.command()
@STATE
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=ROOT / "deploy" / "local" / "catalog.toml",
    help="What is sold and granted.  [default: the sample]",
)
@click.option(
    "--port-base",
    type=click.IntRange(1, 65532),
    default=8000,
    show_default=True,
    help="Port of the API; webhook, read and the simulated Stripe take the next three.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--reset", is_flag=True, help="Throw the data, keys and logs of --state away first.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write URLs and keys here (JSON, readable by you only) once everything is ready.",
)
@click.option(
    "--setting",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda _context, _option, words: parse_settings(words),
    help="A setting of the service for all its processes, such as lease_s=4.",
)
@click.option("--detach", is_flag=True, help="Return when it is ready and leave it running; `down` stops it.")
def up(
    *,
    state: Path,
    catalog: Path,
    port_base: int,
    workers: int,
    reset: bool,
    ready_file: Path | None,
    settings: dict[str, str],
    detach: bool,
) -> None:
    """Start everything and keep it running until Ctrl-C.

    TOLLHOUSE_DATABASE_URL and TOLLHOUSE_REDIS_URL name servers to use instead of the embedded ones.
    """
    state, catalog = state.absolute(), catalog.absolute()
    ready_file = ready_file.absolute() if ready_file else None
    if detach:
        arguments = ["--state", str(state), "--catalog", str(catalog), "--port-base", str(port_base)]
        arguments += ["--workers", str(workers), *(["--reset"] if reset else [])]
        arguments += ["--ready-file", str(ready_file)] if ready_file else []
        arguments += [f"--setting={name}={value}" for name, value in settings.items()]
        start_in_background(state, arguments, click.echo)
        return
    choices = Choices(
        state=state,
        catalog=catalog,
        port_base=port_base,
        workers=workers,
        reset=reset,
        settings=settings,
        ready_file=ready_file,
    )
    run_deployment(choices, click.echo)


@local.command()
@STATE
def down(*, state: Path) -> None:
    """Stop what runs in --state, in order."""
    stop_background(state, click.echo)


@local.command()
@STATE
def demo(*, state: Path) -> None:
    """Watch a purchase become an entitlement; keeps its data in --state/demo, emptied at each start."""
    sys.exit(run_demo(state / "demo", click.echo))


@local.command()
@STATE
@click.option("--users", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="The same number makes the same histories; they end at the present.",
)
def seed(*, state: Path, users: int, seed: int) -> None:
    """Fill the deployment that runs in --state with users and their histories.

    Trials, renewals, failed payments, refunds, disputes, passes, plan changes and grants in both projects of
    the sample catalog, made as users make them: by checkouts, on the simulated Stripe's pages and clocks, by
    webhooks and workers. Refuses without the simulator.
    """
    sys.exit(run_seed(state.absolute(), users, seed, click.echo))


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` words by name; raises BadParameter for any other word."""
    pairs = [word.partition("=") for word in words]
    for name, sign, _ in pairs:
        if not (name and sign):
            raise click.BadParameter(f"{name!r} is not NAME=VALUE, such as lease_s=4.")
    return {name: value for name, _, value in pairs}


def main() -> None:
    try:
        local(prog_name="tollhouse local")
    except (ProcessFailed, AlreadyRunning, NoAnswer) as error:
        click.echo(f"✗ {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
