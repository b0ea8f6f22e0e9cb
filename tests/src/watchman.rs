//! Who says whether work may go on: what `throttle.check_url` asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::until;

/// Answers over HTTP for as long as the runtime of its test goes on.
#[derive(Debug, Clone)]
pub struct Watchman {
    port: u16,
    says_go: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Watchman {
    /// Begins to answer, with "go".
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Watchman {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let watchman = Watchman { port, says_go: Arc::new(AtomicBool::new(true)), asked: Arc::default() };
        let Watchman { says_go, asked, .. } = watchman.clone();
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                let _ = caller.read(&mut request).await;
                asked.fetch_add(1, Ordering::SeqCst);
                let status = if says_go.load(Ordering::SeqCst) { "200 OK" } else { "503 Wait" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = caller.write_all(answer.as_bytes()).await;
            }
        });
        watchman
    }

    /// A line of the rules that asks.
    #[must_use]
    pub fn limit(&self) -> String {
        format!("throttle = {{ check_url = \"http://127.0.0.1:{}/\" }}", self.port)
    }

    /// Says "go" from now on.
    pub fn says_go(&self) {
        self.says_go.store(true, Ordering::SeqCst);
    }

    /// Says "wait" from now on.
    pub fn says_wait(&self) {
        self.says_go.store(false, Ordering::SeqCst);
    }

    /// Returns when it has been asked a few times more.
    ///
    /// # Panics
    /// When nobody asks for half a minute.
    pub async fn is_heard(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        until("the watchman has been asked", Duration::from_secs(30), async || {
            (self.asked.load(Ordering::SeqCst) > before + 2).then_some(())
        })
        .await;
    }
}
