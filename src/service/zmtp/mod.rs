//! The receiving half of ZMTP 3, the protocol under `ZeroMQ` sockets: what a subscriber, and a client that asks for
//! replays, need of it (<https://rfc.zeromq.org/spec/23/>).
//!
//! It is written here because no library bounds what a publisher can make it hold. The decoder of `zeromq` reserves
//! whatever a frame announces, and an absurd announcement ends the process; `rzmq` panics at a message of 256 frames,
//! does not say why a connection ended, and bounds its queues in messages; `libzmq` did not connect again after a
//! message beyond its bound. Here, memory is taken as bytes arrive, from one allowance for all connections together,
//! and a connection that asks for too much ends with the reason.
//!
//! Connections are neither authenticated nor encrypted (mechanism NULL): no inference engine offers more.

mod connection;
mod endpoint;
mod error;
mod frames;
mod handshake;
mod memory;
mod role;

pub(in crate::service) use connection::Connection;
pub(in crate::service) use endpoint::{Endpoint, Listener, Stream};
pub(in crate::service) use error::Error;
pub(in crate::service) use frames::{Limits, Message};
pub(in crate::service) use memory::Memory;
pub(in crate::service) use role::Role;
