//! Writing to both sides of a key while it moves.
//!
//! - The authority answers: the client sees its rows, warnings and affected count.
//! - The other side receives row images, not statements, at commit and while the authority's row locks are still held;
//!   so the order of two writes to a row is the same on both sides.
//! - Every touched key is recorded as dirty in the authority's own transaction, and forgotten only once the other side
//!   has committed too. A difference nobody recorded is the one outcome this module must not produce.
//!
//! The pair is not atomic; a crash between the commits leaves a difference and its record, and healing follows the
//! record. `strict` and `sync` differ in what the client hears when the other side refuses.
