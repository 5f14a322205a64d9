"""Reads and syncs that the kernel makes while the event loop goes on, without a thread for any of them.

Linux's io_uring (io_uring(7)), used for two things. To have parts of files in the page cache, and to hear
when: what is read goes into memory that nobody looks at; whoever waited reads again, and finds it in the page
cache. And to have the data of a file made durable. A thread costs more: it must be woken, and takes turns
with the loop at every step. And what is asked for together goes to the disk's driver in one call.

The kernel finishes requests only inside calls that the loop makes (IORING_SETUP_DEFER_TASKRUN, Linux 6.1), so
that both sides never touch the shared memory at once.
"""

import asyncio
import ctypes
import errno
import mmap
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from drsync.ports.journal import Arrived

ENTRIES: Final = 256  # because a disk that has so many reads before it gains nothing from more
TOLD_AT_ONCE_MAX: Final = 8  # because clients and disk are at work again while the others are answered
PART_BYTES_MAX: Final = 64 << 10  # because all reads write into one piece of memory of this size

# linux/io_uring.h; the numbers of these calls are the same on every architecture
_SETUP, _ENTER, _REGISTER = 425, 426, 427
_TASKRUN_FLAG, _SINGLE_ISSUER, _DEFER_TASKRUN = 1 << 9, 1 << 12, 1 << 13
_SQ_TASKRUN = 1 << 2
_SINGLE_MMAP = 1 << 0
_GETEVENTS = 1 << 0
_REGISTER_EVENTFD = 4
_OFF_SQ_RING, _OFF_SQES = 0, 0x10000000
_OP_FSYNC, _OP_READ = 3, 22
_FSYNC_DATASYNC = 1 << 0

_PARAMS: Final = Struct("=30I")  # io_uring_params: 10 words, then 10 each for the offsets in both rings
_FLAGS_WORD, _FEATURES_WORD = 2, 5
_SQ_HEAD_WORD, _SQ_TAIL_WORD, _SQ_FLAGS_WORD, _SQ_ARRAY_WORD = 10, 11, 14, 16
_CQ_HEAD_WORD, _CQ_TAIL_WORD, _CQES_WORD = 20, 21, 25
_SQE: Final = Struct("=BBHiQQIIQ24x")  # opcode, flags, ioprio, fd, off, addr, len, rw_flags, user_data
_CQE: Final = Struct("=QiI")  # user_data, res, flags
_WORD: Final = Struct("=I")
_WORD_MASK: Final = 0xFFFFFFFF

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long

_scratch = mmap.mmap(-1, PART_BYTES_MAX)
"""Never given back: rings go without a word, and the kernel may write here until one is gone."""
_scratch_at: Final = ctypes.addressof(ctypes.c_char.from_buffer(_scratch))


def _call(number: int, *arguments: object) -> int:
    """A system call. Raises OSError."""
    result: int = _syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


Ended: TypeAlias = Callable[[int], None]
"""Hears how a sync has ended: 0, or the number of an error."""


class Ring:
    """The reads and syncs of one loop; all is called from it.

    Attributes:
        is_broken: the kernel refused to tell what has ended; nothing may be asked for any more.

    Raises:
        OSError: the kernel has none, or none like this, or may not be asked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = self._event = -1
        self.is_broken = False
        self._waiting: deque[tuple[int, int, int, Arrived, int, bool]] = deque()
        words = [0] * 30
        words[_FLAGS_WORD] = _SINGLE_ISSUER | _DEFER_TASKRUN | _TASKRUN_FLAG
        params = ctypes.create_string_buffer(_PARAMS.pack(*words), _PARAMS.size)
        self._fd = _call(_SETUP, ctypes.c_uint(ENTRIES), params)
        words = list(_PARAMS.unpack(params.raw))
        entries, completions = words[:2]
        if not words[_FEATURES_WORD] & _SINGLE_MMAP:
            raise OSError("older than the other things that are needed")
        self._sq_head, self._sq_tail, self._sq_flags = (
            words[n] for n in (_SQ_HEAD_WORD, _SQ_TAIL_WORD, _SQ_FLAGS_WORD)
        )
        self._cq_head, self._cq_tail, self._cqes = (
            words[n] for n in (_CQ_HEAD_WORD, _CQ_TAIL_WORD, _CQES_WORD)
        )
        self._sq_mask, self._cq_mask = entries - 1, completions - 1
        array = words[_SQ_ARRAY_WORD]
        length = max(array + entries * _WORD.size, self._cqes + completions * _CQE.size)
        self._shared = mmap.mmap(self._fd, length, offset=_OFF_SQ_RING)
        self._sqes = mmap.mmap(self._fd, entries * _SQE.size, offset=_OFF_SQES)
        for index in range(entries):
            _WORD.pack_into(self._shared, array + index * _WORD.size, index)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        event = ctypes.c_int(self._event)
        _call(_REGISTER, self._fd, _REGISTER_EVENTFD, ctypes.byref(event), 1)
        self._under_way: dict[int, tuple[Arrived, int]] = {}
        self._syncs: dict[int, Ended] = {}  # those whose end was not told yet
        self._came: list[tuple[Arrived, int]] = []
        self._ended: dict[int, int] = {}  # the number of an error, or 0, of syncs that were not told yet
        self._last_token = 0
        loop.add_reader(self._event, self._on_event)

    def fetch(self, fd: int, places: Sequence[tuple[int, int]], arrived: Arrived) -> None:
        """Have these (offset, length up to `PART_BYTES_MAX`) of a file in the page cache.

        Args:
            fd: may be closed as soon as this returns, and its number be given to another file.
            places: not empty.
            arrived: called from the loop with the numbers of places that are there, or cannot be had.
        """
        waiting, last = self._waiting, -1
        if len(self._under_way) + len(waiting) + len(places) > ENTRIES:
            # Some must wait. By then the number may be that of a pipe or socket, which loses what is read.
            try:
                fd, last = os.dup(fd), len(places) - 1
            except OSError:
                refused = [(arrived, number) for number in range(len(places))]
                asyncio.get_running_loop().call_soon(_tell, refused)
                return
        for number, (offset, length) in enumerate(places):
            waiting.append((fd, offset, length, arrived, number, number == last))
        self._submit()

    def sync(self, fd: int, ended: Ended) -> Callable[[], None] | None:
        """Begin to make the data of a file durable, as fdatasync(2) does.

        Args:
            fd: may be closed as soon as this returns.
            ended: called once, from the loop, not before this returns.

        Returns:
            None where the kernel does not take it: nothing was begun. Else what waits, in the thread of the
            loop, which stands still meanwhile, until `ended` was called.
        """
        token = self._last_token + 1
        tail = _WORD.unpack_from(self._shared, self._sq_tail)[0]
        at = (tail & self._sq_mask) * _SQE.size
        _SQE.pack_into(self._sqes, at, _OP_FSYNC, 0, 0, fd, 0, 0, 0, _FSYNC_DATASYNC, token)
        _WORD.pack_into(self._shared, self._sq_tail, (tail + 1) & _WORD_MASK)
        try:
            _call(_ENTER, self._fd, 1, 0, 0, None, 0)
        except OSError:
            _WORD.pack_into(self._shared, self._sq_tail, tail)
            return None
        self._last_token = token
        self._syncs[token] = ended
        return partial(self._wait, token)

    def _wait(self, token: int) -> None:
        """Stand still until a sync has ended. What else ends meanwhile is told when the loop goes on."""
        while token in self._syncs:
            if token in self._ended:  # perhaps for long: its end may have come with that of another
                self._syncs.pop(token)(self._ended.pop(token))
            else:
                self._collect(1)

    def _submit(self) -> None:
        """Ask for as much as may be asked for at once."""
        over: list[int] = []  # descriptors of our own that nothing waits for any more
        under_way, waiting, sqes, mask = self._under_way, self._waiting, self._sqes, self._sq_mask
        token = begin = self._last_token
        tail = _WORD.unpack_from(self._shared, self._sq_tail)[0]
        while waiting and len(under_way) < ENTRIES:
            fd, offset, length, arrived, number, is_last = waiting.popleft()
            if is_last:
                over.append(fd)
            token += 1
            under_way[token] = arrived, number
            at = (tail & mask) * _SQE.size
            _SQE.pack_into(sqes, at, _OP_READ, 0, 0, fd, offset, _scratch_at, length, 0, token)
            tail += 1
        self._last_token = token
        if token == begin:
            return
        _WORD.pack_into(self._shared, self._sq_tail, tail & _WORD_MASK)
        try:
            taken = _call(_ENTER, self._fd, token - begin, 0, 0, None, 0)
        except OSError:
            taken = 0
        if taken < token - begin:  # for want of memory: whoever waits asks the disk himself
            head = _WORD.unpack_from(self._shared, self._sq_head)[0]
            _WORD.pack_into(self._shared, self._sq_tail, head)
            refused = [under_way.pop(one) for one in range(begin + taken + 1, token + 1)]
            if not under_way:  # nothing will come that would make it the turn of those behind
                refused += [(one[3], one[4]) for one in waiting]
                over += self._drop_waiting()
            asyncio.get_running_loop().call_soon(_tell, refused)
        for fd in over:
            os.close(fd)

    def _drop_waiting(self) -> list[int]:
        """Nobody's turn will come; descriptors of our own to be closed."""
        over = [fd for fd, _, _, _, _, is_last in self._waiting if is_last]
        self._waiting.clear()
        return over

    def _on_event(self) -> None:
        self._collect(0)
        if self._waiting:
            self._submit()
        came, self._came = self._came, []
        try:
            if self._ended:
                self._tell_ended()
        finally:
            if came:
                _tell(came)

    def _collect(self, least: int) -> None:
        """Let the kernel finish what it can, once so many have ended, and note what has ended.

        The kernel signals the eventfd twice: when something is to be finished, and when that is done, which
        we know. So it is read after both, or the loop would come again for nothing. What was to be finished
        in between has set its flag before it signalled, and what comes later signals again. The flag may stay
        set for nothing, so it is looked at once.
        """
        try:
            _call(_ENTER, self._fd, 0, least, _GETEVENTS, None, 0)
            if not least and self._was_signalled():
                _call(_ENTER, self._fd, 0, 0, _GETEVENTS, None, 0)
            self._note_finished()
        except InterruptedError:
            return  # by a signal, while waiting
        except OSError:
            self._give_up()

    def _was_signalled(self) -> bool:
        """Forget the signals that came; whether one may have been for something that is not finished."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        return bool(_WORD.unpack_from(self._shared, self._sq_flags)[0] & _SQ_TASKRUN)

    def _give_up(self) -> None:
        """Nobody may wait for what will not be told: the kernel says only once that there is something."""
        self.is_broken = True
        self._came += self._under_way.values()
        self._came += [(one[3], one[4]) for one in self._waiting]
        self._under_way.clear()
        for fd in self._drop_waiting():
            os.close(fd)
        # Whether it was durable will never be known, and asking again would not tell (P33).
        self._ended = dict.fromkeys(self._syncs, errno.EIO) | self._ended

    def _note_finished(self) -> None:
        """Reads have ended with whatever result: whoever waits will read."""
        shared, mask = self._shared, self._cq_mask
        head, tail = (_WORD.unpack_from(shared, at)[0] for at in (self._cq_head, self._cq_tail))
        while head != tail:
            token, result, _flags = _CQE.unpack_from(shared, self._cqes + (head & mask) * _CQE.size)
            if token in self._syncs:
                self._ended[token] = -result
            elif token in self._under_way:
                self._came.append(self._under_way.pop(token))
            head = (head + 1) & _WORD_MASK
        _WORD.pack_into(shared, self._cq_head, head)

    def _tell_ended(self) -> None:
        ended, syncs = self._ended, self._syncs
        try:
            while ended:
                token, result = ended.popitem()
                syncs.pop(token)(result)
        finally:  # also where one of them failed, so that all others are told
            if ended:
                asyncio.get_running_loop().call_soon(self._tell_ended)

    def __del__(self) -> None:
        for fd in (self._event, self._fd, *self._drop_waiting()):
            if fd >= 0:
                os.close(fd)


def _tell(came: list[tuple[Arrived, int]]) -> None:
    """Call each once, with all that it waits for; where many came, some of them now, then the loop turns."""
    found: dict[Arrived, list[int]] = {}
    for arrived, number in came[:TOLD_AT_ONCE_MAX]:
        found.setdefault(arrived, []).append(number)
    try:
        while found:
            arrived = next(iter(found))
            arrived(found.pop(arrived))
    finally:  # also where one of them failed, so that all others are told
        later = [(arrived, number) for arrived, numbers in found.items() for number in numbers]
        later += came[TOLD_AT_ONCE_MAX:]
        if later:
            asyncio.get_running_loop().call_soon(_tell, later)


_rings: WeakKeyDictionary[asyncio.AbstractEventLoop, Ring | None] = WeakKeyDictionary()


def ring() -> Ring | None:
    """The ring of the running loop; None where the system gives none, or it broke."""
    loop = asyncio.get_running_loop()
    if loop not in _rings:
        try:
            _rings[loop] = Ring(loop)
        except (OSError, RuntimeError):  # the latter by loops that watch no descriptors
            _rings[loop] = None
    found = _rings[loop]
    return None if found is None or found.is_broken else found
