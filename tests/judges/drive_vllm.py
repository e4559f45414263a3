"""vLLM's own cache manager and event publisher drive the service; each scenario is a function."""
import judge
from vllm_rank import BLOCK, Rank, given


def compute(rank, tokens, keys):
    rank.compute(tokens, keys=keys)


def compute_repeated(rank, tokens, keys):
    """Puts hashes into several blocks: equal prompts are computed side by side, and a prompt's last block anew."""
    tokens = tokens[:len(tokens) // BLOCK * BLOCK] if draw.randrange(2) else tokens
    rank.compute(*[tokens] * draw.randrange(1, 4), keys=keys, chunk=draw.choice([32, 80, 8192]))


def ranks():
    """Three data-parallel ranks, each with a cache, a publisher and ports of its own, which decode, too."""
    three = [Rank(number=number) for number in range(3)]
    service.register(three)

    def compute_and_decode(rank, tokens, _):
        rank.compute(tokens, decoded=range(40))
    service.history(three, 400, judge.Prompts(draw, BLOCK), compute_and_decode)


def resets():
    """Now and then the prefix cache is reset."""
    two = [Rank(number=number) for number in range(2)]
    service.register(two)
    service.resets(two, 300, judge.Prompts(draw, BLOCK), compute)


def keys():
    """Salts and adapters, and the same prompts without."""
    one = [Rank(blocks=600)]
    service.register(one)
    keys = [{}, {"cache_salt": "tenant"}, {"lora_name": "sql"}, {"lora_name": "sql", "cache_salt": "tenant"},
            {"lora_name": "tenant"}]
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute, keys)


def digests():
    """Salts that look like the digest of a picture."""
    one = [Rank(blocks=600)]
    service.register(one)
    keys = [{}, {"cache_salt": "5f" * 32}, {"cache_salt": "07" * 32, "lora_name": "sql"}]
    service.history(one, 200, judge.Prompts(draw, BLOCK), compute, keys)


def duplicates():
    """Hashes that lie in several blocks."""
    one = [Rank()]
    service.register(one)
    service.history(one, 150, judge.Prompts(draw, BLOCK), compute_repeated)
    service.history(one, 150, judge.Prompts(draw, BLOCK, tails=False), compute_repeated)


def groups():
    """Layers that see a window only beside those that see all, whose blocks are the ones that are said of a prompt."""
    class Grouped(Rank):
        reused = Rank.depth

    one = [Grouped(window=96)]
    service.register(one)
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute)


def full():
    """Some requests say again what they reuse; nothing lies in several blocks, which could not be told from that."""
    one = [Rank()]
    service.register(one, copies="single")

    def compute_and_say(rank, tokens, _):
        rank.compute(tokens, extra_args={"kv_cache_report_mode": draw.choice(["full", "incremental"])})
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute_and_say)


def replay():
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, judge.Prompts(draw, BLOCK), compute)


def replay_duplicates():
    """What is restored and replayed must not count twice."""
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, judge.Prompts(draw, BLOCK), compute_repeated)


def lookahead():
    """An engine whose hashes cover the token after a block, too."""
    ways([Rank(lookahead=1)])


def lookahead_mixed():
    """Beside it, ranks whose hashes cover three tokens, and none, all of one model."""
    ways([Rank(lookahead=1), Rank(instance=2, lookahead=3), Rank(instance=2, number=1)])


def ways(ranks):
    """Different ways of hashing."""
    service.register(ranks)
    prompts = judge.Prompts(draw, BLOCK)
    for number in range(300):
        prompt = prompts.next()
        # To the end of a block as well, with a token that no other prompt has, so that no hash lies in several blocks.
        whole = [*prompt[:len(prompt) // BLOCK * BLOCK - 1], 32000 + number]
        draw.choice(ranks).compute(draw.choice([prompt, whole]), decoded=range(draw.randrange(20)))
        if number % 8 == 7:
            for tokens in [*prompts.some(), whole]:
                service.compare(ranks, tokens)


service = judge.Service(given)
draw = service.draw
globals()[given.scenario]()
service.end()
