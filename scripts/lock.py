"""Resolve the dependencies of pyproject.toml into requirements/*.txt: exact versions with hashes.

Run it through `make lock` (the dev group is installed then). The source is pyproject.toml alone:
`[project] dependencies` and `[dependency-groups]`. Each file is resolved under the constraint of the files
before it, so that they can be installed one after the other into one environment. No address of an index is
written: where packages come from is the business of the machine that installs them.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("build", "runtime", "test", "lint", "dev")
HEADER = """\
# Versions and hashes of the `{name}` dependencies in pyproject.toml. Made by `make lock`; do not edit.
"""


def wanted(pyproject: dict[str, dict[str, list[str]]], name: str) -> list[str]:
    """The requirements of one file, as written in pyproject.toml."""
    if name == "runtime":
        return pyproject["project"]["dependencies"]
    return pyproject["dependency-groups"][name]


def lock(name: str, requirements: list[str], constraints: list[Path], options: list[str]) -> Path:
    """Write requirements/`name`.txt and return its path."""
    target = ROOT / "requirements" / f"{name}.txt"
    with tempfile.NamedTemporaryFile("w", suffix=".in") as source:
        source.write("\n".join(requirements) + "\n")
        source.flush()
        command = [
            *(sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe"),
            *("--strip-extras", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *("--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options"),
            *(f"--constraint={path}" for path in constraints),
            *(f"--output-file={target}", *options, source.name),
        ]
        subprocess.run(command, cwd=ROOT, check=True)
    target.write_text(HEADER.format(name=name) + target.read_text())
    return target


def main() -> None:
    """Lock every group; options (for example ``--upgrade``) are handed on to pip-compile."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    done: list[Path] = []
    for name in ORDER:
        done.append(lock(name, wanted(pyproject, name), list(done), sys.argv[1:]))
        print(f"locked {done[-1].relative_to(ROOT)}")


if __name__ == "__main__":
    main()
