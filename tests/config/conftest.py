from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIInSHNDIbUDBUoBJXMpML/HeVBIaNYpQS2qeKTQL9zwN"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every sample in it and the keys they name."""
    for sample in SAMPLES.glob("*.toml"):
        (tmp_path / sample.name).write_text(sample.read_text())
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("host", "client"):
        (keys / name).write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        (keys / name).chmod(0o600)
    (keys / "beijing-2.pub").write_text(f"{PUBLIC} same-city\n")
    (keys / "token").write_text("secret\n")
    return tmp_path
