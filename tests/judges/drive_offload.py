"""vLLM's cache manager and publisher with its offloading manager, which keeps chunks of blocks in host memory."""
import judge
from vllm_rank import BLOCK, Rank, given
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.events import (  # noqa: E402
    OffloadingEventGroupSpec, OffloadingEventsTracker, OffloadingKVEventsConfig)
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.scheduler import GroupOffloadConfig  # noqa: E402
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager  # noqa: E402
from vllm.v1.kv_offload.base import ReqContext, make_offload_key  # noqa: E402
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager  # noqa: E402


class Offloading(Rank):
    """Chunks of `size` blocks; `described`: they come with tokens, not only with the hash of their last block."""

    def __init__(self, size, described, chunks):
        super().__init__(blocks=60)
        self.size, self.host = size, CPUOffloadingManager(chunks, enable_events=True)
        self.tracker = OffloadingEventsTracker(OffloadingKVEventsConfig(True, described))
        self.group = GroupOffloadConfig(
            group_idx=0, tokens_per_block=BLOCK, tokens_per_chunk=size * BLOCK, hashes_per_chunk=size,
            kv_event_group_spec=OffloadingEventGroupSpec("full_attention", None), sliding_window_size_in_chunks=None,
            kv_cache_spec=self.attention, manager_cls=FullAttentionManager)
        self.contents = {}

    def offload(self, requests):
        for request in requests:
            hashes = request.block_hashes
            chunks = [hashes[at:at + self.size] for at in range(0, len(hashes) - self.size + 1, self.size)]
            keys = [make_offload_key(chunk[-1], 0) for chunk in chunks]
            self.contents.update(zip(keys, chunks))
            context = ReqContext(request.request_id)
            stored = self.host.prepare_store(keys, context)
            if stored is not None:
                for key in stored.keys_to_store:
                    self.tracker.record_store(request, self.group, keys.index(key), key)
                self.host.complete_store(stored.keys_to_store, context, True)
        return list(self.tracker.take_events(self.host.take_events()))

    def reused(self, tokens, keys):
        """What the device has of the prompt, and what device and host have together."""
        hashes = self.request([*tokens, 0], keys).block_hashes[:len(tokens) // BLOCK]
        host = {hash for key, chunk in self.contents.items() if self.host._policy.get(key) is not None for hash in chunk}
        count = 0
        while count < len(hashes) and (hashes[count] in host or self.manager.block_pool.get_cached_block(hashes[count], [0])):
            count += 1
        return super().reused(tokens, keys), count * BLOCK

    def held(self, rank, answer):
        found = answer["instances"].get(str(self.instance), {})
        return found.get("gpu", 0), found.get("cpu", 0)


def chunks():
    """Chunks of four blocks that come with their tokens: those that begin alike list the same blocks."""
    offloading(Offloading(4, described=True, chunks=40))


def places():
    """Single blocks of which only the hash is said."""
    offloading(Offloading(1, described=False, chunks=160))


def offloading(rank):
    service.register([rank])
    service.history([rank], 300, judge.Prompts(service.draw, BLOCK), lambda rank, tokens, _: rank.compute(tokens))


service = judge.Service(given)
globals()[given.scenario]()
service.end()
