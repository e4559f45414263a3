"""Drives the service with vLLM's cache manager and event publisher. Each scenario is a function."""
import judge
from vllm_rank import BLOCK, Rank, given


def compute(rank, tokens, keys):
    rank.compute(tokens, keys=keys)


def compute_repeated(rank, tokens, keys):
    """Puts hashes into several blocks by computing equal prompts side by side, and the last block of a prompt again."""
    tokens = tokens[:len(tokens) // BLOCK * BLOCK] if draw.randrange(2) else tokens
    rank.compute(*[tokens] * draw.randrange(1, 4), keys=keys, chunk=draw.choice([32, 80, 8192]))


def ranks():
    """Has three data-parallel ranks, each with its own cache, publisher and ports, which also decode."""
    three = [Rank(number=number) for number in range(3)]
    service.register(three)

    def compute_and_decode(rank, tokens, _):
        rank.compute(tokens, decoded=range(40))
    service.history(three, 400, judge.Prompts(draw, BLOCK), compute_and_decode)


def resets():
    """Resets the prefix caches now and then."""
    two = [Rank(number=number) for number in range(2)]
    service.register(two)
    service.resets(two, 300, judge.Prompts(draw, BLOCK), compute)


def keys():
    """Requests prompts with salts and adapters, and the same prompts without."""
    one = [Rank(blocks=600)]
    service.register(one)
    keys = [{}, {"cache_salt": "tenant"}, {"lora_name": "sql"}, {"lora_name": "sql", "cache_salt": "tenant"},
            {"lora_name": "tenant"}]
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute, keys)


def digests():
    """Uses salts that look like the digest of a picture."""
    one = [Rank(blocks=600)]
    service.register(one)
    keys = [{}, {"cache_salt": "5f" * 32}, {"cache_salt": "07" * 32, "lora_name": "sql"}]
    service.history(one, 200, judge.Prompts(draw, BLOCK), compute, keys)


def duplicates():
    """Has hashes in several blocks."""
    one = [Rank()]
    service.register(one)
    service.history(one, 150, judge.Prompts(draw, BLOCK), compute_repeated)
    service.history(one, 150, judge.Prompts(draw, BLOCK, tails=False), compute_repeated)


def groups():
    """Has layers with a sliding window beside layers with full attention, whose blocks alone count for a prompt."""
    class Grouped(Rank):
        reused = Rank.depth

    one = [Grouped(window=96)]
    service.register(one)
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute)


def full():
    """Has requests that announce again what they reuse.

    No hash lies in several blocks, because that could not be told from such a repeated announcement.
    """
    one = [Rank()]
    service.register(one, copies="single")

    def compute_and_say(rank, tokens, _):
        rank.compute(tokens, extra_args={"kv_cache_report_mode": draw.choice(["full", "incremental"])})
    service.history(one, 300, judge.Prompts(draw, BLOCK), compute_and_say)


def replay():
    """Replays batches that nobody received."""
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, judge.Prompts(draw, BLOCK), compute)


def replay_duplicates():
    """Replays after a restore, where no block may count twice."""
    two = [Rank(number=number) for number in range(2)]
    service.replay(two, judge.Prompts(draw, BLOCK), compute_repeated)


def lookahead():
    """Has an engine whose hashes also cover the token after a block."""
    ways([Rank(lookahead=1)])


def lookahead_mixed():
    """Has ranks of one model whose hashes cover one, three and no tokens after a block."""
    ways([Rank(lookahead=1), Rank(instance=2, lookahead=3), Rank(instance=2, number=1)])


def ways(ranks):
    """Requests prompts from ranks that hash in different ways."""
    service.register(ranks)
    prompts = judge.Prompts(draw, BLOCK)
    for number in range(300):
        prompt = prompts.next()
        # This prompt ends at the end of a block, with a token that no other prompt has, so that no hash lies in several
        # blocks.
        whole = [*prompt[:len(prompt) // BLOCK * BLOCK - 1], 32000 + number]
        draw.choice(ranks).compute(draw.choice([prompt, whole]), decoded=range(draw.randrange(20)))
        if number % 8 == 7:
            for tokens in [*prompts.some(), whole]:
                service.compare(ranks, tokens)


service = judge.Service(given)
draw = service.draw
globals()[given.scenario]()
service.end()
