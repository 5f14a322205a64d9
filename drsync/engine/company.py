"""Going on without the store, in company only (F.A 3): every same-city member is asked to bind itself."""

from collections.abc import Callable
from typing import Final

from drsync.core import lease
from drsync.core.ownership import InSync
from drsync.engine.owner import OwnerEngine
from drsync.engine.peers import Peers
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError

CONFIRM_TIMEOUT_S: Final = 1.0  # because failsafe confirmations must come well within a lease
FAILSAFE_AFTER: Final = 0.4  # fraction of the lease left when company is asked, because the store comes first


async def keep_company(
    me: str,
    engine: OwnerEngine,
    peers: Peers,
    state: Callable[[], InSync],
    renew: Callable[[float, float], None],
) -> None:
    """Ask whenever the lease of the owner `me` runs short, until cancelled; `renew` when they agree."""
    clock, lease_s = engine.clock, state().charter.group.policy.lease_s
    while True:
        await clock.sleep_until(clock.now() + lease_s * FAILSAFE_AFTER / 2)
        left = engine.lease_until - clock.now()
        if left > lease_s * FAILSAFE_AFTER or engine.is_released or engine.is_frozen:
            continue
        sent_at, charter, in_sync = clock.now(), state().charter, state().ack_set
        mates = charter.group.mates(me)
        others = {m.name for m in charter.group.members} - {me}
        asked = sorted((set(mates) | in_sync) & others or others)
        confirmed = [center for center in asked if await _is_confirmed(peers, charter, center)]
        if lease.may_go_on_without_store(me, mates, confirmed, in_sync):
            renew(sent_at, lease_s)


async def _is_confirmed(peers: Peers, charter: Charter, center: str) -> bool:
    body: dict[str, object] = {
        "group": charter.group.id,
        "epoch": charter.epoch,
        "seconds": charter.group.policy.lease_s,
    }
    try:
        answer = await peers.call(center, "group.confirm", body, CONFIRM_TIMEOUT_S)
    except DrsyncError:
        return False
    return answer.get("confirmed") is True
