"""SGLang's own radix cache and event publisher drive the service; each scenario is a function."""
import judge
from sglang_rank import Rank, given


def compute(rank, tokens, keys):
    rank.compute(tokens, keys)


def prompts():
    return judge.Prompts(service.draw, Rank.block_size)


def ranks():
    """Three ranks, each with a cache, a publisher and ports of its own."""
    three = [Rank(number=number) for number in range(3)]
    service.register(three)
    service.history(three, 400, prompts(), compute)


def resets():
    """Now and then the cache is flushed."""
    two = [Rank(number=number) for number in range(2)]
    service.register(two)
    service.resets(two, 300, prompts(), compute)


def keys():
    """Salts and adapters, and the same prompts without."""
    one = [Rank(capacity=9600)]
    service.register(one)
    keys = [{}, {"cache_salt": "tenant"}, {"cache_salt": "5f" * 32}, {"lora_name": "sql"},
            {"lora_name": "sql", "cache_salt": "tenant"}, {"lora_name": "tenant"}]
    service.history(one, 300, prompts(), compute, keys)


def namespaces():
    """Namespaces that nothing is said of, whose blocks have equal names: a block is there as long as one has it."""
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
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, prompts(), compute)


def pairs():
    """An engine that names tokens in pairs, for EAGLE."""
    one = [Rank(pairs=True)]
    service.register(one)
    service.history(one, 300, prompts(), compute)


def pairs_mixed():
    """Beside it, one that does not, of the same model."""
    two = [Rank(pairs=True), Rank(instance=2)]
    service.register(two)
    service.history(two, 300, prompts(), compute)


service = judge.Service(given)
globals()[given.scenario]()
service.end()
