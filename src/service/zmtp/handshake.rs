//! The beginning of a connection: greetings, and what each side says it is.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::Error;
use super::frames::{Arrived, Reader, encode};
use super::role::Role;

/// The length of a greeting.
const GREETING: usize = 64;

/// Where the protocol's version is in a greeting, and the mechanism behind it.
const VERSION: usize = 10;
const MECHANISM: std::ops::Range<usize> = 12..32;

/// The name of the property that says what a socket is.
const SOCKET_TYPE: &[u8] = b"Socket-Type";

/// Greets the other end, and checks that it is what `role` needs.
pub(super) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reader: &mut Reader,
    role: Role,
) -> Result<(), Error> {
    let mut greeting = [0; GREETING];
    (greeting[0], greeting[9], greeting[VERSION]) = (0xff, 0x7f, 3);
    greeting[MECHANISM][..4].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await?;
    stream.read_exact(&mut greeting).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::Closed,
        _ => Error::Broken(error),
    })?;
    let refused = |why: String| Err(Error::Handshake(why));
    if (greeting[0], greeting[9] & 1) != (0xff, 1) {
        return refused("it does not speak ZMTP; is this the address of something else?".to_owned());
    }
    if greeting[VERSION] < 3 {
        return refused(format!("it speaks ZMTP {}, which ended with ZeroMQ 3", greeting[VERSION]));
    }
    let mechanism = text(greeting[MECHANISM].split(|&byte| byte == 0).next().unwrap_or_default());
    if mechanism != "NULL" {
        return refused(format!("it wants the security mechanism {mechanism}, and only NULL is supported"));
    }
    let ready = [b"\x05READY".as_slice(), &property(SOCKET_TYPE, role.name()), &property(b"Identity", b"")].concat();
    stream.write_all(&encode(&[&ready], true)).await?;
    let command = match reader.next(stream).await? {
        Arrived::Command(command) => command,
        Arrived::Message(_) => return Err(Error::Protocol("a message came before the command READY")),
    };
    let kind = match command.strip_prefix(b"\x05READY") {
        Some(properties) => find(properties, SOCKET_TYPE).ok_or(Error::Protocol("READY cannot be read"))?,
        None => match command.strip_prefix(b"\x05ERROR") {
            Some(why) => return refused(format!("it answered {:?}", text(why.get(1..).unwrap_or_default()))),
            None => return Err(Error::Protocol("the first command is not READY")),
        },
    };
    if !role.partners().contains(&kind) {
        let hint = if kind == b"ROUTER" || kind == b"PUB" { "; are endpoint and replay_endpoint swapped?" } else { "" };
        return refused(format!("its socket is a {}, and {} is needed{hint}", text(kind), text(role.partners()[0])));
    }
    Ok(())
}

/// Returns a property of READY.
fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, &(value.len() as u32).to_be_bytes(), value].concat()
}

/// Returns the value of the property with this name, in upper or lower case; `None` if it is missing or the properties
/// are malformed.
fn find<'p>(mut properties: &'p [u8], wanted: &[u8]) -> Option<&'p [u8]> {
    loop {
        let (&length, rest) = properties.split_first()?;
        let (name, rest) = rest.split_at_checked(length.into())?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        properties = rest;
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(64)];
    bytes.escape_ascii().to_string()
}
