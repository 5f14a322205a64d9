"""Every metric: name, unit, labels, meaning. Nothing else may live here; `docs/metrics.md` has the same list.

Names follow Prometheus: base units (seconds, bytes), ``_total`` for counters. Counters of an owner begin anew
with each term of ownership, those of a stream with each connection; `rate()` copes with that.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a value means."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. A counter's name ends with ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, words, labels)


def _counter(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, words, labels)


BUILD = _gauge("drsync_build_info", "1; the labels tell version and part.", "version", "part", "center")

# --- an agent: its copies

STATE = _gauge("drsync_group_state", "1 for the state that the copy is in, else 0.", "group", "state")
ROLE = _gauge("drsync_group_owner", "1 if this center owns the group in its own eyes, else 0.", "group")
SERVING = _gauge("drsync_group_serving", "1 if volumes are served and answer, else 0.", "group")
GENERATION = _gauge("drsync_group_epoch_generation", "First part of the epoch that is followed.", "group")
ERA = _gauge("drsync_group_epoch_era", "Second part of the epoch: forced openings.", "group")
TERM = _gauge("drsync_group_epoch_term", "Last part of the epoch: openings.", "group")
IN_SYNC = _gauge(
    "drsync_group_in_sync", "1 if the charter seen here has the center in sync.", "group", "center"
)
COMMIT = _gauge("drsync_group_commit_record", "Last record known to be committed.", "group")
POINTS = _gauge("drsync_group_recovery_points", "Recovery points that can be opened here.", "group")
HOLDS = _gauge("drsync_group_holds", "Checkpoints on hold at this copy.", "group")
WRITES_WAIT = _gauge(
    "drsync_writes_wait",
    "1 while new writes wait by policy: for room in the journal, or for a peer.",
    "group",
)
POINT_RATIO = _gauge(
    "drsync_checkpoint_compression_ratio",
    "How far a sample of what was written before the newest checkpoint shrinks; absent if nothing was.",
    "group",
)
JOURNAL_BYTES = _gauge("drsync_journal_bytes", "Disk that the journal occupies.", "group")
JOURNAL_QUOTA = _gauge("drsync_journal_quota_bytes", "What it may occupy.", "group")
JOURNAL_HELD = _gauge(
    "drsync_journal_held_bytes", "Journal that stays for this member alone.", "group", "peer"
)
JOURNAL_FIRST = _gauge("drsync_journal_first_record", "First record held.", "group")
JOURNAL_TIP = _gauge("drsync_journal_tip_record", "Last record appended.", "group")
JOURNAL_DURABLE = _gauge(
    "drsync_journal_durable_record", "Last record that survives a crash of the host.", "group"
)
APPLIED = _gauge("drsync_image_applied_record", "Last record that the images hold.", "group")
BROKEN = _gauge("drsync_copies_broken", "Copies that could not be opened at the start.")

# --- an agent: what it proves by itself

PROVED_AGE = _gauge(
    "drsync_point_proved_age_seconds",
    "Time since a self-drill last proved a recovery point here; absent before the first.",
    "group",
)
POINTS_FAILING = _gauge(
    "drsync_points_failing", "Recovery points above the newest proved one that failed their check.", "group"
)
PROOFS_LATE = _gauge(
    "drsync_point_proofs_late", "1 if nothing was proved for longer than max_age, else 0.", "group"
)
SELF_DRILLS = _counter("drsync_self_drill_checks_total", "Checks of recovery points that ended.", "group")
SELF_DRILL_FAILURES = _counter("drsync_self_drill_failures_total", "Those that failed.", "group")
SELF_DRILL_SECONDS = _counter("drsync_self_drill_seconds_total", "Time that checks took.", "group")

# --- an agent: points that the application agreed to

QUIET_AGE = _gauge(
    "drsync_app_point_age_seconds",
    "Time since the newest application-consistent checkpoint; absent before the first.",
    "group",
)
QUIET_LATE = _gauge(
    "drsync_app_points_late", "1 if there was none for longer than the group wants, else 0.", "group"
)
QUIET_ATTEMPTS = _counter(
    "drsync_app_point_attempts_total", "Application-consistent checkpoints that were tried.", "group"
)
QUIET_FAILURES = _counter(
    "drsync_app_point_failures_total", "Those that came to a point as after a crash, or none.", "group"
)
QUIET_FREEZE = _gauge(
    "drsync_app_point_freeze_seconds", "How long file systems were frozen for the last one.", "group"
)

# --- an agent: trees

FILES_GENERATION = _gauge(
    "drsync_fileset_generation", "The generation that the tree shows; 0 for none.", "group", "fileset"
)
FILES_KNOWN = _gauge("drsync_fileset_known_generation", "The newest generation heard of.", "group", "fileset")
FILES_ENTRIES = _gauge("drsync_fileset_entries", "Names in the tree.", "group", "fileset")
FILES_BYTES = _gauge("drsync_fileset_bytes", "Bytes of its files.", "group", "fileset")
FILES_PENDING = _gauge(
    "drsync_fileset_pending_entries", "Names that are changed and not here yet.", "group", "fileset"
)
FILES_HELD = _gauge(
    "drsync_fileset_held", "1 if the tree stands still here until somebody helps, else 0.", "group", "fileset"
)
FILES_BEHIND = _gauge(
    "drsync_fileset_behind_seconds",
    "Time since the tree showed the newest generation heard of; 0 while it does.",
    "group",
    "fileset",
)
FILES_FORKS = _counter(
    "drsync_fileset_forks_total", "Names put aside here since the agent started.", "group", "fileset"
)

# --- an agent: the trees it owns

FILES_SCAN = _gauge("drsync_fileset_scan_seconds", "What the last look took.", "group", "fileset")
FILES_LOOKED = _gauge(
    "drsync_fileset_looked_seconds",
    "Age of the last complete look at the tree; absent before the first.",
    "group",
    "fileset",
)
FILES_UNSEEN = _gauge(
    "drsync_fileset_unseen_places", "Places of the tree that cannot be looked at or read.", "group", "fileset"
)
FILES_LAG = _gauge(
    "drsync_fileset_lag_seconds",
    "Age of the oldest generation that the peer does not show; absent if unknown.",
    "group",
    "fileset",
    "peer",
)
FILES_SENT = _counter(
    "drsync_fileset_sent_bytes_total", "Bytes sent to the peer for the tree.", "group", "fileset", "peer"
)

# --- an agent: the groups it owns

TARGET = _gauge("drsync_rpo_target_seconds", "The RPO target of the group.", "group")
LAG_RECORDS = _gauge("drsync_peer_lag_records", "Records that the peer has not confirmed.", "group", "peer")
LAG_BYTES = _gauge("drsync_peer_lag_bytes", "Bytes that the peer has not confirmed.", "group", "peer")
LAG_SECONDS = _gauge(
    "drsync_peer_lag_seconds",
    "Age of the oldest record it has not confirmed; absent if unknown.",
    "group",
    "peer",
)
PEER_UP = _gauge("drsync_peer_following", "1 if the peer is connected and follows, else 0.", "group", "peer")
RAW_BYTES = _counter("drsync_peer_batch_bytes_total", "Bytes of batches sent on the stream.", "group", "peer")
WIRE_BYTES = _counter("drsync_peer_wire_bytes_total", "The same, as they went out.", "group", "peer")
LEVEL = _gauge("drsync_peer_compression_level", "Level of zstd in use; 0 for none.", "group", "peer")
RATIO = _gauge(
    "drsync_peer_compression_ratio", "Bytes of batches by bytes sent, between checkpoints.", "group", "peer"
)
LINE = _gauge(
    "drsync_peer_line_bytes_per_second",
    "What the line carried when it last held writes back.",
    "group",
    "peer",
)
STEP = _gauge(
    "drsync_peer_enforcement_step",
    "What is done to hold the RPO: 0 nothing, 1 larger batches, 2 stronger compression, "
    "3 other resyncs wait, 4 write pacing, 5 delta set, 6 the target is missed.",
    "group",
    "peer",
)
RESYNC_RUNNING = _gauge(
    "drsync_resync_running", "1 while the peer is brought level by blocks, else 0.", "group", "peer"
)
RESYNC_DONE = _counter(
    "drsync_resync_sessions_total", "Sessions that brought the peer level.", "group", "peer"
)
RESYNC_WIRE = _counter(
    "drsync_resync_wire_bytes_total", "Bytes that sessions sent, as they went out.", "group", "peer"
)
RESYNC_LEFT = _gauge(
    "drsync_resync_left_bytes",
    "Bytes of blocks still to be sent, or compared; 0 without a session.",
    "group",
    "peer",
)
RESYNC_RATE = _gauge(
    "drsync_resync_bytes_per_second",
    "Bytes that the peer takes, lately; 0 without a session.",
    "group",
    "peer",
)
RESYNC_ROUNDS = _gauge(
    "drsync_resync_rounds",
    "How often the redo outgrew the journal and began anew; 0 without a session.",
    "group",
    "peer",
)
DIRTY_KNOWN = _gauge(
    "drsync_dirty_known",
    "1 if it is known what the peer may lack that the journal no longer holds, else 0.",
    "group",
    "peer",
)
DIRTY_BYTES = _gauge(
    "drsync_dirty_bytes", "Blocks marked for the peer, in bytes; absent while unknown.", "group", "peer"
)
PACE_RATE = _gauge(
    "drsync_pacing_bytes_per_second", "Bytes answered per second at most; 0: no bound.", "group"
)
PACED = _counter("drsync_paced_answers_total", "Answers held back for a peer's sake.", "group")
PACED_SECONDS = _counter("drsync_paced_seconds_total", "Time they were held back.", "group")

WRITES = _counter("drsync_volume_writes_total", "Write requests.", "group")
WRITE_BYTES = _counter("drsync_volume_written_bytes_total", "Bytes written.", "group")
READS = _counter("drsync_volume_reads_total", "Reads of stored data; a hole that is told is none.", "group")
READ_BYTES = _counter("drsync_volume_read_bytes_total", "Bytes read.", "group")
FLUSHES = _counter("drsync_volume_flushes_total", "Flush requests.", "group")
BATCHES = _counter("drsync_batches_total", "Batches appended; writes that come together share one.", "group")
LOG_BYTES = _counter("drsync_batch_bytes_total", "Bytes of batches appended, tables included.", "group")
COMMIT_SECONDS = Metric(
    "drsync_commit_seconds",
    Kind.HISTOGRAM,
    "From the append of a batch until every center that it waits for has it.",
    ("group",),
)

# --- an agent: its links

LINK_UP = _gauge("drsync_link_up", "1 if the control link to that process is up, else 0.", "to")

FILES: Final = (
    *(FILES_GENERATION, FILES_KNOWN, FILES_ENTRIES, FILES_BYTES, FILES_PENDING, FILES_HELD, FILES_BEHIND),
    *(FILES_FORKS, FILES_SCAN, FILES_LOOKED, FILES_UNSEEN, FILES_LAG, FILES_SENT),
)
"""Only where groups have file sets."""

PROOFS: Final = (
    *(PROVED_AGE, POINTS_FAILING, PROOFS_LATE, SELF_DRILLS, SELF_DRILL_FAILURES, SELF_DRILL_SECONDS),
)
"""Only of an agent that proves points by itself."""

QUIET: Final = (QUIET_AGE, QUIET_LATE, QUIET_ATTEMPTS, QUIET_FAILURES, QUIET_FREEZE)
"""Only at an owner, of groups whose policy has hooks."""

AGENT: Final = (
    *(
        BUILD,
        STATE,
        ROLE,
        SERVING,
        GENERATION,
        ERA,
        TERM,
        IN_SYNC,
        COMMIT,
        POINTS,
        HOLDS,
        WRITES_WAIT,
        POINT_RATIO,
    ),
    *(JOURNAL_BYTES, JOURNAL_QUOTA, JOURNAL_HELD, JOURNAL_FIRST, JOURNAL_TIP, JOURNAL_DURABLE),
    *(APPLIED, BROKEN),
    *PROOFS,
    *QUIET,
    *(TARGET, LAG_RECORDS, LAG_BYTES, LAG_SECONDS, PEER_UP, RAW_BYTES, WIRE_BYTES, LEVEL, RATIO, LINE, STEP),
    *(PACE_RATE, PACED, PACED_SECONDS),
    *(RESYNC_RUNNING, RESYNC_DONE, RESYNC_WIRE, RESYNC_LEFT, RESYNC_RATE, RESYNC_ROUNDS),
    *(DIRTY_KNOWN, DIRTY_BYTES),
    *(WRITES, WRITE_BYTES, READS, READ_BYTES, FLUSHES, BATCHES, LOG_BYTES, COMMIT_SECONDS, LINK_UP),
    *FILES,
)

# --- the coordinator

READY = _gauge("drsync_group_ready", "1 if nothing keeps the group from being as it should be.", "group")
RESYNCABLE = _gauge(
    "drsync_group_resyncable",
    "1 for how these two could be made level without the others: stream, dirty, digest or impossible.",
    "group",
    "center",
    "other",
    "how",
)
ELSEWHERE = _gauge(
    "drsync_group_owned_by", "1 for the center that owns the group by its charter.", "group", "center"
)
RPO_ACTUAL = _gauge(
    "drsync_rpo_actual_seconds",
    "What would be lost if only that center were left; absent if unknown.",
    "group",
    "center",
)
RPO_PROVED = _gauge(
    "drsync_rpo_proved_seconds",
    "Age of the newest heartbeat found in the recoverable copy; absent if unknown.",
    "group",
    "center",
)
RTO_TARGET = _gauge("drsync_rto_target_seconds", "The RTO target of the group.", "group")
RTO_PREDICTED = _gauge(
    "drsync_rto_predicted_seconds", "What a recovery would take; absent if unknown.", "group"
)
AVAILABILITY_TARGET = _gauge("drsync_availability_target_ratio", "The availability promised.", "group")
BUDGET = _gauge("drsync_error_budget_seconds", "Downtime that 30 days may have.", "group")
BUDGET_LEFT = _gauge("drsync_error_budget_left_seconds", "What is left of it; below 0 if overdrawn.", "group")
FILES_HELD_AT = _gauge(
    "drsync_fileset_held_at",
    "1 if the tree stands still at that center until somebody helps, else 0.",
    "group",
    "fileset",
    "center",
)
FILES_RPO = _gauge(
    "drsync_fileset_rpo_seconds",
    "Age that the tree at that center is shown not to exceed; absent if unknown.",
    "group",
    "fileset",
    "center",
)
AGENT_UP = _gauge("drsync_agent_connected", "1 if the agent of that center is connected.", "center")
RUNNING = _gauge("drsync_operations_running", "Operations under way, by kind.", "kind")
DRILL_PASSED = _gauge("drsync_last_drill_passed", "1 if the last drill passed, else 0.", "group")
DRILL_AT = _gauge("drsync_last_drill_timestamp_seconds", "When the last drill ended, Unix time.", "group")
DRILL_RTO = _gauge("drsync_last_drill_rto_seconds", "What it took.", "group")

COORDINATOR: Final = (
    *(BUILD, READY, RESYNCABLE, ELSEWHERE, TARGET, RPO_ACTUAL, RPO_PROVED, FILES_HELD_AT, FILES_RPO),
    *(RTO_TARGET, RTO_PREDICTED),
    *(AVAILABILITY_TARGET, BUDGET, BUDGET_LEFT, AGENT_UP, RUNNING, DRILL_PASSED, DRILL_AT, DRILL_RTO),
)
