"""What the drivers of engines' own caches share: the service that is judged, the prompts, and the comparison.

A driver runs an engine's cache manager and event publisher as they were released, and asks the engine and the service
the same: how much of a prompt would be reused? Nothing is ever missing, so the service must not say so either.

Whoever starts a driver reads its standard output: at `stop` the service is to be asked to end, at `kill` it is to be
ended at once, at `start` it is to be started again from its snapshot; each is answered with a line, `start` with the
new URL. The driver ends with `compared N, different M`, and with 0 if M is.
"""
import argparse
import importlib.util
import json
import os
import random
import sys
import time
import urllib.request

RANKS = 4  # at most, of an instance: its ports are as many for events, then as many for replays


def arguments():
    """Reads the command line, and makes the engine's sources importable without its heavy dependencies."""
    options = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    options.add_argument("scenario")
    options.add_argument("--source", required=True, help="where the engine's Python files are")
    options.add_argument("--stub", required=True, help="the stand-in for its heavy dependencies, engine_stub.py")
    options.add_argument("--url", required=True, help="the service")
    options.add_argument("--port", required=True, type=int, help="the first of 16 that are free")
    options.add_argument("--seed", default=1, type=int)
    given = options.parse_args()
    spec = importlib.util.spec_from_file_location("engine_stub", given.stub)
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    sys.path.insert(0, given.source)
    return given


def ports(given, instance):
    """The first port of an instance's events, and that of its replays."""
    first = given.port + 2 * RANKS * (instance - 1)
    return first, first + RANKS


def on_device(rank, answer):
    """How many tokens of the prompt the rank has on its device, as the service says."""
    return answer["scores"].get(str(rank.instance), {}).get(str(rank.number), 0)


def tiers(rank, answer):
    """How many tokens of the prompt an instance has on its device, and how many there or in its host's memory."""
    found = answer["instances"].get(str(rank.instance), {})
    return found.get("gpu", 0), found.get("cpu", 0)


def until(done, but):
    """Waits until `done()`, and ends everything with what `but()` says if that takes a minute.

    Other processes are involved, and none of them tells: it is looked at again and again.
    """
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            sys.exit(but())
        time.sleep(0.01)


class Service:
    """The service under judgement, and what came of it."""

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
        """Has the service ended or started."""
        print(what, flush=True)
        return sys.stdin.readline().strip()

    def heard(self, ranks):
        """Waits until the service took all that the ranks said, doubts nothing of it, and shows it."""
        wanted = {(rank.instance, rank.number): (rank.batches - 1 if rank.batches else None, []) for rank in ranks}
        heard = {}

        def all_heard():
            heard.update({(one["instance_id"], int(number)): (listener["last_sequence"], listener["reasons"])
                          for one in self.call("/workers") for number, listener in one["listeners"].items()})
            return all(heard.get(who) == last for who, last in wanted.items())
        until(all_heard, lambda: f"last batches and doubts should be {wanted}, and are {heard}")
        # Asks the index's writers, who publish all that they were given before they answer.
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
                  f"and of those that something is missing of {missing}")

    def history(self, ranks, requests, prompts, compute, keys=({},)):
        """Requests one after another, each to any of the ranks, and every now and then comparisons."""
        for number in range(requests):
            compute(self.draw.choice(ranks), prompts.next(), self.draw.choice(keys))
            if number % 8 == 7:
                for tokens in prompts.some():
                    self.compare(ranks, tokens, self.draw.choice(keys))

    def resets(self, ranks, requests, prompts, compute, once_in=20):
        """As `history`, but now and then a rank's cache is reset."""
        def compute_or_reset(rank, tokens, keys):
            compute(rank, tokens, keys)
            self.now_and_then(rank.reset, once_in)
        self.history(ranks, requests, prompts, compute_or_reset)

    def replay(self, ranks, prompts, compute):
        """Batches that nobody heard: before the ranks are registered, and while the service is away."""
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
        # At once: a publisher's thread may take a second to see that it should end.
        os._exit(self.different != 0)


class Prompts:
    """Prompts of which many begin alike: whole blocks, and after them a tail of their own or nothing."""

    def __init__(self, draw, block, tails=True):
        self.draw, self.block, self.tails = draw, block, tails
        self.families = [self.tokens(24 * block) for _ in range(4)]
        self.seen = []

    def tokens(self, count):
        return [self.draw.randrange(32000) for _ in range(count)]

    def next(self):
        prompt = self.draw.choice(self.families)[:self.draw.randrange(1, 25) * self.block]
        if self.tails:
            # Never to the end of a block: there are engines that compute a prompt's last block anew if they have it.
            prompt += self.tokens(self.draw.randrange(0, 8) * self.block + self.draw.randrange(1, self.block))
        self.seen.append(prompt)
        return prompt

    def some(self):
        """The latest one, one from before, and the beginning of one."""
        one = self.draw.choice(self.seen)
        return [self.seen[-1], self.draw.choice(self.seen), one[:self.draw.randrange(1, len(one) + 1)]]
