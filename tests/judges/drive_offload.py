"""Drives the service with vLLM's cache manager, publisher and offloading manager.

The offloading manager keeps chunks of blocks in host memory. Each scenario is a function.
"""
import itertools

import judge
from vllm_rank import BLOCK, Rank, given
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.events import (  # noqa: E402
    OffloadingEventGroupSpec, OffloadingEventsTracker, OffloadingKVEventsConfig)
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.scheduler import GroupOffloadConfig  # noqa: E402
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager  # noqa: E402
from vllm.v1.kv_offload.base import ReqContext, make_offload_key  # noqa: E402
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager  # noqa: E402


class Offloading(Rank):
    """A rank that offloads chunks of `size` blocks. If `described`, their events have tokens and hashes of all blocks.

    Otherwise they have only the hash of a chunk's last block.
    """
    held = judge.tiers

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
        """Returns how much of the prompt the device has, and how much device and host have together."""
        kept = (chunk for key, chunk in self.contents.items() if self.host._policy.get(key) is not None)
        return super().reused(tokens, keys), self.depth(tokens, keys, set(itertools.chain(*kept)))

    def reset(self):
        """Resets the connector as well, which clears host memory. No further event says so."""
        super().reset()
        self.host.reset_cache()
        self.tracker.reset()


def compute(rank, tokens, _):
    rank.compute(tokens)


def prompts():
    return judge.Prompts(service.draw, BLOCK)


def chunks():
    """Offloads chunks of four blocks with their tokens. Chunks that begin alike list the same blocks."""
    one = [Offloading(4, described=True, chunks=40)]
    service.register(one)
    service.history(one, 300, prompts(), compute)


def chunks_replay():
    """Replays after a restore, where no block may count twice."""
    service.replay([Offloading(4, described=True, chunks=40)], prompts(), compute)


def places():
    """Offloads single blocks, whose events have only hashes."""
    one = [Offloading(1, described=False, chunks=160)]
    service.register(one)
    service.history(one, 300, prompts(), compute)


service = judge.Service(given)
globals()[given.scenario]()
service.end()
