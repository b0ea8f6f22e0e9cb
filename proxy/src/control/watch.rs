//! The rule file's changes: seen in its folder, because editors replace files; and SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Control;

/// An editor writes in several steps; the last one counts.
const SETTLED: Duration = Duration::from_millis(100);

/// Watches until the process ends.
///
/// # Errors
/// When the folder cannot be watched.
pub(super) fn start(control: &Arc<Control>) -> anyhow::Result<()> {
    let file = control.shared.config.rules.clone();
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let name = file.file_name().map(ToOwned::to_owned);
    let (changed, mut changes) = mpsc::channel(16);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            // A full queue already holds what this would say.
            let _ = changed.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    let mut hangup = signal(SignalKind::hangup())?;
    let control = Arc::clone(control);
    tokio::spawn(async move {
        let _watcher = watcher;
        loop {
            let reason = tokio::select! {
                seen = changes.recv() => {
                    if seen.is_none() {
                        return;
                    }
                    while let Ok(Some(())) = tokio::time::timeout(SETTLED, changes.recv()).await {}
                    "file"
                }
                _ = hangup.recv() => "SIGHUP",
            };
            let _ = control.reload(reason).await;
        }
    });
    Ok(())
}
