"""What members last stated, and their start tokens: the store's half of the memory of amnesia (F.A 25).

Durable facts that only rise. Positions are written when a member registers, at a change of
epoch and every `POSITION_STEP` records: a remembered position may be old, a weaker witness but no wrong one.
"""

from drsync.adapters.sqlite.database import Database
from drsync.core.store_trust import Remembered, TokenWord, check_token, regressed, remember
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.ports.clock import Clock

POSITION_STEP = 10_000  # because a commit per heartbeat and group would be the busiest writer of the store


class MemberMemory:
    """What the store remembers of the members."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._heard: dict[tuple[str, str], tuple[Remembered, str]] = {}
        self._kept: dict[tuple[str, str], tuple[Remembered, str]] = {}
        for group_id, center, promised, follow, durable, session, appended, incarnation in database.rows(
            "SELECT group_id, center, promised, follow, durable, session, appended, incarnation FROM members"
        ):
            word = Remembered(
                Epoch(int(str(promised))),
                Epoch(int(str(follow))),
                int(str(durable)),
                str(session),
                int(str(appended)),
            )
            self._heard[str(group_id), str(center)] = self._kept[str(group_id), str(center)] = (
                word,
                str(incarnation),
            )

    def token_of(self, center: str) -> int:
        """The last token handed to a center; 0 when it never registered."""
        found = self._database.rows("SELECT token FROM centers WHERE center = ?", center)
        return int(str(found[0][0])) if found else 0

    def accept_token(self, center: str, stated: int) -> None:
        """Take a center's word for its start token: all its groups began anew here."""
        self._database.execute(
            "INSERT OR REPLACE INTO centers VALUES (?, ?, ?)",
            center, stated, self._clock.wall_us(),
        )  # fmt: skip

    def exchange(self, center: str, stated: int) -> tuple[TokenWord, int]:
        """Compare a start token with memory and hand out the next, durably before it is spoken.

        Returns what the comparison tells, and the token for the center. When the store itself went back
        nothing is handed out (the stated token is returned).
        """
        known = self.token_of(center)
        word = check_token(stated, known)
        if word is TokenWord.STORE_WENT_BACK:
            return word, stated
        token = known if word is TokenWord.REPEAT else known + 1
        self._database.execute(
            "INSERT OR REPLACE INTO centers VALUES (?, ?, ?)",
            center, token, self._clock.wall_us(),
        )  # fmt: skip
        return word, token

    def hear(self, group_id: str, statement: Statement) -> bool:
        """Remember a first statement, durably; False when it shows that it went back: then it is not.

        A new store (another incarnation) that is behind the old one is the same case: the center may still
        be in the in-sync set, and does not hold what it acknowledged.
        """
        key = (group_id, statement.center)
        before, _ = self._heard.get(key, (Remembered(), ""))
        if regressed(statement, before):
            return False
        self._heard[key] = found = (remember(statement, before), statement.incarnation)
        if found != self._kept.get(key):
            self._keep([key])
        return True

    def has(self, group_id: str, center: str) -> bool:
        """Whether records of a member are remembered."""
        remembered, _ = self._heard.get((group_id, center), (Remembered(), ""))
        return remembered.durable > 0

    def is_behind(self, group_id: str, statement: Statement) -> bool:
        """Whether a member still lacks something of what was remembered of it."""
        remembered, _ = self._heard.get((group_id, statement.center), (Remembered(), ""))
        return regressed(statement, remembered)

    def follow(self, group_id: str, statement: Statement) -> None:
        """Remember a later statement of the same link, whatever it says: a cut lowers positions honestly."""
        key = (group_id, statement.center)
        word = Remembered(
            statement.promised, statement.follow, statement.durable, statement.session, statement.appended
        )
        self._heard[key] = (word, statement.incarnation)
        if self._is_worth_keeping(key):
            self._keep([key])

    def _is_worth_keeping(self, key: tuple[str, str]) -> bool:
        if key not in self._kept:
            return True
        (now, incarnation), (kept, kept_incarnation) = self._heard[key], self._kept[key]
        if (now.promised, now.follow, now.session, incarnation) != (
            kept.promised,
            kept.follow,
            kept.session,
            kept_incarnation,
        ):
            return True
        return not 0 <= now.durable - kept.durable < POSITION_STEP

    def _keep(self, keys: list[tuple[str, str]]) -> None:
        with self._database.transaction():
            for group_id, center in keys:
                word, incarnation = self._heard[group_id, center]
                self._database.execute(
                    "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    group_id, center, str(word.promised), str(word.follow), word.durable, word.session,
                    word.appended, incarnation,
                )  # fmt: skip
                self._kept[group_id, center] = (word, incarnation)

    def flush(self) -> None:
        """Keep everything heard; at a clean stop."""
        self._keep([key for key, word in self._heard.items() if self._kept.get(key) != word])
