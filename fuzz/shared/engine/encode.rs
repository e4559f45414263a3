//! Events as bytes, written from the descriptions of the formats.

use rmp::encode::{
    write_array_len, write_bin, write_bool, write_map_len, write_nil, write_sint, write_str, write_uint,
};

use super::said::{Ahead, Fault, Form, HashForm, Said, Setup, What};
use super::{BLOCK_SIZE, Named, PICTURE};

/// Names of media, by tier; an empty one is left out.
const MEDIA: [&[&str]; 3] = [
    &["", "GPU", "gpu", "Device", "HBM"],
    &["CPU", "cpu_pinned", "CPU_TIER1", "dram"],
    &["DISK", "STORAGE", "NVMe", "fs"],
];

/// Returns the form in which an event can say what it has to.
pub fn fitting(setup: Setup, said: &Said, fault: Option<Fault>, named: &Named, grouped: bool) -> Form {
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

pub fn number(number: u64) -> Vec<u8> {
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

/// Appends the bytes of an event.
pub fn encode(
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
