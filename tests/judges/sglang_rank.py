"""A data-parallel rank of SGLang: its own radix cache and event publisher."""
import hashlib
import time
from array import array
from types import SimpleNamespace

import judge

given = judge.arguments()
import torch  # noqa: E402


class Tensor(list):
    """The part of a tensor that the cache uses: one number per token."""
    dtype, device = None, "cpu"

    def __getitem__(self, key):
        found = list.__getitem__(self, key)
        return Tensor(found) if isinstance(key, slice) else found

    def clone(self):
        return Tensor(self)

    def numel(self):
        return len(self)

    def to(self, *_, **__):
        return self


torch.cat = lambda parts, *_, **__: Tensor(sum(parts, []))
torch.empty = lambda *_, **__: Tensor()
import sglang.srt.disaggregation.kv_events as kv_events  # noqa: E402
import sglang.srt.mem_cache.utils as utils  # noqa: E402
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams  # noqa: E402
from sglang.srt.mem_cache.cache_init_params import CacheInitParams  # noqa: E402
from sglang.srt.mem_cache.cpp_utils.native_hash import _native_hash_input  # noqa: E402
from sglang.srt.mem_cache.events import KvEventLoraNames  # noqa: E402
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey  # noqa: E402


def chained(tokens, before, page=None):
    """Does what the engine compiles at run time: SHA-256 over the previous digest and the tokens (pairs for EAGLE)."""
    raw, count, _, pairs = _native_hash_input(tokens)
    names = []
    for start in range(0, count, page or count or 1):
        units = range(start, min(count, start + (page or count)))
        words = [word for at in units for word in raw[at:at + 2 if pairs else at + 1]]
        before = hashlib.sha256((before or b"") + b"".join(word.to_bytes(4, "little") for word in words)).digest()
        names.append(before.hex())
    return names if page else names[0]


utils.get_native_hash = chained


class Allocator:
    """An allocator without any memory."""
    device = "cpu"

    def __getattr__(self, name):
        return lambda *_, **__: None


class Rank:
    """A rank. If `pairs`, tokens are cached in pairs, as for EAGLE."""
    block_size = 16
    held = judge.on_device

    def __init__(self, instance=1, number=0, pairs=False, capacity=4800):
        self.instance, self.number, self.capacity, self.batches = instance, number, capacity, 0
        self.adapters = KvEventLoraNames()
        self.cache = self.cache_of(CacheInitParams(
            disable=False, req_to_token_pool=None, token_to_kv_pool_allocator=Allocator(), page_size=self.block_size,
            is_eagle=pairs, enable_kv_cache_events=True, kv_event_lora_names=self.adapters))
        events, replays = (f"tcp://*:{port}" for port in judge.ports(given, instance))
        self.publisher = kv_events.ZmqEventPublisher(number, endpoint=events, replay_endpoint=replays)

    def cache_of(self, parameters):
        return RadixCache(parameters)

    def key(self, tokens, keys):
        namespace = keys.get("lora_name") or keys.get("extra_key")
        if keys.get("lora_name"):
            self.adapters.register(SimpleNamespace(extra_key=namespace, lora_id=namespace), namespace)
        return RadixKey(array("q", tokens), namespace, cache_salt=keys.get("cache_salt"))

    def reused(self, tokens, keys):
        return self.cache.match_prefix(MatchPrefixParams(key=self.key(tokens, keys))).device_prefix_len

    def compute(self, tokens, keys):
        """Computes a prompt, and evicts beyond the capacity, least recently used first."""
        self.cache.insert(InsertParams(key=self.key(tokens, keys), value=Tensor(range(len(tokens)))))
        if (excess := self.cache.evictable_size() - self.capacity) > 0:
            self.cache.evict(EvictParams(num_tokens=excess))
        self.publish()

    def reset(self):
        self.cache.reset()
        self.publish()

    def publish(self):
        events = self.cache.take_events()
        if events:
            self.publisher.publish(kv_events.KVEventBatch(ts=time.time(), events=events))
            self.batches += 1
