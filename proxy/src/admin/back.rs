//! The way back over HTTP: points, rollbacks, gaps.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{Shared, failed, told};
use crate::control::Control;
use crate::control::moves::backup::BackupAsk;
use crate::control::moves::rollback::{self, Ask};
use crate::control::moves::{Point, READ_PATIENTLY};

/// What they begin goes on if nobody waits for the answer.
pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/api/moves/{name}/points", get(points).post(make_point))
        .route("/api/moves/{name}/rollback", get(last).post(go_back))
        .route("/api/moves/{name}/backup", get(backups).post(back_up))
        .route("/api/moves/{name}/gaps", get(gaps))
        .route("/api/moves/{name}/gaps/close", post(close))
}

fn answered<T: serde::Serialize>(done: Result<T, String>) -> Response {
    match done {
        Ok(found) => Json(found).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &error),
    }
}

/// Without the text of their rules, which may be long.
async fn points(State(control): Shared, Path(name): Path<String>) -> Response {
    let without = |point: Point| Point { rules: String::new(), ..point };
    let points = control.moves.points(&name);
    answered(points.map(|points| points.into_iter().map(without).collect::<Vec<_>>()))
}

/// The body is the point's name; empty for one that is made up.
async fn make_point(State(control): Shared, Path(name): Path<String>, named: String) -> Response {
    let Some(rules) = control.store.in_force() else {
        return failed(StatusCode::CONFLICT, "no rules are in force");
    };
    answered(control.moves.make_point(&name, named.trim(), &rules).await)
}

/// Answers when the rollback has ended.
async fn go_back(State(control): Shared, Path(name): Path<String>, Json(ask): Json<Ask>) -> Response {
    answered(rollback::rollback(&control, &name, ask).await)
}

async fn last(State(control): Shared, Path(name): Path<String>) -> Response {
    answered(control.moves.last_rollback(&name))
}

async fn backups(State(control): Shared, Path(name): Path<String>) -> Response {
    answered(control.moves.backups(&name))
}

/// Answers when it has been made and tried.
async fn back_up(State(control): Shared, Path(name): Path<String>, Json(ask): Json<BackupAsk>) -> Response {
    answered(control.moves.back_up(&name, &ask).await)
}

async fn gaps(State(control): Shared, Path(name): Path<String>) -> Response {
    answered(control.moves.gaps(&name, READ_PATIENTLY).await.map(|parted| json!({ "parted": parted })))
}

async fn close(State(control): Shared, Path(name): Path<String>) -> Response {
    told(control.moves.close_gaps(&name).await)
}
