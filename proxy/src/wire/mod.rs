//! The MySQL packet codec: bytes to values and back, without a socket.
//!
//! Any bytes are decoded to a value or an error, never to a panic. What is relayed is not decoded at all: [`scan`]
//! looks at packet headers only.

pub mod charset;
pub mod command;
pub mod connect;
pub mod cursor;
pub mod frame;
pub mod greeting;
mod key;
pub mod parse;
pub mod prepared;
pub mod reply;
pub mod scan;
#[cfg(test)]
mod tests;
