//! Waiting until the other side has everything that the authority had.

use std::pin::Pin;

use crate::tables::WorkError;

/// Brings the other side up to a moment that lies after the call.
///
/// Implemented by the stream (it writes marks and waits until they are applied) and by the journal of dirty keys (it
/// heals until no entry is left), for moves that have no stream.
pub trait Converge: Send + Sync {
    /// Returns once the other side holds every write that was committed before the call.
    ///
    /// # Errors
    /// [`WorkError`] when that cannot be had in a bounded time: what is unknown counts as not converged.
    fn converge(&self) -> Pin<Box<dyn Future<Output = Result<(), WorkError>> + Send + '_>>;
}
