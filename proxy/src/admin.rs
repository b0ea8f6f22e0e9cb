//! The admin HTTP interface: health, metrics, status, rules, and a page that shows them.
//!
//! Everything below `/api` and `/metrics` needs the token, where one is configured. Health and the page need none: the
//! one says nothing of addresses and rules, the other asks for the token itself. Nobody is shown a password. What web pages
//! of others make a browser send is refused, health aside, which is for probes that call it by any name.

mod back;
mod origin;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use shardway_migration::cleanup::Grace;
use shardway_migration::repair::Run;
use shardway_migration::throttle::ByHand;
use shardway_migration::verify;
use shardway_routing::transition::{Change, Effect};

use crate::control::history::Version;
use crate::control::moves::CleanupRun;
use crate::control::{Control, moves, rule_file, status};
use crate::metrics;

/// The page: one file that loads nothing from elsewhere.
const PAGE: &str = include_str!("dashboard.html");
/// What the page may do.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

type Shared = State<Arc<Control>>;

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(control: Arc<Control>, address: SocketAddr) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let changes = Router::new()
        .route("/api/rules/{version}/revert", post(revert))
        .route("/api/reload", post(reload))
        .route("/api/moves/{name}/start", post(start_move))
        .route("/api/moves/{name}/pause", post(pause_move))
        .route("/api/moves/{name}/resume", post(resume_move))
        .route("/api/moves/{name}/finish", post(finish_move))
        .route("/api/moves/{name}/cleanup", post(cleanup_move))
        .route("/api/moves/{name}/repair", post(repair_move))
        .merge(back::routes())
        .route_layer(middleware::from_fn(to_the_end));
    let api = Router::new()
        .route("/metrics", get(scraped))
        .route("/api/status", get(|State(control): Shared| async move { Json(status::status(&control)) }))
        .route("/api/rules", get(history))
        .route("/api/rules/{version}", get(rules))
        .route("/api/plan", post(plan))
        .route("/api/moves/{name}", get(one_move))
        .route("/api/moves/{name}/preflight", post(preflight_move))
        .route("/api/moves/{name}/check", get(last_check).post(check_move))
        .route("/api/moves/{name}/verify", post(verify_move))
        .route("/api/moves/{name}/throttle", post(throttle_move))
        .merge(changes)
        .layer(middleware::from_fn_with_state(Arc::clone(&control), authorize));
    let app = Router::new()
        .route("/", get(|| async { ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE)) }))
        .merge(api)
        .layer(middleware::from_fn_with_state(Arc::clone(&control), origin::own_pages_only))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(control);
    tracing::info!(%address, "admin interface");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the admin interface has ended");
        }
    });
    Ok(())
}

/// With a token configured, callers must show it.
async fn authorize(State(control): Shared, request: Request, next: Next) -> Response {
    let configured = control.shared.configured();
    let Some(token) = &configured.admin_token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let expected = token.reveal();
    let differs = shown
        .bytes()
        .zip(expected.bytes())
        .fold(shown.len() ^ expected.len(), |differs, (a, b)| differs | usize::from(a ^ b));
    if differs == 0 {
        next.run(request).await
    } else {
        failed(StatusCode::UNAUTHORIZED, "show the token of [admin] as a bearer token")
    }
}

/// What has begun is ended, also where its caller hangs up: half a change would wait for the next restart.
async fn to_the_end(request: Request, next: Next) -> Response {
    tokio::spawn(next.run(request)).await.unwrap_or_else(|error| {
        failed(StatusCode::INTERNAL_SERVER_ERROR, &format!("it has ended unexpectedly: {error}"))
    })
}

async fn scraped(State(control): Shared) -> String {
    metrics::render(&control.shared, &status::status(&control))
}

fn failed(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Ready: rules are in force, clients are accepted, and at least one backend answers. One that does not takes its shards
/// away and no others, so it is told and does not count.
async fn ready(State(control): Shared) -> Response {
    let topology = &control.shared.snapshot().topology;
    let is_down = |name: &&str| control.shared.health(name).down().is_some();
    let down: Vec<&str> =
        topology.backends.iter().map(|backend| backend.name.as_str()).filter(is_down).collect();
    let reason = if !control.is_ready() || topology.version == 0 {
        Some("no rules are in force yet")
    } else if down.len() == topology.backends.len() {
        Some("no backend answers")
    } else {
        None
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = json!({
        "ready": reason.is_none(), "reason": reason, "in_force_version": topology.version, "backends_down": down,
    });
    (status, Json(told)).into_response()
}

async fn reload(State(control): Shared) -> Response {
    in_force(control.reload("API").await)
}

fn in_force(reloaded: Result<u64, String>) -> Response {
    match reloaded {
        Ok(version) => Json(json!({ "in_force_version": version })).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

async fn history(State(control): Shared) -> Response {
    Json(control.store.history().into_iter().map(shown).collect::<Vec<_>>()).into_response()
}

async fn rules(State(control): Shared, Path(version): Path<u64>) -> Response {
    match control.store.history().into_iter().find(|known| known.version == version) {
        Some(known) => Json(shown(known)).into_response(),
        None => failed(
            StatusCode::NOT_FOUND,
            "no such version; `shardway rules history` lists those that are kept",
        ),
    }
}

/// A version without its passwords; on disk it has them, so that it can be reverted to.
fn shown(version: Version) -> Version {
    Version { text: rule_file::masked(&version.text), ..version }
}

/// Writes an older version over the rule file, which brings it into force.
async fn revert(State(control): Shared, Path(version): Path<u64>) -> Response {
    let Some(known) = control.store.history().into_iter().find(|known| known.version == version) else {
        return failed(
            StatusCode::NOT_FOUND,
            "no such version; `shardway rules history` lists those that are kept",
        );
    };
    if let Err(error) = rule_file::replace(&control.shared.config.rules, &known.text) {
        return failed(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"));
    }
    in_force(control.reload_rules("API").await)
}

async fn one_move(State(control): Shared, Path(name): Path<String>) -> Response {
    match status::status(&control).moves.into_iter().find(|of| of.name == name) {
        Some(of) => Json(of).into_response(),
        None => failed(StatusCode::NOT_FOUND, "no such move is in force"),
    }
}

async fn start_move(State(control): Shared, Path(name): Path<String>) -> Response {
    told(moves::start(&control, &name).await)
}

async fn pause_move(State(control): Shared, Path(name): Path<String>) -> Response {
    told(moves::pause(&control, &name).await)
}

async fn resume_move(State(control): Shared, Path(name): Path<String>) -> Response {
    told(moves::resume(&control, &name).await)
}

async fn finish_move(State(control): Shared, Path(name): Path<String>) -> Response {
    told(moves::finish(&control, &name).await)
}

/// Words of the body: `dry` removes nothing, `now` does not wait for the grace time.
async fn cleanup_move(State(control): Shared, Path(name): Path<String>, words: String) -> Response {
    let (mut run, mut grace) = (CleanupRun::Real, Grace::Kept);
    for word in words.split_whitespace() {
        match word {
            "dry" => run = CleanupRun::Dry,
            "now" => grace = Grace::Skipped,
            _ => return failed(StatusCode::BAD_REQUEST, "the body has other words than \"dry\" and \"now\""),
        }
    }
    match moves::cleanup(&control, &name, run, grace).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

fn told(done: Result<(), String>) -> Response {
    match done {
        Ok(()) => Json(json!({ "done": true })).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

/// The body chooses the mode; `hash` where it says nothing.
async fn verify_move(State(control): Shared, Path(name): Path<String>, mode: String) -> Response {
    let named = if mode.trim().is_empty() { "hash" } else { mode.trim() };
    let Some(mode) = verify::Mode::named(named) else {
        return failed(StatusCode::BAD_REQUEST, "the mode is none of count, sample, hash, exact");
    };
    match control.moves.compare(&name, &mode).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error.to_string()),
    }
}

/// The five checks before a switch.
async fn check_move(State(control): Shared, Path(name): Path<String>) -> Response {
    match control.moves.check(&name).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

/// How far they are, and how they ended last.
async fn last_check(State(control): Shared, Path(name): Path<String>) -> Response {
    match control.moves.checked(&name) {
        Ok(checked) => Json(checked).into_response(),
        Err(error) => failed(StatusCode::NOT_FOUND, &error),
    }
}

async fn preflight_move(State(control): Shared, Path(name): Path<String>) -> Response {
    match control.moves.findings(&name).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

/// The body `dry` writes nothing.
async fn repair_move(State(control): Shared, Path(name): Path<String>, run: String) -> Response {
    let run = match run.trim() {
        "" => Run::Real,
        "dry" => Run::Dry,
        _ => return failed(StatusCode::BAD_REQUEST, "the body is neither empty nor \"dry\""),
    };
    match control.moves.repair(&name, run).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error.to_string()),
    }
}

/// The body is what is set from now on, in place of what was set before.
async fn throttle_move(
    State(control): Shared,
    Path(name): Path<String>,
    Json(by_hand): Json<ByHand>,
) -> Response {
    if !control.shared.snapshot().topology.moves.iter().any(|of| of.name == name) {
        return failed(StatusCode::NOT_FOUND, "no such move is in force");
    }
    match control.hands.set(&name, by_hand) {
        Ok(()) => Json(control.hands.of(&name)).into_response(),
        Err(error) => failed(StatusCode::BAD_REQUEST, &error),
    }
}

async fn plan(State(control): Shared, text: String) -> Response {
    match control.store.plan(&text).await {
        Ok(transition) => Json(transition.changes.iter().map(described).collect::<Vec<_>>()).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

fn described(change: &Change) -> serde_json::Value {
    let (effect, reason) = match &change.effect {
        Effect::Instant => ("instant", None),
        Effect::Barrier(_) => ("barrier", None),
        Effect::Refused(refusal) => ("refused", Some(refusal.to_string())),
    };
    json!({
        "rule": change.rule, "from": change.from, "to": change.to, "effect": effect, "reason": reason,
        "share_percent": f64::from(change.share) / 100.0,
    })
}
