"""Whether a change of owner got to its end although nobody noted it: told by the charters it wrote."""

from drsync.adapters.sqlite.charters import SqliteCharterStore


def is_achieved(store: SqliteCharterStore, group_id: str, operation_id: str, target: str) -> bool:
    """Whether the charters it wrote brought the target a new epoch."""
    kept = [one for _, one in store.history(group_id)]
    its = [n for n, one in enumerate(kept) if one.intent is not None and one.intent.id == operation_id]
    if not its or its[-1] + 1 >= len(kept):
        return False
    before, after = kept[max(its[0] - 1, 0)], kept[its[-1] + 1]
    return after.owner == target and after.epoch > before.epoch
