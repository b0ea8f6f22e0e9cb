//! Named steps at which a test holds a move still, to kill something exactly there.
//!
//! Only a build with debug assertions can be held, and only when `SHARDWAY_TEST_STEP` names a file as it starts: then
//! the process waits at the step that the file names for as long as it names it, and says so in its log. A release build
//! has no such code.

use shardway_migration::phase::Phase;

/// A place in the life of a move. Those of a switch are in the order of their names here; a step is reached when what it
/// names is done and nothing of the next has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The gates are closed and nobody is inside. The fence, which lets what is on its way at the servers end, comes next.
    Hold,
    /// The other side has everything.
    Drain,
    /// The counters are raised, and it is known where the new streams begin.
    Position,
    /// The intent is saved.
    Intent,
    /// The old streams have stopped.
    Unfollow,
    /// The new version is noted: the point of no return.
    Journal,
    /// The new rules are in force, and the gates are open.
    Publish,
    /// The move's state says so as well; the new streams do not run yet.
    Reverse,
    /// A cleanup is about to give a table another name; that it will is saved.
    PutAside,
    /// The table has it; that it has is not saved.
    Aside,
    /// Some rows of a table that is being dropped are deleted.
    Emptying,
    /// The table is dropped; that it is is not saved.
    Gone,
    /// The work of a phase is about to begin.
    Work(Phase),
    /// Both sides have been brought to one moment, for a comparison or on the way to it.
    Converge(Phase),
}

/// Waits here if a test asks for it.
#[cfg(debug_assertions)]
pub async fn reached(step: Step) {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os("SHARDWAY_TEST_STEP").map(PathBuf::from)) else {
        return;
    };
    let name = format!("{step:?}");
    let is_asked = || std::fs::read_to_string(file).is_ok_and(|asked| asked == name);
    if is_asked() {
        tracing::warn!("a test holds this process at {name}");
    }
    while is_asked() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nobody is held in a build for production.
#[cfg(not(debug_assertions))]
pub async fn reached(_: Step) {}
