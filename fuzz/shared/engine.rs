//! An engine whose events are well-formed but for the faults that an input asks for, as bytes, and what it holds after
//! each of them. It is written from the descriptions of the formats and shares no logic with the service.
//!
//! Sequence hashes name prefixes, as those of all engines do: equal hashes have equal tokens before them.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use kvleap::service::ingest::Applied;
use kvleap::service::publisher::Skip;
use kvleap::service::{Doubt, Exactness, Model};
use kvleap::{EventData, Worker};
use rmp::encode::{
    write_array_len, write_bin, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str, write_uint,
};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

pub const BLOCK_SIZE: usize = 2;

/// Tokens of the four kinds of blocks. The last two differ by a picture only.
const TOKENS: [[u32; BLOCK_SIZE]; 4] = [[0, 127], [128, 70_000], [u32::MAX, 0], [u32::MAX, 0]];
const PICTURE: &str = "picture-of-a-cat";
/// Prompts: the salt, the adapter, and the kinds of the blocks. Many begin alike.
const PROMPTS: [(&str, &str, [u8; 4]); 8] = [
    ("", "", [0, 1, 2, 3]),
    ("s", "", [0, 1, 2, 3]),
    ("", "", [0, 1, 3, 0]),
    ("", "", [3, 0, 0, 0]),
    ("s", "", [0, 1, 3, 3]),
    ("tenant-a", "my-lora", [0, 1, 2, 3]),
    ("", "my-lora", [0, 3, 2, 1]),
    ("tenant-a", "", [3, 3, 1, 2]),
];
/// Names of media, by tier; an empty one is left out.
const MEDIA: [&[&str]; 3] = [
    &["", "GPU", "gpu", "Device", "HBM"],
    &["CPU", "cpu_pinned", "CPU_TIER1", "dram"],
    &["DISK", "STORAGE", "NVMe", "fs"],
];
/// Where the hashes of an engine begin: they differ in width and, as signed integers, in sign.
const BASES: [u64; 6] = [0, 120, 65_530, u32::MAX as u64 - 5, i64::MAX as u64 - 5, u64::MAX - 1_000_000];

/// How an engine is set up.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    base: u8,
    hashes: HashForm,
    ahead: Ahead,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum HashForm {
    Unsigned,
    Signed,
    /// The last bytes of a digest that is this much longer.
    Digest(u8),
}

/// Which tokens behind a block its hash covers.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ahead {
    None,
    Bigrams,
    /// The event lists the tokens that follow each block: two if this is true, otherwise one.
    Listed(bool),
}

/// A part of a prompt.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Chain {
    prompt: u8,
    /// Which blocks an event names.
    part: u8,
}

#[derive(Arbitrary, Debug)]
pub struct Batch {
    pub rank: Option<u8>,
    as_map: bool,
    events: Vec<Said>,
    /// Whether the bytes end too early.
    cut: bool,
}

#[derive(Arbitrary, Debug)]
pub struct Said {
    what: What,
    chain: Chain,
    tier: u8,
    name: u8,
    form: Form,
    /// Only if the upper two bits say so.
    faulty: u8,
    fault: Fault,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum What {
    /// In the namespace of a cache group or none, and, where a connector speaks, without salt and pictures.
    Store {
        group: u8,
        bare: bool,
    },
    /// Says only where blocks lie.
    Place,
    Remove {
        group: u8,
    },
    Clear,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Form {
    Map { extra_keys: bool, unknown_field: bool },
    Array,
    Short,
    Packed,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Fault {
    Misfit,
    BlockSize,
    Adapter,
    Keys,
    Repeated,
    Medium,
    Shared(u8),
    Group,
    Malformed,
    UnknownTag,
}

impl Said {
    /// Half of all blocks are on the device.
    fn tier(&self) -> usize {
        [0, 0, 1, 2][usize::from(self.tier % 4)]
    }
}

impl Fault {
    fn skip(self) -> Skip {
        match self {
            Self::Misfit => Skip::Tokens,
            Self::BlockSize => Skip::BlockSize,
            Self::Adapter => Skip::Adapter,
            Self::Keys => Skip::Keys,
            Self::Repeated => Skip::Repeated,
            Self::Medium => Skip::Medium,
            Self::Shared(_) => Skip::Shared,
            Self::Group => Skip::Group,
            Self::Malformed => Skip::Malformed,
            Self::UnknownTag => Skip::UnknownTag,
        }
    }

    /// The doubt of a store that is left out for this reason; `None` if it is left out on purpose.
    fn doubt(self) -> Option<Doubt> {
        match self {
            Self::Misfit => Some(Doubt::Misfit),
            Self::BlockSize => Some(Doubt::BlockSize),
            Self::Adapter => Some(Doubt::Adapter),
            Self::Keys => Some(Doubt::Keys),
            Self::Repeated => Some(Doubt::Repeated),
            Self::Medium => Some(Doubt::Medium),
            Self::Malformed => Some(Doubt::Malformed),
            Self::UnknownTag => Some(Doubt::UnknownEvent),
            Self::Shared(_) | Self::Group => None,
        }
    }

    fn can_happen_to(self, what: What) -> bool {
        match self {
            Self::Misfit | Self::BlockSize | Self::Adapter | Self::Keys | Self::Repeated => {
                matches!(what, What::Store { .. })
            }
            Self::UnknownTag => true,
            _ => what != What::Clear,
        }
    }
}

/// What is to be expected of one rank.
#[derive(Debug, Default)]
pub struct Rank {
    /// Copies of each block by tier, fastest first; the last place is for media that nobody knows.
    copies: BTreeMap<(usize, u64), u32>,
    /// Of the blocks in `copies`, those of which a store was left out, and why.
    left_out: BTreeMap<(usize, u64), BTreeSet<Doubt>>,
    /// Of the blocks in `copies`, those of which a store was taken.
    taken: BTreeSet<(usize, u64)>,
    /// Doubts that only a clear ends.
    lasting: BTreeSet<Doubt>,
    /// Everything that was doubted since the last clear.
    raised: BTreeSet<Doubt>,
    /// Cache groups with full attention.
    groups: BTreeMap<u8, bool>,
}

pub const UNKNOWN_MEDIUM: usize = 3;

impl Rank {
    fn add(&mut self, tier: usize, hash: u64, single: bool) {
        let copies = self.copies.entry((tier, hash)).or_default();
        *copies = if single { 1 } else { *copies + 1 };
    }

    /// The block is stored and can be used.
    pub fn take(&mut self, tier: usize, hash: u64, single: bool) {
        self.add(tier, hash, single);
        self.taken.insert((tier, hash));
        if single {
            self.left_out.remove(&(tier, hash));
        }
    }

    fn leave_out(&mut self, tier: usize, hash: u64, why: Doubt, single: bool) {
        self.add(tier, hash, single);
        self.left_out.entry((tier, hash)).or_default().insert(why);
        self.raised.insert(why);
    }

    /// A parent that is not there leaves the blocks behind it without a place.
    pub fn needs(&mut self, tier: usize, parent: Option<u64>) {
        if !self.left_out.is_empty() || parent.is_some_and(|parent| !self.has(tier, parent)) {
            self.raised.insert(Doubt::Unplaced);
        }
    }

    pub fn remove(&mut self, tier: usize, hash: u64) {
        let Some(copies) = self.copies.get_mut(&(tier, hash)) else { return };
        *copies -= 1;
        if *copies == 0 {
            self.copies.remove(&(tier, hash));
            self.left_out.remove(&(tier, hash));
            self.taken.remove(&(tier, hash));
        }
    }

    pub fn clear(&mut self) {
        *self = Self { groups: std::mem::take(&mut self.groups), ..Self::default() };
    }

    pub fn doubt(&mut self, doubt: Doubt) {
        self.lasting.insert(doubt);
        self.raised.insert(doubt);
    }

    /// Whether it has a block on a tier or a faster one.
    pub fn has(&self, tier: usize, hash: u64) -> bool {
        (0..=tier).any(|tier| self.copies.contains_key(&(tier, hash)))
    }

    /// Returns the blocks that it has on a tier or a faster one.
    pub fn held(&self, tier: usize) -> BTreeSet<u64> {
        self.copies.keys().filter(|(on, _)| *on <= tier).map(|&(_, hash)| hash).collect()
    }

    /// Checks the doubts about it: every one has a reason, and every reason that is left raises one.
    pub fn judge_doubts(&self, doubts: &BTreeSet<Doubt>) {
        assert!(doubts.is_subset(&self.raised), "{doubts:?} for no reason, {self:?}");
        assert!(doubts.is_superset(&self.lasting), "{doubts:?}, {self:?}");
        for (block, why) in &self.left_out {
            assert!(self.taken.contains(block) || doubts.is_superset(why), "{doubts:?} without {why:?}, {self:?}");
        }
        if self.copies.is_empty() {
            assert_eq!(doubts, &self.lasting, "everything was removed");
        }
    }

    /// Checks what the index holds of it on a tier or a faster one, given the doubts about it.
    pub fn judge_held(&self, tier: usize, held: &BTreeSet<u64>, doubts: &BTreeSet<Doubt>) {
        let truth = self.held(tier);
        assert!(held.is_subset(&truth), "at most what it has, on tier {tier}: {held:?}, {self:?}");
        // What was not understood here said nothing of blocks.
        let lasting = |doubt: &Doubt| self.lasting.contains(doubt) && doubt.kind() == Exactness::Unknown;
        if doubts.iter().all(lasting) {
            assert_eq!(held, &truth, "it is called exact, on tier {tier}: {self:?}");
        }
    }
}

/// All that is to be expected of an engine.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    single: bool,
    registered: u32,
    pub ranks: BTreeMap<u32, Rank>,
    /// Doubts about ranks that are not named yet.
    others: BTreeSet<Doubt>,
    /// The local hashes on the way to each block, by sequence hash.
    pub paths: BTreeMap<u64, Vec<u64>>,
    names: BTreeMap<Vec<u8>, u64>,
    pub skipped: BTreeMap<&'static str, u64>,
    pub stored: u64,
    pub removed: u64,
    pub cleared: u64,
    pub blocks: u64,
    pub undecodable: u64,
    pub contradictions: u64,
}

/// The blocks that an event names.
pub struct Named {
    pub parent: Option<u64>,
    pub hashes: Vec<u64>,
    pub locals: Vec<u64>,
    tokens: Vec<u32>,
    behind: Vec<Vec<u32>>,
    pictures: Vec<bool>,
    salt: &'static str,
    adapter: &'static str,
    at_root: bool,
}

/// The local hash by its formula.
fn local(salt: &str, adapter: &str, tokens: &[u32], picture: bool) -> u64 {
    let mut seed = 1337_u64;
    if !adapter.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(0, adapter.as_bytes()));
    }
    if !salt.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(1, salt.as_bytes()));
    }
    let mut bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    if picture {
        bytes.extend(XxHash3_64::oneshot(PICTURE.as_bytes()).to_le_bytes());
    }
    XxHash3_64::oneshot_with_seed(seed, &bytes)
}

impl Engine {
    pub fn new(setup: Setup, registered: u32, single: bool) -> Self {
        Self {
            setup,
            single,
            registered,
            ranks: BTreeMap::new(),
            others: BTreeSet::new(),
            paths: BTreeMap::new(),
            names: BTreeMap::new(),
            skipped: BTreeMap::new(),
            stored: 0,
            removed: 0,
            cleared: 0,
            blocks: 0,
            undecodable: 0,
            contradictions: 0,
        }
    }

    fn ahead(&self) -> usize {
        match self.setup.ahead {
            Ahead::None => 0,
            Ahead::Bigrams => 1,
            Ahead::Listed(two) => 1 + usize::from(two),
        }
    }

    /// Spells out the blocks of a chain that an event names, with their hashes.
    pub fn name(&mut self, chain: Chain) -> Named {
        // The first ones are the most frequent.
        let prompt = usize::from(chain.prompt & chain.prompt >> 4) % PROMPTS.len();
        let (salt, adapter, kinds) = PROMPTS[prompt];
        // The tokens behind the last block are those of the first.
        let tokens: Vec<u32> = kinds.iter().chain(&kinds[..1]).flat_map(|&kind| TOKENS[usize::from(kind)]).collect();
        let from = usize::from(chain.part) % 3;
        let to = (from + 1 + usize::from(chain.part / 3) % 3).min(kinds.len());
        let window = BLOCK_SIZE + self.ahead();
        let mut named = Named {
            parent: None,
            hashes: Vec::new(),
            locals: Vec::new(),
            tokens: tokens[from * BLOCK_SIZE..].to_vec(),
            behind: Vec::new(),
            pictures: Vec::new(),
            salt,
            adapter,
            at_root: from == 0,
        };
        named.tokens.truncate((to - from) * BLOCK_SIZE + usize::from(matches!(self.setup.ahead, Ahead::Bigrams)));
        let mut path = Vec::new();
        for block in 0..to {
            let own = &tokens[block * BLOCK_SIZE..][..window];
            path.push(local(salt, adapter, own, kinds[block] == 3));
            let identity = format!("{salt}/{adapter}/{:?}/{own:?}", &kinds[..=block]).into_bytes();
            let number = self.names.len() as u64;
            let base = BASES[usize::from(self.setup.base) % BASES.len()];
            let hash = *self.names.entry(identity).or_insert_with(|| base.wrapping_add(number));
            self.paths.insert(hash, path.clone());
            if block + 1 == from {
                named.parent = Some(hash);
            }
            if block >= from {
                named.hashes.push(hash);
                named.locals.push(path[block]);
                named.behind.push(own[BLOCK_SIZE..].to_vec());
                named.pictures.push(kinds[block] == 3);
            }
        }
        named
    }

    fn skip(&mut self, why: Skip) {
        *self.skipped.entry(why.name()).or_default() += 1;
    }

    pub fn doubt_all(&mut self, doubt: Doubt) {
        self.others.insert(doubt);
        self.ranks.values_mut().for_each(|rank| rank.doubt(doubt));
    }

    /// Returns what is expected of a rank that is named now.
    pub fn rank(&mut self, rank: u32) -> &mut Rank {
        let others = &self.others;
        self.ranks.entry(rank).or_insert_with(|| {
            let mut new = Rank::default();
            others.iter().for_each(|&doubt| new.doubt(doubt));
            new
        })
    }

    /// Says a batch. Returns its bytes.
    pub fn say(&mut self, batch: &Batch) -> Vec<u8> {
        const TOO_HIGH: u32 = 1 << 28;
        let named = batch.rank.map(|rank| match rank % 5 {
            4 => TOO_HIGH,
            rank => rank.into(),
        });
        let mut bytes = Vec::new();
        let rank_key = ["data_parallel_rank", "attn_dp_rank", "dp_rank"][usize::from(batch.rank.unwrap_or(0)) % 3];
        if batch.as_map {
            write_map_len(&mut bytes, 3).unwrap();
            write_str(&mut bytes, "ts").unwrap();
        } else {
            write_array_len(&mut bytes, 3).unwrap();
        }
        write_f64(&mut bytes, 1.5).unwrap();
        if batch.as_map {
            write_str(&mut bytes, "events").unwrap();
        }
        write_array_len(&mut bytes, batch.events.len() as u32).unwrap();
        if batch.cut {
            // It announces a rank that is not there.
            self.undecodable += 1;
            self.doubt_all(Doubt::Undecodable);
            batch.events.iter().for_each(|_| write_nil(&mut bytes).unwrap());
            return bytes;
        }
        let about = match named {
            None => Some(self.registered),
            Some(TOO_HIGH) => None,
            Some(rank) if rank != self.registered && self.registered != 0 => {
                self.contradictions += 1;
                Some(self.registered)
            }
            Some(rank) => Some(rank),
        };
        if let Some(rank) = about {
            self.rank(rank);
        }
        for said in &batch.events {
            self.event(said, about, &mut bytes);
        }
        if about.is_none() {
            self.doubt_all(Doubt::Rank);
        }
        if batch.as_map {
            write_str(&mut bytes, rank_key).unwrap();
        }
        match named {
            None => write_nil(&mut bytes).unwrap(),
            Some(rank) => bytes.extend(number(rank.into())),
        }
        bytes
    }

    fn event(&mut self, said: &Said, about: Option<u32>, bytes: &mut Vec<u8>) {
        let fault = Some(said.fault).filter(|fault| said.faulty >= 192 && fault.can_happen_to(said.what));
        let mut named = self.name(said.chain);
        let tier = if fault == Some(Fault::Medium) { UNKNOWN_MEDIUM } else { said.tier() };
        if matches!(fault, Some(Fault::Adapter | Fault::Keys)) {
            // These take the place of what else the fields would say.
            (named.adapter, named.salt) = ("", "");
            named.pictures.fill(false);
        }
        if fault == Some(Fault::Repeated) {
            named.parent = named.hashes.last().copied();
        }
        // A connector names blocks that are known.
        let is_known = |rank: &Rank| {
            rank.left_out.is_empty()
                && !rank.raised.contains(&Doubt::Unplaced)
                && named.hashes.iter().all(|&hash| rank.has(tier, hash))
        };
        if matches!(said.what, What::Store { bare: true, .. })
            && (1..UNKNOWN_MEDIUM).contains(&tier)
            && about.and_then(|rank| self.ranks.get(&rank)).is_some_and(is_known)
        {
            named.salt = "";
            named.pictures.fill(false);
        }
        let group = match said.what {
            What::Store { group, .. } | What::Remove { group } => cache_group(group, fault),
            What::Place | What::Clear => cache_group(0, fault),
        };
        let form = fitting(self.setup, said, fault, &named, group.is_some());
        encode(self.setup, said, form, fault, group, &named, bytes);

        // What cannot be read is counted before ranks are looked at.
        if let Some(fault @ (Fault::Malformed | Fault::UnknownTag)) = fault {
            self.skip(fault.skip());
            if let (Some(rank), Some(doubt)) = (about, fault.doubt()) {
                self.rank(rank).doubt(doubt);
            }
            return;
        }
        let Some(about) = about else { return self.skip(Skip::Rank) };
        let single = self.single;
        match said.what {
            What::Clear => {
                self.cleared += 1;
                self.rank(about).clear();
            }
            What::Store { .. } | What::Place => {
                if let Some((group, full)) = group {
                    self.rank(about).groups.insert(group, full);
                }
                if let Some(fault) = fault {
                    self.skip(fault.skip());
                    if let Some(why) = fault.doubt() {
                        let rank = self.rank(about);
                        named.hashes.iter().for_each(|&hash| rank.leave_out(tier, hash, why, single));
                        // Without a block, the doubt is about nothing that could be removed.
                        rank.raised.insert(why);
                    }
                    return;
                }
                self.stored += 1;
                self.blocks += named.hashes.len() as u64;
                let rank = self.rank(about);
                if said.what != What::Place {
                    rank.needs(tier, named.parent);
                    named.hashes.iter().for_each(|&hash| rank.take(tier, hash, single));
                    return;
                }
                for &hash in &named.hashes {
                    if tier == 0 {
                        // One copy more on the device can be told to nobody without its tokens.
                        rank.leave_out(tier, hash, Doubt::Location, single);
                    } else if rank.has(tier, hash) {
                        // If a store of it was left out, or had no place, the service may know nothing of it.
                        if !rank.left_out.is_empty() || rank.raised.contains(&Doubt::Unplaced) {
                            rank.raised.insert(Doubt::Location);
                        }
                        let only_left_out = (0..=tier).all(|tier| !rank.taken.contains(&(tier, hash)));
                        if only_left_out {
                            rank.leave_out(tier, hash, Doubt::Location, single);
                        } else {
                            rank.take(tier, hash, single);
                        }
                    } else {
                        rank.leave_out(tier, hash, Doubt::Location, single);
                    }
                }
            }
            What::Remove { .. } => {
                let group = group.map_or(0, |(group, _)| group);
                let rank = self.rank(about);
                if !rank.groups.get(&group).copied().unwrap_or(group == 0) {
                    return self.skip(Skip::Group);
                }
                if let Some(fault) = fault {
                    if fault == Fault::Medium {
                        if named.hashes.iter().any(|&hash| !rank.copies.contains_key(&(tier, hash))) {
                            rank.doubt(Doubt::UnknownEvent);
                        }
                        named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
                    }
                    return self.skip(fault.skip());
                }
                named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
                self.removed += 1;
                self.blocks += named.hashes.len() as u64;
            }
        }
    }
}

/// Returns the number of the cache group that an event names, and whether it uses full attention.
fn cache_group(group: u8, fault: Option<Fault>) -> Option<(u8, bool)> {
    if fault == Some(Fault::Group) {
        return Some((5, false));
    }
    match group % 3 {
        0 => None,
        1 => Some((0, true)),
        _ => Some((1, true)),
    }
}

/// Returns the form in which an event can say what it has to.
fn fitting(setup: Setup, said: &Said, fault: Option<Fault>, named: &Named, grouped: bool) -> Form {
    let of_store = matches!(said.what, What::Store { .. });
    let listed = of_store && matches!(setup.ahead, Ahead::Listed(_));
    let only_in_map = listed || matches!(fault, Some(Fault::Keys | Fault::Shared(1 | 2)));
    let adorned = of_store && (!named.adapter.is_empty() || named.pictures.contains(&true));
    match said.form {
        Form::Array | Form::Short if only_in_map => Form::Map { extra_keys: false, unknown_field: false },
        Form::Short if grouped || adorned => Form::Array,
        form => form,
    }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn nil() -> Vec<u8> {
    encoded(|to| write_nil(to).unwrap())
}

fn text(text: &str) -> Vec<u8> {
    encoded(|to| write_str(to, text).unwrap())
}

fn number(number: u64) -> Vec<u8> {
    encoded(|to| {
        write_uint(to, number).unwrap();
    })
}

fn list(elements: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, elements.len() as u32).unwrap();
    elements.for_each(|element| bytes.extend(element));
    bytes
}

fn tokens(tokens: &[u32]) -> Vec<u8> {
    list(tokens.iter().map(|&token| number(token.into())))
}

fn hash(form: HashForm, hash: u64) -> Vec<u8> {
    match form {
        HashForm::Unsigned => number(hash),
        HashForm::Signed => encoded(|to| {
            write_sint(to, hash.cast_signed()).unwrap();
        }),
        HashForm::Digest(longer) => {
            let mut digest = vec![0xd1; usize::from(longer % 34)];
            digest.extend(hash.to_be_bytes());
            encoded(|to| write_bin(to, &digest).unwrap())
        }
    }
}

/// One of an event's fields that an array has in this order; maps have names for them.
type Field = (&'static str, Vec<u8>);

fn encode(
    setup: Setup,
    said: &Said,
    form: Form,
    fault: Option<Fault>,
    group: Option<(u8, bool)>,
    named: &Named,
    bytes: &mut Vec<u8>,
) {
    let tag = match said.what {
        _ if fault == Some(Fault::UnknownTag) => "TierBlocksCleared",
        What::Store { .. } | What::Place => "BlockStored",
        What::Remove { .. } => "BlockRemoved",
        What::Clear => "AllBlocksCleared",
    };
    let names = MEDIA[said.tier()];
    let medium = match (fault, names[usize::from(said.name) % names.len()]) {
        (Some(Fault::Medium), _) => text("cuda:0"),
        (Some(Fault::Shared(1 | 2)), "") | (None, "") => nil(),
        (Some(Fault::Shared(kind)), _) if !matches!(kind, 1 | 2) => text("EXTERNAL"),
        (Some(Fault::Malformed), _) if matches!(said.what, What::Remove { .. }) => number(7),
        (_, name) => text(name),
    };
    let group_number = group.map_or_else(nil, |(group, _)| number(group.into()));
    let hashes = list(named.hashes.iter().map(|&other| hash(setup.hashes, other)));
    let (mut fields, more): (Vec<Field>, Vec<Field>) = match said.what {
        What::Clear => (Vec::new(), Vec::new()),
        What::Remove { .. } => {
            (vec![("block_hashes", hashes), ("medium", medium), ("group_idx", group_number)], Vec::new())
        }
        What::Place => {
            let parent =
                if fault == Some(Fault::Malformed) { encoded(|to| write_bool(to, true).unwrap()) } else { nil() };
            let mut fields = vec![
                ("block_hashes", hashes),
                ("parent_block_hash", parent),
                ("token_ids", tokens(&[])),
                ("block_size", number(0)),
                ("lora_id", nil()),
                ("medium", medium),
            ];
            if let Some((_, full)) = group {
                let kind = text(if full { "full_attention" } else { "mamba" });
                let nothing = [("lora_name", nil()), ("extra_keys", nil())];
                fields.extend(nothing);
                fields.extend([("group_idx", group_number), ("kv_cache_spec_kind", kind)]);
            }
            (fields, Vec::new())
        }
        What::Store { .. } => stored(setup, form, fault, group, named, hashes, medium, group_number),
    };
    if form == Form::Short && fields.last().is_some_and(|(name, _)| *name == "group_idx") {
        fields.pop();
    }
    let as_map = matches!(form, Form::Map { .. } | Form::Packed);
    let event = encoded(|to| {
        if as_map {
            let mut fields = [fields, more, vec![("type", text(tag))]].concat();
            if matches!(form, Form::Map { unknown_field: true, .. }) {
                fields.push(("session_id", list([text("s-1"), nil()].into_iter())));
            }
            let places = fields.len();
            fields.rotate_left(usize::from(said.name) % places);
            write_map_len(to, fields.len() as u32).unwrap();
            for (name, value) in fields {
                write_str(to, name).unwrap();
                to.extend(value);
            }
        } else {
            write_array_len(to, 1 + fields.len() as u32).unwrap();
            write_str(to, tag).unwrap();
            fields.into_iter().for_each(|(_, value)| to.extend(value));
        }
    });
    if form == Form::Packed { write_bin(bytes, &event).unwrap() } else { bytes.extend(event) }
}

/// Returns the fields of an event that stores blocks, first those that an array has.
#[allow(clippy::too_many_arguments, reason = "each is a field, or decides about several")]
fn stored(
    setup: Setup,
    form: Form,
    fault: Option<Fault>,
    group: Option<(u8, bool)>,
    named: &Named,
    hashes: Vec<u8>,
    medium: Vec<u8>,
    group_number: Vec<u8>,
) -> (Vec<Field>, Vec<Field>) {
    let parent = match named.parent {
        _ if fault == Some(Fault::Malformed) => encoded(|to| write_bool(to, true).unwrap()),
        None => nil(),
        Some(parent) => hash(setup.hashes, parent),
    };
    let missing = usize::from(fault == Some(Fault::Misfit));
    let said = if matches!(setup.ahead, Ahead::Bigrams) {
        let pairs = named.tokens.windows(2).map(tokens);
        list(pairs.take(named.tokens.len() - 1 - missing).collect::<Vec<_>>().into_iter())
    } else {
        tokens(&named.tokens[..named.tokens.len() - missing])
    };
    // In a map, the salt has a field of its own or is among the extra keys of a sequence's first block, as in a long
    // array. In a short one, it is in the place of the adapter.
    let in_keys = matches!(form, Form::Map { extra_keys: true, .. } | Form::Array);
    let salt_in_keys = in_keys && named.at_root && !named.salt.is_empty();
    let mut adorned = false;
    let keys = list(
        (0..named.hashes.len())
            .map(|block| {
                let mut keys = Vec::new();
                if !named.adapter.is_empty() {
                    keys.push(text(named.adapter));
                }
                if named.pictures[block] {
                    keys.push(list([text(PICTURE), number(0)].into_iter()));
                }
                if salt_in_keys && block == 0 {
                    keys.push(text(named.salt));
                }
                if fault == Some(Fault::Keys) && block == 0 {
                    keys.extend([text("one"), text("another")]);
                }
                adorned |= !keys.is_empty();
                if keys.is_empty() { nil() } else { list(keys.into_iter()) }
            })
            .collect::<Vec<_>>()
            .into_iter(),
    );
    let keys = if adorned { keys } else { nil() };
    let salt_in_place_of_adapter = form == Form::Short && !named.salt.is_empty();
    let adapter = if salt_in_place_of_adapter {
        let salt = text(named.salt);
        encoded(|to| {
            write_map_len(to, 1).unwrap();
            write_str(to, "cache_salt").unwrap();
            to.extend(salt);
        })
    } else if named.adapter.is_empty() {
        nil()
    } else {
        text(named.adapter)
    };
    let has_adapter = fault == Some(Fault::Adapter) || !named.adapter.is_empty();
    let mut fields = vec![
        ("block_hashes", hashes),
        ("parent_block_hash", parent),
        ("token_ids", said),
        ("block_size", number(if fault == Some(Fault::BlockSize) { 4 } else { BLOCK_SIZE as u64 })),
        ("lora_id", if has_adapter { number(7) } else { nil() }),
        ("medium", medium),
        ("lora_name", adapter),
    ];
    if form != Form::Short {
        let kind = group.map_or_else(nil, |(group, full)| {
            text(match (full, group) {
                (false, _) => "mamba",
                (true, 0) => "full_attention",
                (true, _) => "mla_attention",
            })
        });
        fields.extend([("extra_keys", keys), ("group_idx", group_number), ("kv_cache_spec_kind", kind)]);
    }
    let mut more = Vec::new();
    if !named.salt.is_empty() && !salt_in_keys && matches!(form, Form::Map { extra_keys: false, .. } | Form::Packed) {
        more.push(("cache_salt", text(named.salt)));
    }
    if matches!(setup.ahead, Ahead::Listed(_)) {
        more.push(("lookahead_token_ids", list(named.behind.iter().map(|behind| tokens(behind)))));
    }
    match fault {
        Some(Fault::Shared(1)) => more.push(("locality", text("REMOTE"))),
        Some(Fault::Shared(2)) => more.push(("ownership", text("kvcr"))),
        _ => {}
    }
    (fields, more)
}

/// An event in JSON.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Spoken {
    what: SpokenWhat,
    chain: Chain,
    tier: u8,
    rank: u8,
    id: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum SpokenWhat {
    Store,
    Remove,
    Clear,
}

/// The tier of storage that no instance owns.
const EXTERNAL: u8 = 3;
const TOO_HIGH: u32 = 1 << 28;

impl Spoken {
    fn rank(self) -> u32 {
        if self.rank % 8 == 7 { TOO_HIGH } else { u32::from(self.rank % 3) }
    }

    /// Returns the number of the event behind one with the number before `next`.
    fn number(self, next: u64) -> u64 {
        match self.id % 8 {
            0..5 => next,
            5 => next.saturating_sub(1),
            6 => next + 2,
            _ => next.saturating_sub(3),
        }
    }
}

/// Says an event over HTTP, and notes what is to be expected. Returns it in JSON.
pub fn speak(engine: &mut Engine, said: Spoken, next: &mut u64, applied: &mut Applied) -> Value {
    let (tier, rank, id) = (said.tier % 4, said.rank(), said.number(*next));
    match *next {
        0 if id > 1 => engine.doubt_all(Doubt::JoinedLate),
        0 => {}
        next if id > next || id + 1 < next => engine.doubt_all(Doubt::EventIds),
        _ => {}
    }
    *next = id + 1;
    let named = engine.name(said.chain);
    let data = match said.what {
        SpokenWhat::Store => {
            let blocks = named.hashes.iter().zip(&named.locals);
            let blocks: Vec<_> =
                blocks.map(|(hash, local)| json!({"block_hash": hash, "tokens_hash": local})).collect();
            json!({"stored": {"parent_hash": named.parent, "blocks": blocks}})
        }
        SpokenWhat::Remove => json!({"removed": {"block_hashes": named.hashes}}),
        SpokenWhat::Clear => json!("cleared"),
    };
    let mut event = json!({"worker_id": 9, "event": {"event_id": id, "data": data}});
    if rank > 0 {
        event["event"]["dp_rank"] = rank.into();
    }
    if tier > 0 {
        event["storage_tier"] = ["device", "host_pinned", "disk", "external"][usize::from(tier)].into();
    }
    if rank == TOO_HIGH || tier == EXTERNAL {
        let why = if rank == TOO_HIGH { Skip::Rank } else { Skip::Shared };
        *engine.skipped.entry(why.name()).or_default() += 1;
        applied.skipped += 1;
        if rank == TOO_HIGH {
            engine.doubt_all(Doubt::Rank);
        }
        return event;
    }
    applied.events += 1;
    let (tier, rank) = (usize::from(tier), engine.rank(rank));
    let blocks = named.hashes.len() as u64;
    match said.what {
        SpokenWhat::Store => {
            rank.needs(tier, named.parent);
            named.hashes.iter().for_each(|&hash| rank.take(tier, hash, true));
            (engine.stored, engine.blocks) = (engine.stored + 1, engine.blocks + blocks);
            applied.blocks += blocks;
        }
        SpokenWhat::Remove => {
            named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
            (engine.removed, engine.blocks) = (engine.removed + 1, engine.blocks + blocks);
            applied.blocks += blocks;
        }
        SpokenWhat::Clear => {
            rank.clear();
            engine.cleared += 1;
        }
    }
    event
}

/// By worker of the index, the local hashes on the way to each block that it holds, by sequence hash.
pub type Held = BTreeMap<Worker, BTreeMap<u64, Vec<u64>>>;

pub fn held(model: &Model) -> Held {
    let mut held = Held::new();
    for event in model.index().export().unwrap() {
        let of = held.entry(event.worker).or_default();
        match event.data {
            EventData::Stored { parent, blocks } => {
                let mut path = parent.map_or_else(Vec::new, |parent| of[&parent].clone());
                for block in blocks {
                    path.push(block.local);
                    of.insert(block.sequence, path.clone());
                }
            }
            EventData::Removed { blocks } => blocks.iter().for_each(|hash| drop(of.remove(hash))),
            _ => {}
        }
    }
    held
}
