"""A small training program: five nested scopes, some CPU in each, then the end of its run.

Reads its orders (JSON) from its argument; prints one JSON object a line: where it is, and at the
end what `run.end` answered. An agent that dies meanwhile is looked for again, and told anew.
"""

import json
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.rpc import Connection, Refused  # noqa: E402

PATIENCE_SECONDS = 90
PAUSE_SECONDS = 0.02
ANSWER_SECONDS = 30
SCOPES = (
    "builder:b0",
    "builder:b0/tasker:t0",
    "builder:b0/tasker:t0/network:policy",
    "builder:b0/tasker:t1",
    "builder:b1",
)


def say(**words) -> None:
    print(json.dumps(words), flush=True)


def burn(ms: float) -> None:
    until = time.process_time() + ms / 1000
    while time.process_time() < until:
        os.pwrite(SINK, b"x" * 4096, 0)


SINK = os.open(os.devnull, os.O_WRONLY)


class Trainer:
    def __init__(self, orders) -> None:
        self.orders = orders
        self.connection = None
        self.session = ""
        self.inside = []

    def insist(self, work):
        """Until it is done, over any number of agents."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return work()
            except OSError:
                self.hang_up()
                if time.monotonic() > until:
                    raise
            except Refused as refusal:
                if refusal.code in ("run_ended", "invalid_params") or time.monotonic() > until:
                    raise
                if refusal.code in ("unknown_run", "not_authorized"):
                    self.hang_up()
            time.sleep(PAUSE_SECONDS)

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection, self.session = None, ""

    def dial(self):
        if self.connection is None:
            self.connection = Connection(self.orders["socket"], ANSWER_SECONDS)
        return self.connection

    def bind(self) -> None:
        """Begins the run, or attaches to it, and goes back into the scopes."""
        connection = self.dial()
        if self.session:
            return
        run = {"run_id": self.orders["run_id"]}
        more = {"attempt": self.orders["attempt"], "tracker": self.orders["tracker"]}
        connection.ask("run.start", {**run, **more})
        opened = {**run, "t_ns": time.monotonic_ns()}
        self.session = connection.ask("session.open", opened)["session"]
        for path in self.inside:
            connection.ask("scope.enter", {"session": self.session, "path": path})

    def scoped(self, method: str, path: str) -> None:
        self.bind()
        where = {"path": path}
        self.dial().ask(method, {"session": self.session, "t_ns": time.monotonic_ns(), **where})

    def leave(self, path: str) -> None:
        """Asked twice where the first answer was lost."""
        try:
            self.scoped("scope.exit", path)
        except Refused as refusal:
            if refusal.code != "invalid_params":
                raise

    def end(self):
        """A run that the agent forgot is begun again: nobody was told that it had ended."""
        ending = {"run_id": self.orders["run_id"], "status": self.orders["status"], "all": True}
        try:
            return self.dial().ask("run.end", {**ending, "reason": "it was told to"})
        except Refused as refusal:
            if refusal.code == "unknown_run":
                self.session = ""
                self.bind()
            raise

    def run(self) -> None:
        self.insist(self.bind)
        say(at="bound")
        for path in SCOPES:
            self.insist(lambda path=path: self.scoped("scope.enter", path))
            self.inside.append(path)
            burn(self.orders["burn_ms"])
            self.insist(lambda path=path: self.leave(path))
            self.inside.pop()
            say(at=path)
        if not self.orders["ends"]:
            return
        say(at="ending")
        say(answer=self.insist(self.end))


if __name__ == "__main__":
    Trainer(json.loads(sys.argv[1])).run()
