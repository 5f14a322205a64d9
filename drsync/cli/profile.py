"""`drsync config profile`: the shipped files, filled in as far as the person tells."""

from collections.abc import Iterator

import click

from drsync.cli.errors import EXIT_CODES
from drsync.model.errors import UsageError

PROFILES = ("production", "same-city", "remote", "coordinator", "group")


@click.command("profile", epilog=EXIT_CODES)
@click.argument("name", type=click.Choice(PROFILES), required=False, metavar="[NAME]")
@click.option("--cluster", metavar="ID", help="The id that every process of the cluster states.")
@click.option(
    "--address",
    "addresses",
    metavar="PROCESS=HOST",
    multiple=True,
    help="Where a center or the coordinator is reached, without a port. Repeatable.",
)
@click.option(
    "--directory", is_flag=True, help="Print where profiles, units and scripts lie, and nothing else."
)
def profile(name: str | None, cluster: str | None, addresses: tuple[str, ...], directory: bool) -> None:
    """Print the file that a machine of this kind begins with.

    NAME is production, same-city, remote, coordinator, or group. What is not
    told stays open, written <like this>; drsync config check names it.

    \b
    Example:
      drsync config profile remote --cluster orders \\
        --address production=10.1.0.5 --address same_city=10.2.0.5 \\
        --address remote=10.9.0.5 --address coordinator=10.9.0.2 > agent.toml
    """
    from drsync.config import profiles

    if directory:
        click.echo(profiles.directory())
        return
    if name is None:
        raise UsageError(f"say which one: {', '.join(PROFILES)}")
    values = {profiles.address_of(process): host for process, host in _parse(addresses)}
    if cluster is not None:
        values[profiles.CLUSTER] = cluster
    text = profiles.read(profiles.Profile(name))
    # All four addresses may be given for each: one list of options then serves every machine.
    asked = {blank: value for blank, value in values.items() if f"<{blank}" in text or not _is_process(blank)}
    click.echo(profiles.fill(text, asked), nl=False)


def _parse(addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for entry in addresses:
        process, equals, host = entry.partition("=")
        if not equals or not host:
            raise UsageError(f"{entry!r} is no address; write for example production=10.1.0.5")
        yield process, f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_process(blank: str) -> bool:
    from drsync.config import profiles

    return blank in {
        profiles.address_of(name) for name in ("production", "same_city", "remote", "coordinator")
    }
