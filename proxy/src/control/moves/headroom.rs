//! How long the servers of a move's streams keep what the streams have not read, and the alert that comes with it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use shardway_migration::reading::Reading;
use shardway_migration::retention::{self, Kept};
use shardway_migration::settings::AlertRule;
use shardway_routing::topology::{Move, Seen, Server, Topology};

use super::{MoveState, Streams};
use crate::control_connection::{answer_within, connect};
use crate::shared::Shared;

/// Between two questions to a server.
const ASK_EVERY_MS: u64 = 5_000;

/// What is remembered of a move between two looks.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    asked_ms: Option<u64>,
    /// By backend; `None`: it did not say.
    kept: BTreeMap<String, Option<Kept>>,
    /// The last delay that was known, and when. What has not been read since grows older.
    delay: Option<(f64, u64)>,
    /// By server's address: where its stream begins when it is begun anew, and since when.
    saved: BTreeMap<String, (String, u64)>,
    /// The shortest retention that was told last.
    shortest_s: Option<u64>,
}

impl Headroom {
    pub(super) async fn look(
        &mut self,
        shared: &Shared,
        topology: &Topology,
        of: &Move,
        known: &MoveState,
        streams: Option<&Streams>,
        now_ms: u64,
    ) -> Reading {
        let reads_logs = |side| of.capture.seen(side) == Seen::ByLog;
        if !known.state.phase().follows().iter().copied().any(reads_logs) || known.starts.is_empty() {
            *self = Headroom::default();
            return Reading::NotNow;
        }
        let held_s = self.held_s(streams, now_ms);
        let lag = streams.and_then(|streams| streams.lag).map(|lag| lag.as_secs_f64().max(held_s));
        self.delay = lag.map(|lag| (lag, now_ms)).or(self.delay);
        let delay_s = self.delay.map(|(lag, since)| lag + now_ms.saturating_sub(since) as f64 / 1_000.0);
        let read: Vec<(&String, &Server)> = known
            .starts
            .keys()
            .filter_map(|name| {
                topology.backends.iter().find(|of| of.name == *name).map(|of| (name, &of.primary))
            })
            .collect();
        if self.asked_ms.is_none_or(|asked| now_ms.saturating_sub(asked) >= ASK_EVERY_MS) {
            self.asked_ms = Some(now_ms);
            let asked = read.iter().map(|(name, server)| async move {
                // Waiting for one that is down would keep the move from being looked at.
                let is_down = shared.health(name).down().is_some();
                ((*name).clone(), if is_down { None } else { ask(server).await })
            });
            self.kept = join_all(asked).await.into_iter().collect();
            let told = self.kept.values().flatten().filter_map(|kept| kept.for_s).min();
            self.shortest_s = told.or(self.shortest_s);
        }
        retention::least(read.into_iter().map(|(name, server)| match self.kept.get(name) {
            Some(Some(kept)) => retention::headroom(kept, file(streams, server).as_deref(), delay_s),
            _ => Reading::Unknown,
        }))
    }

    /// For how long a stream's place has stayed where it is: heartbeats move it every second, unless a prepared XA
    /// transaction holds it back, however close the stream follows.
    fn held_s(&mut self, streams: Option<&Streams>, now_ms: u64) -> f64 {
        let tails = streams.map(|streams| streams.tails.as_slice()).unwrap_or_default();
        let held_ms = tails.iter().filter_map(|(address, _, position, _)| {
            let position = position.as_ref()?;
            let (before, since_ms) =
                self.saved.entry(address.clone()).or_insert_with(|| (position.clone(), now_ms));
            if before != position {
                (*before, *since_ms) = (position.clone(), now_ms);
            }
            Some(now_ms.saturating_sub(*since_ms))
        });
        held_ms.max().unwrap_or(0) as f64 / 1_000.0
    }

    /// The alert that every move has whose streams' servers forget.
    pub(super) fn rule(&self) -> Option<AlertRule> {
        self.shortest_s.map(retention::warning)
    }
}

/// The log file that the stream of a server is in.
fn file(streams: Option<&Streams>, server: &Server) -> Option<String> {
    let address = format!("{}:{}", server.host, server.port);
    let (_, _, position, _) = streams?.tails.iter().find(|(of, ..)| *of == address)?;
    position.as_deref()?.rsplit_once(':').map(|(file, _)| file.to_owned())
}

async fn ask(server: &Server) -> Option<Kept> {
    let kept = answer_within(async {
        let mut connection = connect(server).await?;
        let kept = retention::ask(&mut connection).await;
        let _ = connection.disconnect().await;
        kept
    });
    kept.await.inspect_err(|error| tracing::debug!(%error, "nobody knows how long a log is kept")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_stays_is_as_old_as_its_last_step() {
        let streams = |position: &str| Streams {
            tails: vec![("a:1".to_owned(), "following".to_owned(), Some(position.to_owned()), 0)],
            lag: None,
            arrived: None,
            waits_for: None,
        };
        let mut of = Headroom::default();
        for (position, now_ms, held_s) in
            [("b.1:4", 1_000, 0.0), ("b.1:9", 2_000, 0.0), ("b.1:9", 62_000, 60.0), ("b.2:4", 63_000, 0.0)]
        {
            assert!((of.held_s(Some(&streams(position)), now_ms) - held_s).abs() < 0.01, "{position}");
        }
    }
}
