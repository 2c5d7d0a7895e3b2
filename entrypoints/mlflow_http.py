"""uvicorn's HTTP protocol without Nagle's algorithm: for MLflow's `uvicorn --http mlflow_http:Protocol`.

uvicorn opens the socket of several workers without a protocol number, and asyncio then leaves out TCP_NODELAY. An
answer is sent as two pieces, headers and body, so the body waited for the client's delayed acknowledgement: 40 ms at
nearly each request of a connection that is kept open, as MLflow's client does.
"""

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Base = asyncio.Protocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Base


class Protocol(Base):
    """uvicorn's own, on a socket that sends at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See the base class."""
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
