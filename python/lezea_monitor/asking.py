"""Questions to the agent outside of any session: one connection, one question at a time.

Emits replies; owns the connection. For whoever has the time to wait: delivery, and
the end of a run whose agent went away.
"""

import socket
import time
from typing import Any, Dict, Optional, Sequence, Tuple

from . import wire
from .session import Address, Waiting
from .wire import AgentError, Channel, Unavailable

AGAIN_SECONDS = 0.05  # between looks for an agent that is being started again


class Asker:
    """Connects when it is made; raises Unavailable where there is no agent."""

    def __init__(self, address: Address, deadline: float) -> None:
        self._waiting = Waiting()
        connection = wire.connect(address.path, socket.SOCK_STREAM, address.own_folder, deadline)
        self._channel = Channel(connection, self._waiting.resolve)

    def ask(self, method: str, params: Dict[str, Any], deadline: float) -> Dict[str, Any]:
        """The reply. Raises AgentError when refused, Unavailable without one in time."""
        number, pending = self._waiting.expect()
        line = wire.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        if line is None:
            raise AgentError({"message": "%s is too large" % method})
        try:
            self._channel.send(line)
            while not pending.done.is_set():
                self._channel.wait(deadline)
        finally:
            self._waiting.forget(number)
        if pending.error is not None:
            raise pending.error
        return pending.result

    def close(self) -> None:
        self._channel.close()


def ask_next(
    address: Address, questions: Sequence[Tuple[str, Dict[str, Any]]], deadline: float
) -> Dict[str, Any]:
    """The last reply of an agent that is being started again; refusals before it are passed over.

    Raises AgentError when the last question is refused, Unavailable without a reply in time.
    """
    while True:
        try:
            return _ask_all(Asker(address, deadline), questions, deadline)
        except Unavailable:
            if time.monotonic() + AGAIN_SECONDS > deadline:
                raise
            time.sleep(AGAIN_SECONDS)


def _ask_all(
    asker: Asker, questions: Sequence[Tuple[str, Dict[str, Any]]], deadline: float
) -> Dict[str, Any]:
    try:
        for method, params in questions[:-1]:
            try:
                asker.ask(method, params, deadline)
            except AgentError:
                pass
        return asker.ask(questions[-1][0], questions[-1][1], deadline)
    finally:
        asker.close()


def find(named: Optional[str], deadline: float) -> "tuple[Asker, Address]":
    """The agent that `start_run` would find. Raises Unavailable: every place that was tried."""
    problems = []
    for path, own_folder in wire.candidates(named):
        address = Address(path, own_folder)
        try:
            return Asker(address, deadline), address
        except Unavailable as error:
            problems.append(str(error))
    raise Unavailable("; ".join(problems))
