"""Keeps the house tidy. The numbers here are ratchets: they may shrink, and grow only with a reason."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 600  # because a file should fit into a head; when one grows, a noun is missing
UNEXPLAINED_LIMITS_MAX = 8  # widths of fields and the like, whose reason is the line above

TEXT = {".py", ".md", ".toml", ".txt", ".html", ".j2", ".json", ".yml", ".yaml", ".sh", ""}
SKIPPED = {".git", ".venv", ".lab", "__pycache__", "build", "dist", "htmlcov"}


def tracked() -> list[Path]:
    """Files of the repository: what git knows, or, outside of git, what lies around."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in found if not SKIPPED & set(path.relative_to(ROOT).parts)]


FILES = tracked()


def texts(*folders: str, suffix: str = "") -> Iterator[tuple[str, str]]:
    """Names and contents of text files, in `folders` or everywhere."""
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        is_wanted = not folders or name.startswith(folders)
        if is_wanted and path.suffix in TEXT and path.suffix.endswith(suffix):
            yield name, path.read_text(errors="replace")


def lines_with(pattern: str, *folders: str, suffix: str = "") -> list[str]:
    """``file:line: text`` of every line that matches."""
    wanted = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts(*folders, suffix=suffix)
        for number, line in enumerate(text.splitlines(), start=1)
        if wanted.search(line)
    ]


def test_files_stay_small() -> None:
    sizes = {name: text.count("\n") for name, text in texts("drsync/", "tests/", "benchmarks/", suffix=".py")}
    assert {name: size for name, size in sizes.items() if size > LINES_MAX} == {}


def test_every_module_says_what_may_live_in_it() -> None:
    silent = [name for name, text in texts("drsync/", suffix=".py") if not text.startswith(('"""', 'r"""'))]
    assert silent == []


@pytest.mark.parametrize(
    "word", ["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error", "pragma: no " + "cover"]
)
def test_nothing_is_left_for_later(word: str) -> None:
    assert lines_with(rf"\b{word}\b", "drsync/") == []


def test_an_exemption_gives_its_reason_in_the_same_line() -> None:
    bare = lines_with(r"#\s*(noqa(: [A-Z0-9, ]+)?|type: ignore(\[[^\]]*\])?)\s*$", "drsync/", suffix=".py")
    assert bare == []


def test_tests_wait_for_conditions_and_do_not_sleep() -> None:
    """A short poll inside a wait with a deadline is no sleep; nor is a time that has a name."""
    for name in ("time", "asyncio"):
        assert lines_with(rf"\b{name}\.sleep" + r"\((?:[1-9]|0\.[1-9])", "tests/", suffix=".py") == []


def test_every_limit_has_its_because() -> None:
    unexplained = []
    for name, text in texts("drsync/", suffix=".py"):
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if re.match(r"[A-Z][A-Z0-9_]*_MAX\b.* = ", line):
                around = "\n".join(lines[max(0, number - 1) : number + 4])
                if "because" not in around.lower():
                    unexplained.append(f"{name}:{number + 1}: {line}")
    assert len(unexplained) <= UNEXPLAINED_LIMITS_MAX, "\n".join(unexplained)


HALVES = [("pypi", ".org"), ("python", "hosted"), ("npm", "js"), ("debian", ".org"), ("index", "-url")]
REGISTRIES = [first + second for first, second in HALVES]  # so that this file does not name them either


@pytest.mark.parametrize("address", REGISTRIES)
def test_no_address_of_a_registry_is_in_the_repository(address: str) -> None:
    """Where packages come from is the business of the machine that installs them."""
    hits = lines_with(re.escape(address))
    assert [hit for hit in hits if not hit.startswith("scripts/lock.py:")] == []


def test_no_path_of_the_machine_it_was_written_on_is_in_the_repository() -> None:
    hits = lines_with(rf"{re.escape(str(ROOT))}\b|/home/[a-z]+/|/Users/[a-z]+/")
    assert hits == []


def test_everything_that_is_installed_is_locked_with_hashes() -> None:
    for name, text in texts("requirements/", suffix=".txt"):
        entries = [entry for entry in re.split(r"\n(?=\S)", text) if entry and not entry.startswith("#")]
        assert entries, name
        for entry in entries:
            assert re.match(r"[a-z0-9._-]+==\S+ \\\n", entry), f"{name}: {entry.splitlines()[0]}"
            assert "--hash=sha256:" in entry, f"{name}: {entry.splitlines()[0]}"


def test_the_lock_files_hold_what_pyproject_names() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {"runtime": pyproject["project"]["dependencies"], **pyproject["dependency-groups"]}
    for group, requirements in wanted.items():
        locked = (ROOT / f"requirements/{group}.txt").read_text()
        for requirement in requirements:
            name = re.split(r"[<>=~! \[]", requirement)[0].lower().replace("_", "-")
            assert re.search(rf"^{re.escape(name)}==", locked, re.MULTILINE), f"{name}: run make lock"


def test_links_between_pages_lead_somewhere() -> None:
    link = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
    targets = [(name, target) for name, text in texts(suffix=".md") for target in link.findall(text)]
    inside = [(name, target) for name, target in targets if not re.match(r"[a-z]+:", target)]
    assert [pair for pair in inside if not (ROOT / pair[0]).parent.joinpath(pair[1]).exists()] == []


def test_changelog_fragments_are_of_a_known_kind() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    kinds = {kind["directory"] for kind in pyproject["tool"]["towncrier"]["type"]}
    for name, text in texts("changelog.d/", suffix=".md"):
        assert Path(name).suffixes[-2].lstrip(".") in kinds, name
        assert text.strip(), name
