"""Drives the service with SGLang's radix cache and event publisher. Each scenario is a function."""
import judge
from sglang_rank import Rank, given


def compute(rank, tokens, keys):
    rank.compute(tokens, keys)


def prompts():
    return judge.Prompts(service.draw, Rank.block_size)


def ranks():
    """Has three ranks, each with its own cache, publisher and ports."""
    three = [Rank(number=number) for number in range(3)]
    service.register(three)
    service.history(three, 400, prompts(), compute)


def resets():
    """Flushes the caches now and then."""
    two = [Rank(number=number) for number in range(2)]
    service.register(two)
    service.resets(two, 300, prompts(), compute)


def keys():
    """Requests prompts with salts and adapters, and the same prompts without."""
    one = [Rank(capacity=9600)]
    service.register(one)
    keys = [{}, {"cache_salt": "tenant"}, {"cache_salt": "5f" * 32}, {"lora_name": "sql"},
            {"lora_name": "sql", "cache_salt": "tenant"}, {"lora_name": "tenant"}]
    service.history(one, 300, prompts(), compute, keys)


def namespaces():
    """Has namespaces that no event mentions, with equal hashes. A block is held while any namespace has it."""
    class Spaces(Rank):
        names = [None, "a", "b"]

        def reused(self, tokens, keys):
            return max(Rank.reused(self, tokens, {"extra_key": name}) for name in self.names)

    one = [Spaces()]
    service.register(one)

    def compute_anywhere(rank, tokens, _):
        rank.compute(tokens, {"extra_key": service.draw.choice(rank.names)})
    service.history(one, 300, prompts(), compute_anywhere)


def replay():
    """Replays batches that nobody received."""
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, prompts(), compute)


def pairs():
    """Has an engine that hashes tokens in pairs, for EAGLE."""
    one = [Rank(pairs=True)]
    service.register(one)
    service.history(one, 300, prompts(), compute)


def pairs_mixed():
    """Has one engine that hashes tokens in pairs and one that does not, of the same model."""
    two = [Rank(pairs=True), Rank(instance=2)]
    service.register(two)
    service.history(two, 300, prompts(), compute)


service = judge.Service(given)
globals()[given.scenario]()
service.end()
