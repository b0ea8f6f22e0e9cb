//! The process's log: its form is chosen once, its level may change.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use crate::config::{Log, LogFormat};

type SetLevel = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Begins to log, to standard error.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&log.level)?).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            remember(builder.reload_handle());
            builder.init();
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            remember(builder.reload_handle());
            builder.init();
        }
    }
    Ok(())
}

/// Logs as that filter says from now on.
///
/// # Errors
/// When it is no filter.
pub fn level(text: &str) -> Result<(), String> {
    let filter = filter(text)?;
    SET_LEVEL.get().map_or(Ok(()), |set| set(filter))
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| format!("log.level: {error}"))
}

fn remember<S: 'static>(handle: Handle<EnvFilter, S>) {
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // A process starts its log once.
    let _ = SET_LEVEL.set(Box::new(set));
}
