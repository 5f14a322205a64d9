"""The server that is kept here, driven by the unchanged client: each toxic works on real sockets."""

import contextlib
import os
import select
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists  # type: ignore[import-untyped]  # no types

from tests.chaos import rig
from tests.chaos.rig import Client, ClientProxy

pytestmark = [pytest.mark.integration]

SOON_S = 10.0  # because whatever must happen happens within this, also on a busy machine
QUIET_S = 0.3  # because what must not happen would have happened within this on an idle machine


class Echo:
    """A server that sends back what it gets; counts what it got."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.received = 0
        self.ends: list[str] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    self.received += len(data)
                    connection.sendall(data)
                self.ends.append("end")
            except ConnectionResetError:
                self.ends.append("reset")
            except OSError:
                self.ends.append("error")

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(SOON_S)
        for thread in self._threads:
            thread.join(SOON_S)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with rig.server(seed=1) as url:
        yield rig.client_of(url)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(client: Client, echo: Echo) -> Iterator[ClientProxy]:
    made = client.create(upstream=echo.address, name="echo")
    yield made
    made.destroy()


def dial(proxy: ClientProxy) -> socket.socket:
    host, port = proxy.listen.rsplit(":", 1)
    made = socket.create_connection((host, int(port)), timeout=SOON_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def talk(wire: socket.socket, data: bytes) -> bytes:
    """Send, and receive as much."""
    wire.sendall(data)
    return receive(wire, len(data))


def receive(wire: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length and (piece := wire.recv(length - len(got))):
        got += piece
    return got


def is_quiet(wire: socket.socket) -> bool:
    return not select.select([wire], [], [], QUIET_S)[0]


def test_bytes_pass_unchanged_both_ways(proxy: ClientProxy) -> None:
    data = os.urandom(3 << 20)
    with dial(proxy) as wire:
        sender = threading.Thread(target=wire.sendall, args=(data,))
        sender.start()
        assert receive(wire, len(data)) == data
        sender.join()
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1) == b""


def test_proxies_are_made_shown_changed_and_destroyed(client: Client, echo: Echo, proxy: ClientProxy) -> None:
    assert set(client.proxies()) >= {"echo"}
    found = client.get_proxy("echo")
    assert found is not None
    assert (found.listen, found.enabled) == (proxy.listen, True)
    with pytest.raises(ProxyExists):
        client.create(upstream=echo.address, name="echo")
    second = client.create(upstream=echo.address, name="second", enabled=False)
    assert not second.enabled
    second.enable()
    found = client.get_proxy("second")
    assert found is not None
    with dial(found) as wire:
        assert talk(wire, b"hello") == b"hello"
    second.destroy()
    assert client.get_proxy("second") is None
    with pytest.raises(NotFound):
        second.destroy()
    assert b"2." in (client.version() or b"")
    again = client.populate([{"name": "third", "upstream": echo.address, "listen": "127.0.0.1:0"}])
    with dial(again[0]) as wire:
        assert talk(wire, b"hello") == b"hello"
    again[0].destroy()


def test_what_does_not_exist_is_refused(proxy: ClientProxy) -> None:
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="gremlin")
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="latency", stream="sideways")
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="latency", attributes={"latency": "long"})
    with pytest.raises(NotFound):
        proxy.destroy_toxic("nothing")
    proxy.add_toxic(type="latency", name="late")
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="latency", name="late")
    assert set(proxy.toxics()) == {"late"}


def test_down_drops_connections_and_refuses_new_ones_until_it_is_up_again(
    client: Client, proxy: ClientProxy
) -> None:
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
        proxy.disable()
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.add_toxic(type="timeout", attributes={"timeout": 0})
    assert client.reset()
    assert proxy.toxics() == {}
    with dial(proxy) as wire:
        assert talk(wire, b"b") == b"b"


def test_latency_delays_and_goes_when_it_is_removed(proxy: ClientProxy) -> None:
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
        proxy.add_toxic(type="latency", name="late", attributes={"latency": 400, "jitter": 100})
        began = time.monotonic()
        assert talk(wire, b"b") == b"b"
        assert 0.29 < time.monotonic() - began < SOON_S
        proxy.destroy_toxic("late")
        best = min(timed(wire) for _ in range(5))
        assert best < 0.29


def timed(wire: socket.socket) -> float:
    began = time.monotonic()
    assert talk(wire, b"x") == b"x"
    return time.monotonic() - began


def test_latency_keeps_many_bytes_under_way_in_order(proxy: ClientProxy) -> None:
    proxy.add_toxic(type="latency", stream="upstream", attributes={"latency": 300, "jitter": 250})
    data = os.urandom(1 << 20)
    with dial(proxy) as wire:
        began = time.monotonic()
        sender = threading.Thread(target=wire.sendall, args=(data,))
        sender.start()
        assert receive(wire, len(data)) == data
        sender.join()
        assert time.monotonic() - began < SOON_S / 2, "each piece waited for the one before it"


def test_bandwidth_bounds_what_arrives(proxy: ClientProxy) -> None:
    proxy.add_toxic(type="bandwidth", stream="upstream", attributes={"rate": 200})  # KB/s
    data = os.urandom(200_000)
    with dial(proxy) as wire:
        began = time.monotonic()
        sender = threading.Thread(target=wire.sendall, args=(data,))
        sender.start()
        assert receive(wire, len(data)) == data
        sender.join()
        assert time.monotonic() - began > 0.6  # 1 s by the rate; the first piece leaves as a whole


def test_a_timeout_of_zero_is_a_half_open_line(proxy: ClientProxy, echo: Echo) -> None:
    with dial(proxy) as wire, dial(proxy) as other:
        assert talk(wire, b"a") == b"a"
        proxy.add_toxic(type="timeout", name="hole", stream="upstream", attributes={"timeout": 0})
        wire.sendall(b"lost")
        assert is_quiet(wire), "neither answered nor closed"
        assert echo.received == 1
        assert is_quiet(other)
        proxy.destroy_toxic("hole")
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(1) == b"", "who lost bytes is closed"
    with dial(proxy) as wire:
        assert talk(wire, b"b") == b"b"


def test_a_timeout_closes_after_its_time(proxy: ClientProxy, echo: Echo) -> None:
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
        proxy.add_toxic(type="timeout", stream="upstream", attributes={"timeout": 300})
        wire.sendall(b"lost")
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(1) == b""
        assert time.monotonic() - began < SOON_S
        assert echo.received == 1


def test_reset_peer_resets(proxy: ClientProxy) -> None:
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
        proxy.add_toxic(type="reset_peer", attributes={"timeout": 0})
        with pytest.raises(ConnectionResetError):
            assert wire.recv(1) == b"neither data nor an orderly end"


def test_limit_data_closes_after_exactly_so_many_bytes(proxy: ClientProxy, echo: Echo) -> None:
    proxy.add_toxic(type="limit_data", stream="upstream", attributes={"bytes": 1000})
    with dial(proxy) as wire:
        wire.sendall(bytes(5000))
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := wire.recv(4096):
                got += piece
        assert len(got) <= 1000
    deadline = time.monotonic() + SOON_S
    while not echo.ends and time.monotonic() < deadline:
        time.sleep(0.01)
    assert echo.received == 1000


def test_slow_close_holds_the_end_back(proxy: ClientProxy) -> None:
    proxy.add_toxic(type="slow_close", stream="upstream", attributes={"delay": 500})
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
        began = time.monotonic()
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1) == b""
        assert 0.4 < time.monotonic() - began < SOON_S


def test_a_slicer_changes_no_byte(proxy: ClientProxy) -> None:
    proxy.add_toxic(
        type="slicer", stream="upstream", attributes={"average_size": 100, "size_variation": 50, "delay": 10}
    )
    data = os.urandom(20_000)
    with dial(proxy) as wire:
        assert talk(wire, data) == data


def test_a_toxicity_of_zero_hits_nobody_and_of_a_half_some(proxy: ClientProxy) -> None:
    proxy.add_toxic(type="reset_peer", name="never", toxicity=0.0, attributes={"timeout": 0})
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
    proxy.destroy_toxic("never")
    proxy.add_toxic(type="limit_data", stream="upstream", toxicity=0.5, attributes={"bytes": 0})
    answered = 0
    for _ in range(24):
        with dial(proxy) as wire, contextlib.suppress(ConnectionError):
            answered += talk(wire, b"x") == b"x"
    assert 2 <= answered <= 22  # by chance outside once in 50,000 seeds, and the seed is fixed


def test_a_toxic_can_be_changed_while_it_works(client: Client, proxy: ClientProxy) -> None:
    proxy.add_toxic(type="timeout", name="hole", stream="upstream", attributes={"timeout": 0})
    if os.environ.get(rig.URL_VARIABLE):
        pytest.skip("asks the server kept here by its own address")
    from toxiproxy.api import APIConsumer  # type: ignore[import-untyped]  # noqa: PLC0415  # no types

    url = f"http://{APIConsumer.host}:{APIConsumer.port}/proxies/echo/toxics/hole"
    request = urllib.request.Request(url, data=b'{"toxicity": 0.0}', method="POST")
    with urllib.request.urlopen(request, timeout=SOON_S) as answer:
        assert answer.status == 200
    with dial(proxy) as wire:
        assert talk(wire, b"a") == b"a"
