"""What the drivers of engines' caches share: the service under test, the prompts, and the comparison.

A driver runs the released cache manager and event publisher of an engine, and asks the engine and the service the same
question: how much of a prompt would be reused? No event is ever lost, so the service must not report a doubt either.

The test that starts a driver reads its standard output. At the line `stop` the test asks the service to end, at `kill`
it kills the service, and at `start` it starts the service again from its snapshot. It answers each with a line, and
`start` with the new URL. The driver ends with the line `compared N, different M`, and with exit code 0 if M is 0.
"""
import argparse
import importlib.util
import json
import os
import random
import sys
import time
import urllib.request

RANKS = 4  # at most, per instance, which has this many ports for events and then this many for replays


def arguments():
    """Reads the command line, and makes the engine's sources importable without its heavy dependencies."""
    options = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    options.add_argument("scenario")
    options.add_argument("--source", required=True, help="directory with the engine's Python files")
    options.add_argument("--stub", required=True, help="the stand-in for its heavy dependencies, engine_stub.py")
    options.add_argument("--url", required=True, help="URL of the service")
    options.add_argument("--port", required=True, type=int, help="the first of 16 free ports")
    options.add_argument("--seed", default=1, type=int)
    given = options.parse_args()
    spec = importlib.util.spec_from_file_location("engine_stub", given.stub)
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    sys.path.insert(0, given.source)
    return given


def ports(given, instance):
    """Returns the first port for events of an instance, and the first for its replays."""
    first = given.port + 2 * RANKS * (instance - 1)
    return first, first + RANKS


def on_device(rank, answer):
    """Returns how many tokens of the prompt a rank has on its device, by the answer of the service."""
    return answer["scores"].get(str(rank.instance), {}).get(str(rank.number), 0)


def tiers(rank, answer):
    """Returns how many tokens of the prompt an instance has on its device, and how many there or in host memory."""
    found = answer["instances"].get(str(rank.instance), {})
    return found.get("gpu", 0), found.get("cpu", 0)


def until(done, but):
    """Polls until `done()` is true. After a minute, exits with the message that `but()` returns."""
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            sys.exit(but())
        time.sleep(0.01)


class Service:
    """The service under test, and the counts of comparisons."""

    def __init__(self, given):
        self.url, self.given, self.draw = given.url, given, random.Random(given.seed)
        self.compared = self.different = 0
        print(f"{given.scenario}, seed {given.seed}", flush=True)

    def call(self, path, body=None):
        body = body and json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, body, {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def register(self, ranks, **more):
        for rank in ranks:
            events, replays = (f"tcp://127.0.0.1:{port + rank.number}" for port in ports(self.given, rank.instance))
            self.call("/register", {
                "instance_id": rank.instance, "dp_rank": rank.number, "model_name": "m", "block_size": rank.block_size,
                "endpoint": events, "replay_endpoint": replays, **more})

    def ask(self, what):
        """Asks the test to stop, kill or start the service, and returns the answer."""
        print(what, flush=True)
        return sys.stdin.readline().strip()

    def heard(self, ranks):
        """Waits until the service has taken all batches of the ranks, has no doubt about them, and shows them."""
        wanted = {(rank.instance, rank.number): (rank.batches - 1 if rank.batches else None, []) for rank in ranks}
        heard = {}

        def all_heard():
            heard.update({(one["instance_id"], int(number)): (listener["last_sequence"], listener["reasons"])
                          for one in self.call("/workers") for number, listener in one["listeners"].items()})
            return all(heard.get(who) == last for who, last in wanted.items())
        until(all_heard, lambda: f"last batches and doubts should be {wanted}, and are {heard}")
        # The status comes from the index's writers, which publish everything that they were given before they answer.
        self.call("/v1/status")

    def compare(self, ranks, tokens, keys=None):
        """Asks each rank's engine and the service how much of the prompt would be reused."""
        keys = keys or {}
        self.heard(ranks)
        reused = [rank.reused(tokens, keys) for rank in ranks]
        answer = self.call("/query", {"model_name": "m", "token_ids": tokens, **keys})
        held, missing = [rank.held(answer) for rank in ranks], answer.get("degraded")
        self.compared += 1
        if held != reused or missing:
            self.different += 1
            print(f"of {len(tokens)} tokens, {keys}: the engines would reuse {reused}, the service says {held}, "
                  f"and it doubts {missing}")

    def history(self, ranks, requests, prompts, compute, keys=({},)):
        """Sends requests one after another, each to a random rank, and compares after every eighth."""
        for number in range(requests):
            compute(self.draw.choice(ranks), prompts.next(), self.draw.choice(keys))
            if number % 8 == 7:
                for tokens in prompts.some():
                    self.compare(ranks, tokens, self.draw.choice(keys))

    def resets(self, ranks, requests, prompts, compute, once_in=20):
        """Does the same as `history`, and resets the cache of a rank now and then."""
        def compute_or_reset(rank, tokens, keys):
            compute(rank, tokens, keys)
            self.now_and_then(rank.reset, once_in)
        self.history(ranks, requests, prompts, compute_or_reset)

    def replay(self, ranks, prompts, compute):
        """Makes ranks publish while nobody listens: before they are registered, and while the service is down."""
        def unheard():
            for _ in range(60):
                rank = self.draw.choice(ranks)
                compute(rank, prompts.next(), {})
                self.now_and_then(rank.reset)
        unheard()
        self.register(ranks)
        for end in "stop", "kill", "stop":
            self.history(ranks, 60, prompts, compute)
            self.ask(end)
            unheard()
            self.url = self.ask("start")
            for tokens in prompts.seen[-10:]:
                self.compare(ranks, tokens)

    def now_and_then(self, act, once_in=20):
        if not self.draw.randrange(once_in):
            act()

    def end(self):
        print(f"compared {self.compared}, different {self.different}", flush=True)
        # Exit at once, because the thread of a publisher may take a second to notice that it should end.
        os._exit(self.different != 0)


class Prompts:
    """Prompts of which many begin with the same blocks, with tails of their own or without."""

    def __init__(self, draw, block, tails=True):
        self.draw, self.block, self.tails = draw, block, tails
        self.families = [self.tokens(24 * block) for _ in range(4)]
        self.seen = []

    def tokens(self, count):
        return [self.draw.randrange(32000) for _ in range(count)]

    def next(self):
        prompt = self.draw.choice(self.families)[:self.draw.randrange(1, 25) * self.block]
        if self.tails:
            # A tail never ends at the end of a block, because some engines compute the last block of a prompt again
            # even if they have it.
            prompt += self.tokens(self.draw.randrange(0, 8) * self.block + self.draw.randrange(1, self.block))
        self.seen.append(prompt)
        return prompt

    def some(self):
        """Returns the latest prompt, an earlier one, and the beginning of an earlier one."""
        one = self.draw.choice(self.seen)
        return [self.seen[-1], self.draw.choice(self.seen), one[:self.draw.randrange(1, len(one) + 1)]]
