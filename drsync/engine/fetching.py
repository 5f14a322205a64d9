"""Having the disk bring parts of an image into memory, several at once, while the loop goes on.

Nothing is read for anybody here: whoever waits reads again afterwards, from the loop, under the rules that
hold then. So it does not matter what happens to volume, lease or image meanwhile.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from drsync.model.errors import DrsyncError
from drsync.ports.journal import Arrived, Image

THREADS: Final = 4  # because each waits for many reads at once, which are all under way before it begins
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")


def fetch(image: Image, places: Sequence[tuple[int, int]], arrived: Arrived) -> None:
    """Have these (offset, length) read; `arrived` is called from the loop, also when that failed.

    By threads where the system has nothing better (`Image.fetch`): then all are told of together.
    """
    if image.fetch(places, arrived):
        return
    for offset, length in places:
        image.will_need(offset, length)

    def wait() -> None:
        scratch = memoryview(bytearray(max(length for _, length in places)))
        for offset, length in places:
            try:
                image.read_into(offset, scratch[:length])
            except DrsyncError:  # whoever reads it again will be told
                return

    waiting = asyncio.get_running_loop().run_in_executor(_threads, wait)
    waiting.add_done_callback(lambda _: arrived(range(len(places))))
