//! Asking somebody else whether a copy may go on: `throttle.check_url`.
//!
//! `GET`: 200 is go, 429 and 503 are wait, everything else, also silence, is unknown. A JSON body may hold `cpu_usage`
//! and `disk_free` in percent, for those who know more of the database's machine than the proxy sees of its own.

use std::path::Path;
use std::time::Duration;

use shardway_migration::reading::Reading;
use shardway_migration::throttle::Check;

use super::outside;

/// A slower answer is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub check: Check,
    /// [`Reading::NotNow`] when the answer does not say.
    pub cpu_usage: Reading,
    pub disk_free: Reading,
}

impl Answer {
    fn unknown(why: String) -> Answer {
        Answer { check: Check::Unknown(why), cpu_usage: Reading::NotNow, disk_free: Reading::NotNow }
    }
}

/// Asks once, beside the async threads.
pub async fn ask(url: String) -> Answer {
    let asked = tokio::task::spawn_blocking(move || get(&url, &outside::authorities()));
    asked.await.unwrap_or_else(|error| Answer::unknown(format!("the check did not end: {error}")))
}

fn get(url: &str, authorities: &Path) -> Answer {
    let config = match outside::asking(url, PATIENCE, authorities) {
        Ok(config) => config.max_redirects(0).max_redirects_will_error(false).build(),
        Err(why) => return Answer::unknown(why),
    };
    let agent: ureq::Agent = config.into();
    let mut answer = match agent.get(url).call() {
        Ok(answer) => answer,
        Err(error) => return Answer::unknown(error.to_string()),
    };
    let check = match answer.status().as_u16() {
        200 => Check::Go,
        429 | 503 => Check::Wait,
        other => Check::Unknown(format!("answered {other}")),
    };
    let body: serde_json::Value = answer.body_mut().read_json().unwrap_or_default();
    let percent = |name: &str| match body.get(name) {
        None => Reading::NotNow,
        Some(value) => value.as_f64().filter(|percent| (0.0..=100.0).contains(percent)).into(),
    };
    Answer { check, cpu_usage: percent("cpu_usage"), disk_free: percent("disk_free") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::canned;

    #[tokio::test]
    async fn the_status_decides_and_what_is_no_answer_is_unknown() {
        let (url, requests) = canned::serve(vec![(200, ""), (429, "no"), (503, ""), (500, ""), (302, "")]);
        let mut checks = Vec::new();
        for _ in 0..5 {
            checks.push(ask(url.clone()).await.check);
        }
        let unknown = |why: &str| Check::Unknown(why.to_owned());
        assert_eq!(
            checks,
            [Check::Go, Check::Wait, Check::Wait, unknown("answered 500"), unknown("answered 302")]
        );
        assert_eq!(requests.recv().unwrap().0, "get /hook http/1.1");
        assert!(matches!(ask(url).await.check, Check::Unknown(_)), "nobody listens any more");
    }

    #[tokio::test]
    async fn the_answer_may_tell_of_another_machine() {
        let told = r#"{ "cpu_usage": 40, "disk_free": 12.5 }"#;
        let (url, _requests) = canned::serve(vec![(200, told), (200, r#"{ "cpu_usage": "much" }"#)]);
        let answer = ask(url.clone()).await;
        assert_eq!((answer.cpu_usage, answer.disk_free), (Reading::Is(40.0), Reading::Is(12.5)));
        let answer = ask(url).await;
        assert_eq!((answer.cpu_usage, answer.disk_free), (Reading::Unknown, Reading::NotNow));
    }

    #[test]
    fn a_secured_address_is_asked_like_any_other() {
        let (url, _requests, certificate) = canned::serve_secured(vec![(429, ""), (200, "")]);
        let checks = [(); 2].map(|()| get(&url, certificate.path()).check);
        assert_eq!(checks, [Check::Wait, Check::Go]);
    }
}
