//! Reads arbitrary bytes as a snapshot, which must neither panic nor allocate for more than is there. With a correct
//! checksum, the content must be refused, or be the same after it is read, written and read again.
#![no_main]

use std::hash::Hasher;
use std::io::Cursor;

use kvleap::service::Models;
use kvleap::service::snapshot::{Reader, Record, Writer, restore};
use kvleap::{BlockHasher, Index};
use libfuzzer_sys::fuzz_target;
use twox_hash::XxHash3_64;

/// Returns a file with a header, a model, `content` where the records should be, and a correct checksum.
fn sealed(content: &[u8]) -> Vec<u8> {
    // Postcard's variable length: seven bits a byte, the lowest first.
    let hashing = BlockHasher::new(4).unwrap().hash_block(&[]);
    let digits = (0..10).map(|digit| (hashing >> (7 * digit)) as u8 & 0x7f | if digit < 9 { 0x80 } else { 0 });
    let model: Vec<u8> = [1, b'm', 1, b'g', 0, 4].into_iter().chain(digits).collect();
    let header = [&[1, 5, 0, 0, 0, 0, 3, b'0', b'.', b'1', 2, model.len() as u8, 0, 0, 0][..], &model].concat();
    let mut file = b"kvleap\0I\x02\0\0\0".to_vec();
    file.extend(zstd::encode_all(&[&header, content].concat()[..], 1).unwrap());
    let mut sum = XxHash3_64::new();
    sum.write(&file);
    file.extend(sum.finish().to_le_bytes());
    file
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut reader = Reader::new("fuzzed", Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
        records.push(record);
    }
    Ok(records)
}

fuzz_target!(|content: &[u8]| {
    // First the input as it is, which is hardly ever a snapshot, then as the content of one.
    let _ = read(content);
    let bytes = sealed(content);
    let path = std::env::temp_dir().join(format!("kvleap-fuzz-snapshot-{}", std::process::id()));
    if let Ok(records) = read(&bytes) {
        let mut writer = Writer::create(&path).unwrap();
        for record in &records {
            match record {
                Record::Model(model) => writer.model(model),
                Record::Publisher(rank) => writer.publisher(rank),
                Record::Event(event) => writer.event(event),
            }
            .unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(read(&std::fs::read(&path).unwrap()), Ok(records));
    }
    std::fs::write(&path, &bytes).unwrap();
    // Every error has a message.
    let _ = restore(&path, Models::new(Index::builder(), 4)).map_err(|error| assert!(!error.to_string().is_empty()));
    let _ = std::fs::remove_file(&path);
});
