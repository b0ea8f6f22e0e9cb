//! Telling an address about an alert: a JSON document by `POST`, tried again with growing pauses.
//!
//! An answer that the document is wrong (4xx other than 408 and 429) is not tried again. Delivery is at least once, and
//! nothing is kept over a restart: an alert that still holds then fires anew.

use std::path::Path;
use std::time::Duration;

use shardway_migration::backoff::Backoff;

use super::outside;

const PATIENCE: Duration = Duration::from_secs(10);

/// What became of one try.
enum Tried {
    Taken,
    Refused(String),
    Again(String),
}

/// Posts the document until it is taken or the pauses are used up.
///
/// # Errors
/// Why nobody has it.
pub async fn deliver(url: &str, document: &serde_json::Value, mut pauses: Backoff) -> Result<(), String> {
    let body = document.to_string();
    loop {
        let (url, body) = (url.to_owned(), body.clone());
        let tried = tokio::task::spawn_blocking(move || post(&url, &body, &outside::authorities())).await;
        let why = match tried {
            Ok(Tried::Taken) => return Ok(()),
            Ok(Tried::Refused(why)) => return Err(why),
            Ok(Tried::Again(why)) => why,
            Err(error) => error.to_string(),
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(why),
        }
    }
}

fn post(url: &str, body: &str, authorities: &Path) -> Tried {
    let config = match outside::asking(url, PATIENCE, authorities) {
        Ok(config) => config.build(),
        Err(why) => return Tried::Again(why),
    };
    let agent: ureq::Agent = config.into();
    match agent.post(url).header("Content-Type", "application/json").send(body) {
        Err(error) => Tried::Again(error.to_string()),
        Ok(answer) => match answer.status().as_u16() {
            200..=299 => Tried::Taken,
            status @ (408 | 429 | 500..) => Tried::Again(format!("answered {status}")),
            status => Tried::Refused(format!("answered {status}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::canned;

    #[tokio::test(start_paused = true)]
    async fn a_busy_address_is_tried_again_until_it_takes_the_document() {
        let (url, requests) = canned::serve(vec![(503, ""), (429, ""), (204, "")]);
        let began = tokio::time::Instant::now();
        deliver(&url, &json!({ "alert": "a" }), Backoff::new(5)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        let sent: Vec<(String, String)> = requests.iter().collect();
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|(line, body)| line.starts_with("post ") && body == r#"{"alert":"a"}"#));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_and_so_is_the_last_pause() {
        let (url, _requests) = canned::serve(vec![(404, "")]);
        assert_eq!(deliver(&url, &json!({}), Backoff::new(5)).await, Err("answered 404".to_owned()));
        let (url, requests) = canned::serve(vec![(500, ""), (500, "")]);
        assert_eq!(deliver(&url, &json!({}), Backoff::new(1)).await, Err("answered 500".to_owned()));
        assert_eq!(requests.iter().count(), 2);
    }

    #[test]
    fn a_secured_address_must_be_who_it_says() {
        let (url, requests, certificate) = canned::serve_secured(vec![(204, "")]);
        let stranger =
            canned::file(&rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert);
        let Tried::Again(why) = post(&url, "{}", stranger.path()) else { panic!("a stranger was trusted") };
        assert!(why.contains("certificate"), "{why}");
        let elsewhere = url.replace("localhost", "127.0.0.1");
        assert!(matches!(post(&elsewhere, "{}", certificate.path()), Tried::Again(_)), "by another name");
        assert!(matches!(post(&url, "{}", certificate.path()), Tried::Taken));
        assert_eq!(requests.recv().unwrap(), ("post /hook http/1.1".to_owned(), "{}".to_owned()));
        let gone = certificate.path().with_extension("gone");
        let Tried::Again(why) = post(&url, "{}", &gone) else { panic!("nobody was trusted") };
        assert!(why.contains("cannot be read"), "{why}");
    }
}
