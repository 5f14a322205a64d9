"""A drill beside production proves the content, says how long it took, and leaves nothing."""

from pathlib import Path

import pytest

from drsync.lab.layout import GROUP, REMOTE
from tests.integration.site import site

pytestmark = pytest.mark.integration


async def test_a_drill_proves_the_content_while_the_application_goes_on(home: Path) -> None:
    async with site(home) as place:
        await place.protect()
        async with place.writing() as writer:
            before = writer.acknowledged
            ended = (await place.cli("drill", "run", GROUP, "--at", REMOTE, "--json")).well()
            assert writer.acknowledged > before, "replication went on"
            operation = ended.doc
            report = operation.doc("result").doc("report")
            assert (report.text("verdict"), report.text("content")) == ("passed", "equal")
            assert report.number("rto_s") > 0
            identity = operation.text("id")

            page = home / "report.html"
            (await place.cli("drill", "report", identity, "--out", str(page))).well()
            assert identity in page.read_text()

            sockets = [path.name for path in place.layout.run(REMOTE).rglob("*.sock")]
            assert not [name for name in sockets if name.startswith("view-")], sockets
            await place.require_ledger(writer)
