"""What is promised is shown as proved, over target or unknown, by real processes and a real cable."""

from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc, Json
from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.proxy import Wire
from tests.integration.site import MIB, group_document, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TARGET = "3s"


def _standing(status: Doc, center: str) -> str:
    return group_of(status).doc("centers").doc(center).text("rpo_standing")


def _proved(status: Doc, center: str) -> float:
    return group_of(status).doc("centers").doc(center).number("rpo_proved_s", -1.0)


async def test_a_cut_link_turns_the_status_red_and_a_restart_of_the_coordinator_makes_it_unknown(
    tmp_path: Path,
) -> None:
    async with site(tmp_path, wired=True) as place:
        document: Json = group_document(4 * MIB, 4 * MIB) | {"objectives": {"rpo": TARGET, "rto": "60s"}}
        await place.post("/v1/groups", document)
        await place.until("the group open and level", lambda s: is_level(s, PRODUCTION))
        await place.until("the remote copy proves its age", lambda s: _standing(s, REMOTE) == "ok")

        place.switch(Wire.DROP, REMOTE, (PRODUCTION, SAME_CITY))
        red = await place.until("the remote copy is over target", lambda s: _standing(s, REMOTE) == "over")
        assert _standing(red, SAME_CITY) == "ok"
        assert not group_of(red).flag("ready")
        assert _proved(await place.get("/v1/status"), REMOTE) > _proved(red, REMOTE) > 3.0
        shown = (await place.cli("status")).well().out
        assert "OVER 3 s" in shown
        assert REMOTE in (await place.cli("why", GROUP)).well().out

        place.switch(Wire.PASS, REMOTE, (PRODUCTION, SAME_CITY))
        await place.until(
            "all copies prove their age again",
            lambda s: group_of(s).flag("ready") and _standing(s, REMOTE) == "ok",
        )

        await place.kill(COORDINATOR)
        place.start(COORDINATOR)
        blind = await place.until("nothing is known", lambda s: _standing(s, REMOTE) == "unknown")
        assert not group_of(blind).flag("ready")
        await place.until("and then it is", lambda s: group_of(s).flag("ready"))

        compliance = (await place.cli("report", "compliance", "--json")).well().doc.docs("reports")[0]
        causes = [one.text("cause") for one in compliance.docs("stretches") if one.text("center") == REMOTE]
        assert "over the target of 3 s" in causes
        sums = (
            (await place.cli("report", "availability", "--json")).well().doc.docs("reports")[0].doc("account")
        )
        assert sums.number("unknown_s") < 1.0, "the owner has proved that it served meanwhile"
