"""Every command explains itself, and the list of commands tells the truth without loading them."""

import subprocess
import sys
import time

import click
import pytest

from drsync.cli import main

WIDTH = 80


def commands(name: str) -> dict[str, click.Command]:
    """The commands that begin with `name`, by their words."""
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    if isinstance(command, click.Group):
        return {f"{name} {word}": sub for word, sub in command.commands.items()}
    return {name: command}


@pytest.mark.parametrize("name", main.ENTRIES)
def test_the_list_of_commands_quotes_each_of_them(name: str) -> None:
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == main.ENTRIES[name].summary


@pytest.mark.parametrize("name", main.ENTRIES)
def test_help_explains_every_option_within_a_terminal(name: str) -> None:
    for words, command in commands(name).items():
        text = command.get_help(click.Context(command, info_name=f"drsync {words}", terminal_width=WIDTH))
        assert max(len(line) for line in text.splitlines()) <= WIDTH, words
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [option.name for option in options if not option.help] == [], words


@pytest.mark.parametrize("name", [name for name in main.ENTRIES if name != "version"])
def test_help_tells_the_exit_codes(name: str) -> None:
    for words, command in commands(name).items():
        assert "Exit codes:" in (command.epilog or ""), words


def test_help_comes_at_once() -> None:
    """Nothing heavy may be loaded for it; the time is a generous bound, the modules are exact."""
    heavy = {"aiohttp", "asyncssh", "pydantic", "rich", "asyncio"}
    script = (
        "import sys\nfrom drsync.cli import main\ntry:\n    main.main(['--help'])\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5
    loaded = set(ended.stderr.split())
    assert heavy & loaded == set()


def test_python_without_assertions_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-O", "-m", "drsync.cli", "status"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "does not run with assertions off" in ended.stderr
