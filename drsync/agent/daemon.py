"""The agent as a daemon: the composition root of one center's process. Wiring only; see `agent.Agent`."""

import asyncio

from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.ssh import PeerKeys, SshTransport
from drsync.adapters.system.allocator import keep_freed_memory
from drsync.adapters.system.attention import Attention
from drsync.adapters.system.clock import SystemClock, SystemRandom, boot_id
from drsync.adapters.system.notify import Notifier, keep_telling
from drsync.agent import file_metrics, metrics, self_drill_metrics, service
from drsync.agent.agent import Agent, Outside
from drsync.agent.copies import DiskCopies
from drsync.agent.file_store import FileStores
from drsync.agent.front_end import NbdFrontEnd
from drsync.agent.hook_exports import HookExports
from drsync.agent.hooks import HookDesk
from drsync.agent.lines import LogLines
from drsync.agent.proof_book import ProofBook
from drsync.agent.quiet_desk import QuietDesk
from drsync.agent.quiet_moment import Quarters
from drsync.agent.self_drill_bench import Bench
from drsync.agent.self_drills import Kit
from drsync.agent.start_token import StartToken
from drsync.config.options import AgentOptions
from drsync.engine.file_sets import FileSets
from drsync.engine.member import Member
from drsync.engine.peers import Peers
from drsync.model.errors import TransientError
from drsync.ports.attention import Heard


class Daemon:
    """One agent with what only a real process has: SSH, NBD, hooks, figures, a service manager."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        name = options.center.name
        attention = Attention(options.busy_poll_s)
        clock = SystemClock()
        self._lines = LogLines(name)
        self._manager = Notifier()
        inventory = Inventory(options.state_dir / "inventory", str(options.state_dir))
        bench = Bench(options.hooks, inventory, options.run_dir / "hooks")
        self._agent = agent = Agent(
            Outside(
                center=name,
                cluster=options.cluster_id,
                peers=tuple(peer.name for peer in options.peers),
                boot_id=boot_id(),
                transport=_transport(options, attention.ear()),
                clock=clock,
                dice=SystemRandom(),
                copies=DiskCopies(options.state_dir, options.cluster_id, name),
                token=StartToken(options.state_dir),
                front=NbdFrontEnd(options.run_dir, attention.ear()),
                make_trees=self._make_trees,
                lines=self._lines,
                about={"address": str(options.ssh.listen), "state_dir": str(options.state_dir)},
                self_drill=Kit(lambda group_id: ProofBook(options.state_dir / "groups" / group_id), bench),
            )
        )
        quarters = Quarters(
            options.hooks,
            options.run_dir / "hooks",
            options.state_dir / "quiet",
            (options.state_dir, options.run_dir),
            boot_id(),
        )
        self._quiet = QuietDesk(agent, quarters, clock, SystemRandom(), agent.spawn)
        agent.offer(self._quiet.for_coordinator())
        agent.about_quiet = self._quiet.about
        self._metrics = metrics.server(
            name,
            agent,
            agent.peers,
            agent.headquarters,
            lambda: file_metrics.about_trees(agent.members()),
            lambda: self_drill_metrics.about_proofs(agent.drills, agent.members(), clock),
            self._quiet.readings,
        )
        self._hooks = HookDesk(
            options.hooks,
            inventory,
            options.run_dir / "hooks",
            HookExports(agent.member, agent.sockets, clock, agent.session),
            agent.spawn,
            agent.log,
        )
        agent.offer(self._hooks.for_coordinator())

    def _make_trees(self, member: Member, peers: Peers) -> FileSets:
        spec, options = member.copy.spec, self._options
        home = options.state_dir / "groups" / spec.id
        places = FileStores(options.center.name, home, spec, options.file_roots)
        return FileSets(member, places, peers, SystemClock(), SystemRandom())

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then close every copy cleanly."""
        await self._quiet.sweep()  # first: journals may take minutes to open, and somebody may wait
        await self._agent.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._agent.start(tasks)
                if address := await metrics.listen(self._metrics, self._options.metrics):
                    self._lines.say("listening", f"metrics at {address}")
                tasks.create_task(self._hooks.sweep())
                tasks.create_task(self._quiet.run())
                tasks.create_task(self._tell_manager())
                tasks.create_task(_end_with(stop))
        except* _StoppedError:
            self._lines.say("stopping", "asked to")
        finally:
            self._manager.stopping()
            await self._hooks.sweep()
            await self._metrics.close()
            await self._agent.close()

    async def _tell_manager(self) -> None:
        """Copies are open and peers are heard: we are ready, whether the coordinator is there or not."""
        self._manager.ready()
        agent = self._agent
        await keep_telling(
            self._manager,
            lambda: service.rounds(agent.headquarters, agent.members()),
            lambda: service.sentence(agent.headquarters, agent.members(), len(agent.broken())),
            self._lines.stalled,
        )


def _transport(options: AgentOptions, heard: Heard) -> SshTransport:
    return SshTransport(
        me=options.center.name,
        host_key=options.ssh.host_key,
        client_key=options.ssh.client_key,
        listen=(options.ssh.listen.host, options.ssh.listen.port),
        peers={
            peer.name: PeerKeys((peer.address.host, peer.address.port), peer.host_key, peer.client_key)
            for peer in (*options.peers, options.coordinator)
        },
        heard=heard,
    )


class _StoppedError(Exception):
    """Ends the task group on a clean stop."""


async def _end_with(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StoppedError


def _make_directories(options: AgentOptions) -> None:
    for directory in (options.state_dir, options.run_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError(f"cannot use {directory}: {error.strerror}") from error


async def run(options: AgentOptions, stop: asyncio.Event) -> None:
    """Run an agent until `stop` is set.

    Raises:
        TransientError: an address or a directory cannot be used now.
    """
    keep_freed_memory()
    _make_directories(options)
    for left in options.run_dir.glob("nbd/self-*.sock"):  # of a self-drill that a crash ended
        left.unlink(missing_ok=True)
    await Daemon(options).run(stop)
