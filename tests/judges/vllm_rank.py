"""A data-parallel rank of vLLM: its own KVCacheManager and event publisher."""
import itertools
import os
import time

import judge

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
given = judge.arguments()
from vllm.config.kv_events import KVEventsConfig  # noqa: E402
from vllm.distributed.kv_events import EventPublisherFactory, KVEventBatch  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.utils.hashing import sha256_cbor  # noqa: E402
from vllm.v1.core.kv_cache_manager import KVCacheManager  # noqa: E402
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash  # noqa: E402
from vllm.v1.kv_cache_interface import (  # noqa: E402
    FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, SlidingWindowSpec)
from vllm.v1.request import Request  # noqa: E402

BLOCK = 16
init_none_hash(sha256_cbor)


class Rank:
    """A rank. A block's hash also covers `lookahead` tokens after it. With `window`, some layers attend to no more."""
    block_size = BLOCK
    held = judge.on_device
    attention = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=None)

    def __init__(self, instance=1, number=0, lookahead=0, window=0, blocks=300):
        self.instance, self.number, self.lookahead = instance, number, lookahead
        self.batches = self.requests = 0
        self.hasher = get_request_block_hasher(BLOCK, sha256_cbor, lookahead)
        groups = [KVCacheGroupSpec(["layer"], self.attention)]
        if window:
            groups.append(KVCacheGroupSpec(["other"], SlidingWindowSpec(
                block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=None, sliding_window=window)))
        self.manager = KVCacheManager(
            KVCacheConfig(num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=groups), max_model_len=8192,
            scheduler_block_size=BLOCK, hash_block_size=BLOCK, num_hash_lookahead_tokens=lookahead,
            num_prefill_lookahead=lookahead, enable_kv_cache_events=True)
        events, replays = (f"tcp://*:{port}" for port in judge.ports(given, instance))
        self.publisher = EventPublisherFactory.create(
            KVEventsConfig(enable_kv_cache_events=True, publisher="zmq", endpoint=events, replay_endpoint=replays),
            number)

    def request(self, tokens, keys, **options):
        self.requests += 1
        lora = keys.get("lora_name")
        return Request(f"{self.requests}", list(tokens), SamplingParams(max_tokens=64, **options), None,
                       block_hasher=self.hasher, cache_salt=keys.get("cache_salt"),
                       lora_request=lora and LoRARequest(lora, len(lora), f"/{lora}"))

    def depth(self, tokens, keys, elsewhere=()):
        """Returns how many leading tokens of the prompt are in blocks of the first group, or in `elsewhere`."""
        hashes = self.request(tokens, keys).block_hashes[:len(tokens) // BLOCK]
        lies = (hash in elsewhere or self.manager.block_pool.get_cached_block(hash, [0]) is not None for hash in hashes)
        return BLOCK * len(list(itertools.takewhile(bool, lies)))

    def reused(self, tokens, keys):
        # Ask with one more token, because the engine never reuses the very last block of a prompt even if it has it.
        # With lookahead it has that block only for one particular next token, and the prompt has no next token.
        tokens = tokens if self.lookahead else [*tokens, 0]
        return self.manager.get_computed_blocks(self.request(tokens, keys))[1]

    def compute(self, *prompts, keys=None, chunk=8192, decoded=(), **options):
        """Computes prompts side by side, a chunk of each per step, decodes these tokens after each, and frees them."""
        requests = [self.request(tokens, keys or {}, **options) for tokens in prompts]
        for request in requests:
            blocks, reused = self.manager.get_computed_blocks(request)[:2]
            self.step(request, min(chunk, request.num_tokens - reused), reused, blocks)
        while waiting := [request for request in requests if request.num_computed_tokens < request.num_tokens]:
            for request in waiting:
                self.step(request, min(chunk, request.num_tokens - request.num_computed_tokens))
        for token in decoded:
            for request in requests:
                request.append_output_token_ids(token)
                self.step(request, 1)
        offloaded = self.offload(requests)
        for request in requests:
            self.manager.free(request)
        self.publish([*self.manager.take_events(), *offloaded])

    def step(self, request, count, reused=0, blocks=None):
        assert self.manager.allocate_slots(request, count, reused, blocks) is not None, "no room"
        request.num_computed_tokens += reused + count

    def offload(self, requests):
        """Returns the events of the offloading connector."""
        return []

    def reset(self):
        assert self.manager.reset_prefix_cache()
        self.publish(self.manager.take_events())

    def publish(self, events):
        if events:
            self.publisher.publish(KVEventBatch(ts=time.time(), events=events))
            self.batches += 1
