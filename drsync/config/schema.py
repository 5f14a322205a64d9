"""The shape of the files, section by section, and how each becomes options.

What a field means is said in `options`.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drsync.config import options
from drsync.config.fields import (
    AgentRunDir,
    Availability,
    ClusterId,
    Conninfo,
    CoordinatorRunDir,
    Duration,
    FilePath,
    HookName,
    ListenAddress,
    LoopbackAddress,
    MountPoint,
    Name,
    PeerAddress,
    PrivateKey,
    PublicKey,
    Quota,
    Rate,
    Share,
    TreeRoot,
    VolumeSize,
    between,
)
from drsync.config.problems import MistakeError
from drsync.model.consistency import (
    FREEZE_S_MAX,
    HOOKS_S_MAX,
    STEPS_MAX,
    Consistency,
    OnFailure,
    QuietStep,
    StepKind,
)
from drsync.model.group import (
    Durability,
    Failover,
    GroupPolicy,
    Mode,
    Objectives,
    OnBreach,
    Priority,
    WhenFull,
)
from drsync.model.self_drill import MAX_TIME_S, Check, SelfDrill
from drsync.model.topology import Center, Designation

MEMBERS_MAX = 3  # because the plan is two sites and three centers
HOOKS_MAX = 64  # because every entry is read by a person who decides what may run as root
ARGV_MAX = 64  # because what takes more words is a program of its own
VOLUMES_MAX = 256  # because every checkpoint names the state of each
FILESETS_MAX = 16  # because each has an index and a watcher of its own in every agent

Argv = Annotated[list[str], Field(min_length=1, max_length=ARGV_MAX)]

_POLICY = GroupPolicy()
_OBJECTIVES = Objectives()


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cluster(Section):
    """``[cluster]``: which cluster this process belongs to."""

    id: ClusterId


class Log(Section):
    """``[log]``."""

    level: options.LogLevel = options.LogLevel.INFO
    format: options.LogFormat = options.LogFormat.AUTO

    def build(self) -> options.LogOptions:
        """As options."""
        return options.LogOptions(self.level, self.format)


class Ssh(Section):
    """``[ssh]``: our side of the links."""

    listen: ListenAddress
    host_key: PrivateKey
    client_key: PrivateKey

    def build(self) -> options.SshOptions:
        """As options."""
        return options.SshOptions(self.listen, self.host_key, self.client_key)


class CenterSection(Section):
    """``[center]``: what this agent speaks for."""

    name: Name
    designation: Designation
    site: Name

    def build(self) -> Center:
        """As a word of the model."""
        return Center(self.name, self.designation, self.site)


class Dialed(Section):
    """``[coordinator]`` of an agent."""

    address: PeerAddress
    host_key: PublicKey
    client_key: PublicKey = ""

    def build(self, name: str) -> options.PeerOptions:
        """As options."""
        return options.PeerOptions(name, self.address, self.host_key, self.client_key)


class Peer(Section):
    """``[peers.NAME]`` of an agent: dialed by us, and dialing us."""

    address: PeerAddress
    host_key: PublicKey
    client_key: PublicKey

    def build(self, name: str) -> options.PeerOptions:
        """As options."""
        return options.PeerOptions(name, self.address, self.host_key, self.client_key)


class Files(Section):
    """``[files]`` of an agent: where the trees of file sets may lie, beside its own state directory."""

    allow: list[TreeRoot] = Field(default_factory=list)


class HooksSection(Section):
    """``[hooks]`` of an agent: what runbooks and application-consistent checkpoints may do on its machine."""

    allow: Annotated[list[FilePath], Field(max_length=HOOKS_MAX)] = []
    mounts: bool = False
    freeze: Annotated[list[MountPoint], Field(max_length=HOOKS_MAX)] = []
    postgresql: Annotated[dict[HookName, Conninfo], Field(max_length=HOOKS_MAX)] = {}
    programs: Annotated[dict[HookName, Argv], Field(max_length=HOOKS_MAX)] = {}

    def build(self) -> options.HookOptions:
        """As options."""
        return options.HookOptions(
            tuple(self.allow),
            self.mounts,
            freeze=tuple(self.freeze),
            postgresql=tuple(sorted(self.postgresql.items())),
            programs=tuple((name, tuple(argv)) for name, argv in sorted(self.programs.items())),
        )


class Metrics(Section):
    """``[metrics]``: where figures are served for Prometheus; nowhere unless it is said."""

    listen: ListenAddress


class AgentFile(Section):
    """The file of `drsync agent run`."""

    state_dir: FilePath
    run_dir: AgentRunDir
    cluster: Cluster
    center: CenterSection
    ssh: Ssh
    coordinator: Dialed
    peers: dict[Name, Peer] = Field(default_factory=dict)
    files: Files = Files()
    busy_poll_us: Annotated[int, Field(ge=0, le=options.BUSY_POLL_US_MAX)] = round(options.BUSY_POLL_S * 1e6)
    log: Log = Log()
    hooks: HooksSection = HooksSection()
    metrics: Metrics | None = None

    def build(self) -> options.AgentOptions:
        """As options."""
        return options.AgentOptions(
            cluster_id=self.cluster.id,
            center=self.center.build(),
            state_dir=self.state_dir,
            run_dir=self.run_dir,
            ssh=self.ssh.build(),
            coordinator=self.coordinator.build("coordinator"),
            peers=tuple(peer.build(name) for name, peer in self.peers.items()),
            log=self.log.build(),
            file_roots=tuple(self.files.allow),
            busy_poll_s=self.busy_poll_us / 1e6,
            hooks=self.hooks.build(),
            metrics=self.metrics.listen if self.metrics else None,
        )


class Http(Section):
    """``[http]``: an address beside the unix socket."""

    listen: LoopbackAddress
    token_file: FilePath

    def build(self) -> options.HttpOptions:
        """As options."""
        return options.HttpOptions(self.listen, self.token_file)


class AgentEntry(Section):
    """``[agents.NAME]`` of a coordinator."""

    designation: Designation
    site: Name
    client_key: PublicKey
    host_key: PublicKey = ""

    def build(self, name: str) -> options.KnownAgent:
        """As options."""
        return options.KnownAgent(Center(name, self.designation, self.site), self.client_key, self.host_key)


class CoordinatorFile(Section):
    """The file of `drsync coordinator run`."""

    state_dir: FilePath
    run_dir: CoordinatorRunDir
    cluster: Cluster
    ssh: Ssh
    agents: Annotated[dict[Name, AgentEntry], Field(min_length=1)]
    http: Http | None = None
    log: Log = Log()
    metrics: Metrics | None = None

    def build(self) -> options.CoordinatorOptions:
        """As options."""
        return options.CoordinatorOptions(
            cluster_id=self.cluster.id,
            state_dir=self.state_dir,
            run_dir=self.run_dir,
            ssh=self.ssh.build(),
            agents=tuple(entry.build(name) for name, entry in self.agents.items()),
            http=self.http.build() if self.http else None,
            log=self.log.build(),
            metrics=self.metrics.listen if self.metrics else None,
        )


class Volume(Section):
    """``[[volumes]]`` of a group."""

    name: Name
    size: VolumeSize


class FileSet(Section):
    """``[[filesets]]`` of a group: a name, and where its tree lives; a center without a root chooses."""

    name: Name
    roots: dict[Name, TreeRoot] = Field(default_factory=dict)

    def build(self) -> options.FileSetRequest:
        """As options."""
        return options.FileSetRequest(self.name, tuple(sorted(self.roots.items())))


class ObjectivesSection(Section):
    """``[objectives]`` of a group."""

    rpo: Annotated[Duration, between(0, 86400, "between 0 and a day")] = _OBJECTIVES.rpo_s
    rto: Annotated[Duration, between(1, 86400, "between 1 s and a day")] = _OBJECTIVES.rto_s
    availability: Availability = _OBJECTIVES.availability

    def build(self) -> Objectives:
        """As a word of the model."""
        return Objectives(self.rpo, self.rto, self.availability)


class SelfDrillSection(Section):
    """``[policy.self_drill]`` of a group: what each center does with its own points."""

    check: Check = _POLICY.self_drill.check
    every: Annotated[Duration, between(1, 30 * 86400, "between 1 s and 30 d")] = _POLICY.self_drill.every_s
    program: Annotated[list[str], Field(max_length=ARGV_MAX)] = Field(default_factory=list)
    share: Share = _POLICY.self_drill.share
    rate: Rate = _POLICY.self_drill.rate
    max_time: Annotated[Duration, between(1, MAX_TIME_S, "between 1 s and an hour")] = (
        _POLICY.self_drill.max_time_s
    )
    max_age: Annotated[Duration, between(0, 400 * 86400, "between 0 and 400 d")] = (
        _POLICY.self_drill.max_age_s
    )

    def build(self) -> SelfDrill:
        """As a word of the model."""
        return SelfDrill(
            check=self.check,
            every_s=self.every,
            program=tuple(self.program),
            share=self.share,
            rate=self.rate,
            max_time_s=self.max_time,
            max_age_s=self.max_age,
        )


_ONE_OF = 'is exactly one of { fsfreeze = "/mount" }, { postgresql = "name" }, { program = "name" }'


class QuietStepSection(Section):
    """One step of ``[policy.consistency]``: exactly one of its keys."""

    fsfreeze: MountPoint | None = None
    postgresql: HookName | None = None
    program: HookName | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise MistakeError(_ONE_OF)
        return self

    def build(self) -> QuietStep:
        """As a word of the model."""
        [kind] = self.model_fields_set
        return QuietStep(StepKind(kind), getattr(self, kind))


QuietSteps = Annotated[list[QuietStepSection], Field(max_length=STEPS_MAX)]


class ConsistencySection(Section):
    """``[policy.consistency]`` of a group: how its application is made quiet for a checkpoint."""

    before: QuietSteps = []
    after: QuietSteps = []
    every: Annotated[Duration, between(0, 30 * 86400, "between 0 and 30 d")] = _POLICY.consistency.every_s
    max_freeze: Annotated[Duration, between(0.05, FREEZE_S_MAX, "between 50 ms and 10 s")] = (
        _POLICY.consistency.max_freeze_s
    )
    timeout: Annotated[Duration, between(0.1, HOOKS_S_MAX, "between 100 ms and 2 m")] = (
        _POLICY.consistency.timeout_s
    )
    on_failure: OnFailure = _POLICY.consistency.on_failure
    max_age: Annotated[Duration, between(0, 400 * 86400, "between 0 and 400 d")] = (
        _POLICY.consistency.max_age_s
    )

    def build(self) -> Consistency:
        """As a word of the model."""
        return Consistency(
            before=tuple(step.build() for step in self.before),
            after=tuple(step.build() for step in self.after),
            every_s=self.every,
            max_freeze_s=self.max_freeze,
            timeout_s=self.timeout,
            on_failure=self.on_failure,
            max_age_s=self.max_age,
        )


class PolicySection(Section):
    """``[policy]`` of a group."""

    mode: Mode = _POLICY.mode
    durability: Durability = _POLICY.durability
    sync_timeout: Annotated[Duration, between(0.1, 60, "between 100 ms and 60 s")] = _POLICY.sync_timeout_s
    freeze_timeout: Annotated[Duration, between(0, 3600, "between 0 and an hour")] = _POLICY.freeze_timeout_s
    lease: Annotated[Duration, between(2, 300, "between 2 s and 5 m")] = _POLICY.lease_s
    checkpoint: Annotated[Duration, between(0.5, 3600, "between 500 ms and an hour")] = _POLICY.checkpoint_s
    window: Annotated[Duration, between(0, 30 * 86400, "between 0 and 30 d")] = _POLICY.window_s
    window_floor: Annotated[Duration, between(0, 30 * 86400, "between 0 and 30 d")] = _POLICY.window_floor_s
    quota: Quota = _POLICY.journal_quota_bytes
    soft_quota: Quota | None = None
    when_full: WhenFull = _POLICY.when_full
    on_breach: OnBreach = _POLICY.on_breach
    priority: Priority = _POLICY.priority
    switchover_freeze: Annotated[Duration, between(0.1, 300, "between 100 ms and 5 m")] = (
        _POLICY.switchover_freeze_s
    )
    drill_max_age: Annotated[Duration, between(0, 400 * 86400, "between 0 and 400 d")] = (
        _POLICY.drill_max_age_s
    )
    compress: bool = _POLICY.compress
    max_pace: Annotated[Duration, between(0, 1, "between 0 and 1 s")] = _POLICY.max_pace_s
    failover: Failover = _POLICY.failover
    detect: Annotated[Duration, between(1, 300, "between 1 s and 5 m")] = _POLICY.detect_s
    anti_flap: Annotated[Duration, between(3, 30 * 86400, "between 3 s and 30 d")] = _POLICY.anti_flap_s
    slow_commit: Annotated[Duration, between(0, 60, "between 0 and 60 s")] = _POLICY.slow_commit_s
    self_drill: SelfDrillSection = SelfDrillSection()
    consistency: ConsistencySection = ConsistencySection()

    def build(self) -> GroupPolicy:
        """As a word of the model."""
        return GroupPolicy(
            mode=self.mode,
            durability=self.durability,
            sync_timeout_s=self.sync_timeout,
            freeze_timeout_s=self.freeze_timeout,
            lease_s=self.lease,
            checkpoint_s=self.checkpoint,
            window_s=self.window,
            window_floor_s=self.window_floor,
            journal_quota_bytes=self.quota,
            journal_soft_quota_bytes=self.soft_quota or 0,
            when_full=self.when_full,
            on_breach=self.on_breach,
            priority=self.priority,
            switchover_freeze_s=self.switchover_freeze,
            drill_max_age_s=self.drill_max_age,
            compress=self.compress,
            max_pace_s=self.max_pace,
            failover=self.failover,
            detect_s=self.detect,
            anti_flap_s=self.anti_flap,
            slow_commit_s=self.slow_commit,
            self_drill=self.self_drill.build(),
            consistency=self.consistency.build(),
        )


class GroupFile(Section):
    """The file of `drsync group apply`."""

    name: Name
    preferred_owner: Name
    members: Annotated[list[Name], Field(min_length=1, max_length=MEMBERS_MAX)]
    volumes: Annotated[list[Volume], Field(max_length=VOLUMES_MAX)] = Field(default_factory=list)
    filesets: Annotated[list[FileSet], Field(max_length=FILESETS_MAX)] = Field(default_factory=list)
    objectives: ObjectivesSection = ObjectivesSection()
    policy: PolicySection = PolicySection()

    def build(self) -> options.GroupRequest:
        """As options."""
        return options.GroupRequest(
            name=self.name,
            preferred_owner=self.preferred_owner,
            members=tuple(self.members),
            volumes=tuple(options.VolumeRequest(volume.name, volume.size) for volume in self.volumes),
            objectives=self.objectives.build(),
            policy=self.policy.build(),
            filesets=tuple(fileset.build() for fileset in self.filesets),
        )
