"""The command `python -m lezea_monitor.deliver`: brings to MLflow what waits at the agent for that.

Reads arguments, MLFLOW_* and the agent; progress and errors go to stderr, the result to stdout.
Exit status: 0 all is delivered, 1 something is not, 2 wrong usage, 3 no agent.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, Callable, List, NoReturn

from . import asking
from .client import RUN_ID
from .deliver import ASK_SECONDS, Delivery, deliver, waiting
from .tracker_address import clean_address
from .wire import AgentError, Unavailable

FINE, NOT_FINE, USAGE, NO_AGENT = 0, 1, 2, 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _say(message)
        sys.exit(USAGE)


def _say(text: str) -> None:
    print("lezea_monitor.deliver: " + " ".join(text.split()), file=sys.stderr)


def _progress() -> Callable[[str], None]:
    """Says how far it has come, once a second."""
    due = time.monotonic()

    def say(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + 1.0
            _say(text)

    return say


def _arguments(given: List[str]) -> Any:
    parser = _Parser(
        prog="python -m lezea_monitor.deliver",
        description="Brings a run's totals to MLflow where the agent may not: to a tracker on this "
        "account's disk, with this account's credentials, or into a store that only it can write.",
        epilog="Exit status: 0 all is delivered, 1 something is not, 2 wrong usage, 3 no agent.",
    )
    parser.add_argument("run", metavar="RUN", help="id of the run")
    parser.add_argument("--socket", metavar="PATH", help="socket of the agent")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    parsed = parser.parse_args(given)
    if not RUN_ID.match(parsed.run):
        parser.error("run id %r: expected 1 to 64 of A-Z a-z 0-9 . _ -" % parsed.run)
    return parsed


def main(given: List[str]) -> int:
    """Exit status."""
    arguments = _arguments(given)
    deadline = time.monotonic() + ASK_SECONDS
    try:
        agent = asking.find(arguments.socket, deadline)[0]
    except Unavailable as error:
        _say("no agent: %s" % error)
        return NO_AGENT
    try:
        found = waiting(agent, arguments.run, deadline)
        if not found:  # all is delivered, or is there no such run?
            agent.ask("run.get", {"run_id": arguments.run}, deadline)
        if any(delivery.for_us for delivery in found):
            _import_mlflow()
            deliver(agent, found, _own_address, None, _progress())
    except ImportError as error:
        _say("mlflow: %s; expected it installed for %s" % (error, sys.executable))
        return NOT_FINE
    except AgentError as error:
        _say("run %s: %s" % (arguments.run, error))
        return NOT_FINE
    except Unavailable as error:
        _say("the agent: %s" % error)
        return NO_AGENT
    finally:
        agent.close()
    return _report(arguments, found)


def _import_mlflow() -> None:
    import mlflow.entities
    import mlflow.tracking  # noqa: F401


def _own_address(address: str) -> str:
    """As MLFLOW_TRACKING_URI has it, where that is the same tracker: with user and password."""
    own = os.environ.get("MLFLOW_TRACKING_URI", "")
    same = own and clean_address(own).rstrip("/") == address.rstrip("/")
    return own if same else address


def _report(arguments: Any, found: List[Delivery]) -> int:
    fine = True
    for delivery in found:
        for refusal in delivery.refused:
            _say("refused for good: %s" % refusal)
        if delivery.for_us:
            _say("%d items wait: %s" % (delivery.for_us, delivery.error))
        if delivery.for_agent:
            known = (delivery.sink, delivery.for_agent, delivery.error or "it has not come to them")
            _say("%s: %d items wait for the agent: %s" % known)
        fine = fine and not (delivery.for_us or delivery.for_agent or delivery.refused)
    done = sum(delivery.delivered for delivery in found)
    if arguments.json:
        print(json.dumps({"run_id": arguments.run, "delivered": done, "complete": fine,
                          "deliveries": [delivery.result() for delivery in found]}))  # fmt: skip
    elif fine:
        what = "%d items delivered" % done if done else "nothing waits"
        print("run %s: %s" % (arguments.run, what))
    return FINE if fine else NOT_FINE
