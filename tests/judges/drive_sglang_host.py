"""Drives the service with SGLang's tree and publisher and a second copy in host memory (HiCache).

There is no memory, so nothing is really copied. Each scenario is a function.
"""
import judge
from sglang_rank import Rank, Tensor, given
from sglang.srt.mem_cache.base_prefix_cache import InsertParams, MatchPrefixParams  # noqa: E402
from sglang.srt.mem_cache.unified_cache.cache_action import BackupKV, UpdatePendingBackupOnNodeSplit  # noqa: E402
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType  # noqa: E402
from sglang.srt.mem_cache.unified_cache.components.full import FullComponent  # noqa: E402
from sglang.srt.mem_cache.unified_cache.unified_tree_core import UnifiedTreeCore  # noqa: E402

FULL = ComponentType.FULL


class HostRank(Rank):
    """Does what the engine's cache controller does with the tree. The host has three times the room of the device."""
    held = judge.tiers

    def cache_of(self, parameters):
        class Controller:
            enable_session_radix_cache = False
        tree = UnifiedTreeCore(parameters, {FULL: FullComponent(Controller, parameters)})
        tree.set_hicache_enabled()
        tree.write_through_threshold = 1
        self.copies = {}  # unfinished copies to the host: the nodes by acknowledgement, and the locks on them
        return tree

    def match(self, tokens, keys):
        found = self.cache.match_prefix(MatchPrefixParams(key=self.key(tokens, keys)))
        self.act(found.cache_actions or [])
        return found

    def reused(self, tokens, keys):
        found = self.match(tokens, keys)
        return found.device_prefix_len, found.device_prefix_len + found.host_hit_length

    def compute(self, tokens, keys):
        tree, found = self.cache, self.match(tokens, keys)
        if found.host_hit_length:
            node = found.best_match_node
            held = tree.inc_lock_ref(node).to_dec_params()
            transfer, _ = tree.build_load_back_spec(node)
            self.act(tree.commit_load_back(node, Tensor(transfer.host_indices), transfer, {}))
            tree.finish_load_back(node)
            tree.dec_lock_ref(node, held)
        step = tree.begin_insert(InsertParams(key=self.key(tokens, keys), value=Tensor(range(len(tokens)))))
        self.act(step.actions)
        while step.result is None:
            step = tree.resume_insert()
            self.act(step.actions)
        self.act(tree.end_insert())
        while self.copies and service.draw.randrange(3):
            self.acknowledge(next(iter(self.copies)))
        self.evict()
        self.publish()

    def act(self, actions):
        for action in actions:
            if isinstance(action, BackupKV):
                for node in action.node_ids:
                    self.copy(node)
            elif isinstance(action, UpdatePendingBackupOnNodeSplit) and action.ack_id in self.copies:
                nodes = self.copies[action.ack_id][0]
                at = nodes.index(action.old_node_id)
                nodes[at:at + 1] = [action.new_node_id, action.new_child_node_id]

    def copy(self, node):
        value, _ = self.cache.build_backup_spec(node)
        if len(value):
            self.cache.commit_backup(node, Tensor(value), {})
            held = self.cache.inc_lock_ref(node).to_dec_params()
            self.copies[node] = self.cache.mark_write_through_pending([node], node), held

    def acknowledge(self, node):
        nodes, held = self.copies.pop(node)
        self.cache.finish_write_through(nodes, node)
        self.cache.dec_lock_ref(node, held)

    def evict(self):
        tree, freed = self.cache, {FULL: 0}
        tree.evict_device_start(FULL, max(0, tree.full_evictable_size() - self.capacity))
        while (node := self.free(tree.evict_device_next_node(FULL, freed)).node_id) is not None:
            freed[FULL] += self.free(tree.evict_device_leaf(node, False)).tracker[FULL]
        tree.evict_device_end(FULL)
        copied = [node.component_data[FULL].host_value for node in tree._node_arena.values()]
        excess = sum(len(value) for value in copied if value is not None) - 3 * self.capacity
        if excess > 0:
            self.free(tree.drive_host_eviction(FULL, excess))

    def free(self, evicted):
        self.act(evicted.cache_actions)
        for memory in (evicted.device_frees, evicted.host_frees, evicted.cache_actions):
            memory.clear()
        return evicted

    def reset(self):
        for node in list(self.copies):
            self.acknowledge(node)
        self.cache.reset()
        self.cache.kv_events.record_all_cleared()
        self.publish()


def copies():
    """Copies blocks to the host, loads them back, evicts them from either, and flushes the caches."""
    one = [HostRank(capacity=1600)]
    service.register(one)
    service.resets(one, 400, judge.Prompts(service.draw, Rank.block_size), HostRank.compute, once_in=100)


def copies_replay():
    """Replays after a restore, where every block must be on the same tiers as before."""
    service.replay([HostRank(capacity=1600)], judge.Prompts(service.draw, Rank.block_size), HostRank.compute)


service = judge.Service(given)
globals()[given.scenario]()
service.end()
