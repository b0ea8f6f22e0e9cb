//! The admin HTTP interface: health, metrics, status, rules.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use shardway_migration::verify;
use shardway_routing::transition::{Change, Effect};

use crate::control::{Control, moves, status};
use crate::metrics;

type Shared = State<Arc<Control>>;

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(control: Arc<Control>, address: SocketAddr) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let api = Router::new()
        .route("/metrics", get(|State(control): Shared| async move { metrics::render(&control.shared) }))
        .route("/api/status", get(|State(control): Shared| async move { Json(status::status(&control)) }))
        .route("/api/rules", get(history))
        .route("/api/rules/{version}", get(rules))
        .route("/api/rules/{version}/revert", post(revert))
        .route("/api/reload", post(reload))
        .route("/api/plan", post(plan))
        .route("/api/moves/{name}", get(one_move))
        .route("/api/moves/{name}/start", post(start_move))
        .route("/api/moves/{name}/verify", post(verify_move))
        .layer(middleware::from_fn_with_state(Arc::clone(&control), authorize));
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(api)
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
    let Some(token) = &control.shared.config.admin_token else { return next.run(request).await };
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

fn failed(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn ready(State(control): Shared) -> Response {
    let topology = &control.shared.snapshot().topology;
    let up = topology.backends.iter().any(|backend| control.shared.health(&backend.name).down().is_none());
    if control.is_ready() && up {
        return "ready\n".into_response();
    }
    failed(StatusCode::SERVICE_UNAVAILABLE, "no rules in force, or no backend answers")
}

async fn reload(State(control): Shared) -> Response {
    match control.reload("API").await {
        Ok(version) => Json(json!({ "in_force_version": version })).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

async fn history(State(control): Shared) -> Response {
    Json(control.store.history()).into_response()
}

async fn rules(State(control): Shared, Path(version): Path<u64>) -> Response {
    match control.store.history().into_iter().find(|known| known.version == version) {
        Some(known) => Json(known).into_response(),
        None => failed(
            StatusCode::NOT_FOUND,
            "no such version; `shardway rules history` lists those that are kept",
        ),
    }
}

/// Writes an older version over the rule file, which brings it into force.
async fn revert(State(control): Shared, Path(version): Path<u64>) -> Response {
    let Some(known) = control.store.history().into_iter().find(|known| known.version == version) else {
        return failed(
            StatusCode::NOT_FOUND,
            "no such version; `shardway rules history` lists those that are kept",
        );
    };
    let file = &control.shared.config.rules;
    let beside = file.with_extension("toml.new");
    let written = std::fs::write(&beside, &known.text).and_then(|()| std::fs::rename(&beside, file));
    if let Err(error) = written {
        return failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("{} cannot be written: {error}", file.display()),
        );
    }
    reload(State(control)).await
}

async fn one_move(State(control): Shared, Path(name): Path<String>) -> Response {
    match status::status(&control).moves.into_iter().find(|of| of.name == name) {
        Some(of) => Json(of).into_response(),
        None => failed(StatusCode::NOT_FOUND, "no such move is in force"),
    }
}

async fn start_move(State(control): Shared, Path(name): Path<String>) -> Response {
    match moves::start(&control, &name) {
        Ok(()) => Json(json!({ "started": name })).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

/// The body chooses the mode: `count`, or `hash` for every row.
async fn verify_move(State(control): Shared, Path(name): Path<String>, mode: String) -> Response {
    let mode = if mode.trim() == "count" { verify::Mode::Count } else { verify::Mode::Full };
    match moves::verify(&control, &name, mode).await {
        Ok(verified) => Json(verified).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
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
