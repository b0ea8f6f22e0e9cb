//! Rollback points: what held at a moment, so that a person can say "back to there".
//!
//! One is made before and one after every switch, outside the time in which statements are held, and on demand; before an
//! emergency of what can be had at once. A point
//! carries the text of its rules, so it does not depend on the history. The last 50 of a move are kept, in one file a
//! move, and the one that a rollback under way leads to. A server that is away is named in the point; that there is no
//! point keeps no switch from happening.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardway_migration::point::{self, Servers};
use shardway_migration::position::Position;
use shardway_migration::report::{Evidence, LastSwitch};
use shardway_routing::refusal;
use shardway_routing::topology::Topology;

use super::barrier::Crossing;
use super::state::Authority;
use super::{Moves, find, moves};
use crate::control::history::Version;
use crate::control::store::now_s;
use crate::durable;

const KEPT: usize = 50;
/// Why a point was made that nobody but an operator may have use for.
const ASKED_FOR: &str = "an operator asked for it";
/// How long a server may take to tell about itself when a switch waits for it.
const ASK_MAX: Duration = Duration::from_millis(800);
/// The same in an emergency, which waits for nobody who is away.
const ASK_AT_ONCE: Duration = Duration::from_millis(300);
/// The same when nobody waits.
const ASK_PATIENTLY: Duration = Duration::from_secs(10);

/// One point of one move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub id: u64,
    /// Unique in its move.
    pub name: String,
    /// Seconds since 1970.
    pub at: u64,
    pub reason: String,
    pub rules_version: u64,
    pub phase: String,
    /// Who owned writes.
    pub authority: Authority,
    /// Where the streams of that epoch began, by backend: after a switch, its exact place.
    pub streams_begin: BTreeMap<String, Position>,
    #[serde(flatten)]
    pub servers: Servers,
    /// The last backup before it.
    pub backup: Option<u64>,
    /// The text of the rules.
    #[serde(default)]
    pub rules: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    last_id: u64,
    points: Vec<Point>,
}

/// The files of all moves.
#[derive(Debug)]
pub(super) struct Points {
    folder: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl Points {
    pub(super) fn open(state: &Path) -> std::io::Result<Points> {
        let folder = state.join("points");
        std::fs::create_dir_all(&folder)?;
        Ok(Points { folder, one_at_a_time: Mutex::default() })
    }

    fn read(&self, name: &str) -> Result<Saved, String> {
        let file = self.folder.join(format!("{name}.json"));
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("{} cannot be read: {error}; restore or remove it", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Saved::default()),
            Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        }
    }

    /// Adds a point, and forgets the oldest that nobody refers to: those of switches before those that were asked for, which
    /// a switch that is tried again and again must not push out.
    fn add(&self, of: &str, mut point: Point, referred: Option<u64>) -> Result<Point, String> {
        let _one_at_a_time = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut saved = self.read(of)?;
        if saved.points.iter().any(|known| known.name == point.name) {
            return Err(format!("{of} has a point named {} already; choose another name", point.name));
        }
        saved.last_id += 1;
        point.id = saved.last_id;
        if point.name.is_empty() {
            point.name = format!("point-{}", point.id);
        } else if let Some(stem) = point.name.strip_suffix('#') {
            point.name = format!("{stem}{}", point.id);
        }
        saved.points.push(point.clone());
        while saved.points.len() > KEPT {
            let may_go = |old: &Point| Some(old.id) != referred && old.id != point.id;
            let oldest = |may_go: &dyn Fn(&Point) -> bool| saved.points.iter().position(may_go);
            let of_a_switch = oldest(&|old| may_go(old) && old.reason != ASKED_FOR);
            let Some(at) = of_a_switch.or_else(|| oldest(&may_go)) else { break };
            saved.points.remove(at);
        }
        let file = self.folder.join(format!("{of}.json"));
        let written = serde_json::to_vec_pretty(&saved)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&file, &bytes));
        written.map_err(|error| format!("the point cannot be saved: {error}"))?;
        Ok(point)
    }
}

impl Moves {
    /// The points of a move, oldest first.
    ///
    /// # Errors
    /// When their file cannot be read.
    pub fn points(&self, name: &str) -> Result<Vec<Point>, String> {
        Ok(self.points.read(name)?.points)
    }

    /// The point that an operator names, by id or name.
    ///
    /// # Errors
    /// SHD1467.
    pub fn point(&self, of: &str, named: &str) -> Result<Point, String> {
        let points = self.points(of)?;
        let is_it = |point: &&Point| point.name == named || point.id.to_string() == named;
        let found = points.iter().rev().find(is_it).cloned();
        found.ok_or_else(|| refusal::NO_POINT.because(format!("{of} has no point {named}")).to_string())
    }

    /// Makes a point because somebody asks for it.
    ///
    /// # Errors
    /// When the name cannot be had or the point cannot be saved.
    pub async fn make_point(&self, of: &str, named: &str, rules: &Version) -> Result<Point, String> {
        let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let is_number = !named.is_empty() && named.chars().all(|c| c.is_ascii_digit());
        if named.len() > 100 || is_number || !named.chars().all(is_plain) {
            return Err("a point's name has letters, digits, `-`, `_` and `.`, and is no number".to_owned());
        }
        let topology = &self.shared.snapshot().topology;
        let (_, found) = find(topology, of)?;
        let made = self.new_point(topology, of, found.owners().into(), rules, ASK_PATIENTLY).await?;
        let made = Point { name: named.to_owned(), reason: ASKED_FOR.to_owned(), ..made };
        self.points.add(of, made, self.leads_to(of))
    }

    async fn new_point(
        &self,
        topology: &Topology,
        of: &str,
        authority: Authority,
        rules: &Version,
        limit: Duration,
    ) -> Result<Point, String> {
        let (by, _) = find(topology, of)?;
        let servers = point::look(topology, by, limit).await;
        let state = self.of(of);
        Ok(Point {
            id: 0,
            name: String::new(),
            at: now_s(),
            reason: String::new(),
            rules_version: rules.version,
            phase: state.state.name(),
            authority,
            streams_begin: state.starts,
            servers,
            backup: self.last_backup(of),
            rules: rules.text.clone(),
        })
    }

    /// Before statements are held for a switch.
    pub(in crate::control) async fn points_before(&self, old: &Topology, new: &Topology, rules: &Version) {
        for (of, from, to) in switches(old, new) {
            let made = self.new_point(old, &of, from, rules, ASK_MAX).await;
            self.keep(&of, made, &format!("before-switch-to-{}-#", to.name()), &reason(to));
        }
    }

    /// Before an emergency takes writes to a side: what can be had at once.
    pub(in crate::control) async fn points_at_once(&self, old: &Topology, new: &Topology, rules: &Version) {
        for (of, from, to) in switches(old, new) {
            let made = self.new_point(old, &of, from, rules, ASK_AT_ONCE).await;
            self.keep(&of, made, "before-emergency-#", &format!("an emergency: {}", reason(to)));
        }
    }

    /// After a switch, beside clients that go on already.
    pub(in crate::control) fn points_after(self: &Arc<Self>, old: &Topology, rules: Version) {
        let switched = switches(old, &self.shared.snapshot().topology);
        if switched.is_empty() {
            return;
        }
        let moves = Arc::clone(self);
        tokio::spawn(async move {
            let snapshot = moves.shared.snapshot();
            for (of, _, to) in switched {
                let made = moves.new_point(&snapshot.topology, &of, to, &rules, ASK_PATIENTLY).await;
                moves.keep(&of, made, &format!("after-switch-to-{}-#", to.name()), &reason(to));
            }
        });
    }

    /// Notes how long statements were held while writes went over.
    pub(in crate::control) fn note_switches(
        &self,
        old: &Topology,
        new: &Topology,
        held: Duration,
        mut evidence: BTreeMap<String, Evidence>,
        mut passed: BTreeMap<String, Crossing>,
    ) {
        for (of, _, to) in switches(old, new) {
            let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
            let Crossing { touched, steps_ms } = passed.remove(&of).unwrap_or_default();
            let evidence = Evidence { touched, ..evidence.remove(&of).unwrap_or_default() };
            tracing::info!(r#move = of, to = to.name(), held_ms, ?steps_ms, ?evidence, "writes went over");
            let last = LastSwitch { to: to.name().to_owned(), at: now_s(), held_ms, steps_ms, evidence };
            if let Err(error) = self.states.change(&of, |state| state.last_switch = Some(last)) {
                tracing::warn!(error, r#move = of, "how long the switch held statements is not noted");
            }
        }
    }

    fn keep(&self, of: &str, made: Result<Point, String>, name: &str, reason: &str) {
        let kept = made.and_then(|point| {
            self.points.add(
                of,
                Point { name: name.to_owned(), reason: reason.to_owned(), ..point },
                self.leads_to(of),
            )
        });
        match kept {
            Ok(point) => tracing::info!(r#move = of, point = point.name, "a rollback point was made"),
            Err(error) => tracing::error!(r#move = of, error, "a switch goes on without its rollback point"),
        }
    }
}

fn reason(to: Authority) -> String {
    match to {
        Authority::Divided => "a division of writes between the sides".to_owned(),
        Authority::Source | Authority::Target => format!("a switch of writes to the {}", to.name()),
    }
}

/// Moves of which some writes change sides: name, from, to.
pub(super) fn switches(old: &Topology, new: &Topology) -> Vec<(String, Authority, Authority)> {
    let switched = |of: &shardway_routing::topology::Move| {
        let before = old.moves.iter().find(|before| before.name == of.name)?;
        let (from, to) = (before.owners(), of.owners());
        (from != to).then(|| (of.name.clone(), from.into(), to.into()))
    };
    moves(new).filter_map(|(_, of)| switched(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str) -> Point {
        Point {
            id: 0,
            name: name.to_owned(),
            at: 1,
            reason: "test".into(),
            rules_version: 1,
            phase: "Synced".into(),
            authority: Authority::Source,
            streams_begin: BTreeMap::new(),
            servers: Servers::default(),
            backup: None,
            rules: "# rules".into(),
        }
    }

    #[test]
    fn the_last_fifty_are_kept_and_the_one_that_is_referred_to() {
        let state = std::env::temp_dir().join(format!("shardway-points-{}", std::process::id()));
        let points = Points::open(&state).unwrap();
        for _ in 0..60 {
            points.add("shop", point(""), Some(3)).unwrap();
        }
        let ids =
            |of: &str| -> Vec<u64> { points.read(of).unwrap().points.iter().map(|point| point.id).collect() };
        let kept = ids("shop");
        let asked_for = || Point { reason: ASKED_FOR.into(), ..point("") };
        points.add("carts", asked_for(), None).unwrap();
        let sixty = |of: &dyn Fn() -> Point| (0..60).all(|_| points.add("carts", of(), None).is_ok());
        assert!(sixty(&|| point("")));
        assert_eq!((ids("carts")[0], ids("carts")[1], ids("carts").len()), (1, 13, 50));
        assert!(sixty(&asked_for));
        assert_eq!((ids("carts")[0], ids("carts").len()), (72, 50));
        points.add("carts", point(""), None).unwrap();
        assert_eq!((ids("carts")[0], ids("carts")[49]), (73, 122), "the newest is there");
        assert!(points.add("shop", point("point-60"), None).unwrap_err().contains("already"));
        assert_eq!(points.add("shop", point("before-#"), None).unwrap().name, "before-61");
        std::fs::remove_dir_all(&state).unwrap();
        assert_eq!((kept.len(), kept[0], kept[1], kept[49]), (50, 3, 12, 60));
    }
}
