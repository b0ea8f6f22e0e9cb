//! Changes of the rule file and of `shardway.toml`: seen in their folders, because editors replace files; and SIGHUP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Control;

/// An editor writes in several steps; the last one counts.
const SETTLED: Duration = Duration::from_millis(100);

/// Watches until the process ends. What a change comes to is in the log and in the status.
///
/// # Errors
/// When a folder cannot be watched.
pub(super) fn start(control: &Arc<Control>) -> anyhow::Result<()> {
    let mut rules = Watched::start(&control.shared.config.rules)?;
    let mut process = Watched::start(&control.shared.config.file)?;
    let mut hangup = signal(SignalKind::hangup())?;
    let control = Arc::clone(control);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = rules.changes.recv() => {
                    rules.settle().await;
                    let _ = control.reload_rules("file").await;
                }
                Some(()) = process.changes.recv() => {
                    process.settle().await;
                    let _ = control.renew();
                }
                Some(()) = hangup.recv() => {
                    tracing::info!("SIGHUP: the files are read again");
                    let _ = control.reload("SIGHUP").await;
                }
                else => return,
            }
        }
    });
    Ok(())
}

/// A file whose changes are told.
struct Watched {
    changes: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Watched {
    fn start(file: &Path) -> anyhow::Result<Watched> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().map(ToOwned::to_owned);
        let (changed, changes) = mpsc::channel(16);
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
        Ok(Watched { changes, _watcher: watcher })
    }

    /// Waits until the file has come to rest.
    async fn settle(&mut self) {
        while let Ok(Some(())) = tokio::time::timeout(SETTLED, self.changes.recv()).await {}
    }
}
