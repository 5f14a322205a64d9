"""Each daemon serves its figures when it is told where, and nothing otherwise."""

import asyncio
import shutil
from pathlib import Path

import pytest
from aiohttp import ClientSession

from drsync.lab.configs import ANY_PORT
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, GROUP, PROCESSES, PRODUCTION
from drsync.lab.ports import HOST, choose
from tests.integration import trees
from tests.integration.site import STORY_S, Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def scrape(port: int) -> str:
    async with ClientSession() as client, client.get(f"http://{HOST}:{port}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_prometheus_can_read_every_daemon(home: Path) -> None:
    place = Site(home / "s")
    place.found()
    trees.make_roots(place)
    ports = choose(PROCESSES, held=place.held)
    for process, port in ports.items():
        path = place.layout.config(process)
        anywhere = f'[metrics]\nlisten = "{HOST}:{ANY_PORT}"'
        text = path.read_text()
        assert anywhere in text
        path.write_text(text.replace(anywhere, f'[metrics]\nlisten = "{HOST}:{port}"'))
    try:
        async with asyncio.timeout(STORY_S):
            await place.start_all()
            await trees.protect(place)
            found = {process: await scrape(port) for process, port in ports.items()}
        for center in CENTER_NAMES:
            is_owner = float(center == PRODUCTION)
            assert f'drsync_group_owner{{group="{GROUP}"}} {is_owner}' in found[center]
            assert f'drsync_link_up{{to="{COORDINATOR}"}} 1.0' in found[center]
            assert f'drsync_fileset_held{{fileset="{trees.WWW}",group="{GROUP}"}} 0.0' in found[center]
            at_center = f'center="{center}",fileset="{trees.WWW}",group="{GROUP}"'
            assert f"drsync_fileset_held_at{{{at_center}}} 0.0" in found[COORDINATOR]
        assert f'drsync_group_ready{{group="{GROUP}"}}' in found[COORDINATOR]
        assert 'drsync_agent_connected{center="remote"} 1.0' in found[COORDINATOR]
        if (promtool := shutil.which("promtool")) is not None:
            for text in found.values():
                pipe = asyncio.subprocess.PIPE
                checker = await asyncio.create_subprocess_exec(
                    promtool, "check", "metrics", stdin=pipe, stdout=pipe, stderr=pipe
                )
                said = await checker.communicate(text.encode())
                assert (checker.returncode, *said) == (0, b"", b"")
        place.require_no_bugs()
    except BaseException as error:
        error.add_note(place.ends_of_logs())
        raise
    finally:
        await place.close()
