"""Makes connections: a name becomes addresses, the addresses are checked, one of them is connected to, TLS is set up.

The check (`EgressPolicy.check`) stands between every lookup and every connection, and is repeated on the address the
socket says it is connected to; nothing here is ever given a name to connect to.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Sequence
from functools import lru_cache

from orderwire.delivery.connection import Connection
from orderwire.delivery.egress import EgressPolicy
from orderwire.delivery.exchange import SendError
from orderwire.delivery.flight import Flight, SendFailure, Stage
from orderwire.delivery.pool import Pool
from orderwire.delivery.resolver import Resolver
from orderwire.delivery.route import Origin
from orderwire.delivery.tls import Contexts, handshake_failure
from orderwire.delivery.tunnel import Proxy, Tunnel

CHECKED_ADDRESSES_MAX = 10_000


class Connector:
    """Connects to origins as the policy allows, by way of its proxy where it names one."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, policy: EgressPolicy, resolver: Resolver, contexts: Contexts, pool: Pool
    ) -> None:
        """Raises ValueError for a proxy's URL that cannot be used."""
        self._loop = loop
        self._refusal = lru_cache(CHECKED_ADDRESSES_MAX)(policy.check)  # pure, and asked twice for each connection
        self._resolver = resolver
        self._contexts = contexts
        self._pool = pool
        self._proxy = None if policy.proxy_url is None else Proxy(policy.proxy_url)

    async def connect(self, flight: Flight) -> Connection:
        """A new connection to the flight's origin. Raises SendFailure; may be cancelled, and leaves nothing open."""
        origin = flight.route.origin
        flight.stage = Stage.RESOLVING
        context = await self._contexts.of(origin.identity) if origin.secure else None
        addresses, refusal = await self._checked_addresses(origin)
        if self._proxy is not None:
            return await self._connect_through(self._proxy, addresses[0], context, flight)
        flight.stage = Stage.CONNECTING
        try:
            sock, address = await self._dial(addresses, origin.port, flight.deadline_s)
        except SendFailure as failure:
            if refusal:
                raise SendFailure(failure.error, f"{failure.detail} (and not tried: {refusal})") from failure
            raise
        return await self._greet(sock, Connection(origin, self._pool, address), context, flight)

    async def _checked_addresses(self, origin: Origin) -> tuple[list[str], str]:
        """The addresses that may be connected to, at least one, and why the first of the others may not."""
        lookup = await self._resolver.find(origin.host)
        if lookup.error:
            raise SendFailure(SendError.DNS_FAILED, lookup.error)
        refusals = {address: self._refusal(address) for address in lookup.addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        refused = next((refusal for refusal in refusals.values() if refusal is not None), "")
        if not allowed:
            raise SendFailure(SendError.BLOCKED_ADDRESS, refused or f"{origin.host} has no address")
        return allowed, refused

    async def _dial(self, addresses: Sequence[str], port: int, deadline_s: float) -> tuple[socket.socket, str]:
        """A TCP connection to the first address that takes one; each but the last has an even share of the time."""
        failure: SendFailure | None = None
        for number, address in enumerate(addresses, 1):
            others = len(addresses) - number
            try:
                if not others:
                    return await self._dial_one(address, port), address
                async with asyncio.timeout((deadline_s - time.monotonic()) / (others + 1)):
                    return await self._dial_one(address, port), address
            except OSError as error:  # TimeoutError is one
                why = os.strerror(error.errno).lower() if error.errno else "no answer in time"
                detail = f"could not connect to {address} port {port}: {why}"
                failure = failure or SendFailure(SendError.CONNECT_FAILED, detail)
        raise failure or SendFailure(SendError.CONNECT_FAILED, "there is no address to connect to")

    async def _dial_one(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _greet(
        self, sock: socket.socket, connection: Connection, context: ssl.SSLContext | None, flight: Flight
    ) -> Connection:
        """Put the connection on a connected socket, after one more look at where it is connected to."""
        try:
            refusal = self._refusal(sock.getpeername()[0])
            if refusal is not None:
                raise SendFailure(SendError.BLOCKED_ADDRESS, refusal)
            if context is None:
                await self._loop.create_connection(lambda: connection, sock=sock)
                return connection
            flight.stage = Stage.HANDSHAKE
            await self._loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=context,
                server_hostname=connection.origin.server_name,
                ssl_handshake_timeout=_beyond(flight),
            )
        except BaseException as error:
            self._undo(sock, connection)
            if isinstance(error, OSError):
                raise _greeting_failure(error, secure=context is not None) from error
            raise
        return connection

    def _undo(self, sock: socket.socket, connection: Connection) -> None:
        if connection in self._pool.opened:
            connection.close()
        sock.close()

    async def _connect_through(
        self, proxy: Proxy, address: str, context: ssl.SSLContext | None, flight: Flight
    ) -> Connection:
        """Have the proxy connect to `address`. The proxy itself is the operator's own: it is not checked."""
        flight.stage = Stage.TUNNELLING
        lookup = await self._resolver.find(proxy.host)
        if lookup.error:
            raise SendFailure(SendError.CONNECT_FAILED, f"the egress proxy was not found: {lookup.error}")
        try:
            sock, _ = await self._dial(lookup.addresses, proxy.port, flight.deadline_s)
        except SendFailure as failure:
            raise SendFailure(failure.error, f"the egress proxy does not answer: {failure.detail}") from failure
        connection, tunnel = Connection(flight.route.origin, self._pool, address), Tunnel(self._loop)
        try:
            await self._reach_proxy(proxy, sock, tunnel)
            transport = await tunnel.open(proxy.request(address, connection.origin.port))
            await self._take_over(transport, connection, context, flight)
        except BaseException:
            tunnel.close()
            self._undo(sock, connection)
            raise
        return connection

    async def _reach_proxy(self, proxy: Proxy, sock: socket.socket, tunnel: Tunnel) -> None:
        context = await self._contexts.of(None) if proxy.secure else None
        name = proxy.host if proxy.secure else None
        try:
            await self._loop.create_connection(lambda: tunnel, sock=sock, ssl=context, server_hostname=name)
        except OSError as error:
            detail = f"the egress proxy: {handshake_failure(error).detail}"
            raise SendFailure(SendError.CONNECT_FAILED, detail) from error

    async def _take_over(
        self,
        transport: asyncio.Transport,
        connection: Connection,
        context: ssl.SSLContext | None,
        flight: Flight,
    ) -> None:
        """From here on the transport is the connection's, with TLS inside the tunnel where it is asked for."""
        if context is None:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return
        flight.stage = Stage.HANDSHAKE
        try:
            inner = await self._loop.start_tls(
                transport,
                connection,
                context,
                server_hostname=connection.origin.server_name,
                ssl_handshake_timeout=_beyond(flight),
            )
        except OSError as error:
            raise handshake_failure(error) from error
        if inner is None:  # asyncio says so where the transport was closed meanwhile
            raise SendFailure(SendError.TLS_FAILED, "the receiver closed the connection during the TLS handshake")
        connection.connection_made(inner)


def _beyond(flight: Flight) -> float:
    """Seconds until after the flight's deadline, so that the deadline is what ends it."""
    return max(flight.deadline_s - time.monotonic(), 0.0) + 1.0


def _greeting_failure(error: OSError, *, secure: bool) -> SendFailure:
    if secure:
        return handshake_failure(error)
    return SendFailure(SendError.CONNECT_FAILED, f"the receiver closed the connection at once: {error}")
