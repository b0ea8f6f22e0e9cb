//! Requests that a web page in an operator's browser makes the browser send.
//!
//! A browser names the page's own place in `Origin`, which is the admin interface itself for our page and for no other. A
//! page whose name its owner has led to our address (DNS rebinding) has that name in `Host` too. Only where no token
//! stands in its way, on loopback, does that matter: there `Host` must be an address, as the configured one is, or
//! `localhost`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::failed;
use crate::control::Control;

/// Whether callers must show a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Needed,
    None,
}

/// Lets a request pass that no web page of others can have sent.
pub(super) async fn own_pages_only(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    let token = if control.shared.configured().admin_token.is_some() { Token::Needed } else { Token::None };
    match refused(request.headers(), request.uri(), token) {
        None => next.run(request).await,
        Some(error) => failed(StatusCode::FORBIDDEN, error),
    }
}

/// Why a request is refused, and what to do.
fn refused(headers: &HeaderMap, uri: &Uri, token: Token) -> Option<&'static str> {
    let written = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let host = written.or(uri.authority().map(|authority| authority.as_str()));
    let is_own = |origin: &str| {
        let named = origin.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
        named.zip(host).is_some_and(|((_, named), host)| named.eq_ignore_ascii_case(host))
    };
    if !headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_own)) {
        return Some(
            "the Origin of the request is another web page; use the page of the admin address itself, \
             the command line, or a client that sends no Origin",
        );
    }
    if token == Token::None && !host.is_none_or(is_address) {
        return Some(
            "without a token the admin interface is reached by an IP address or localhost, and the request's Host is \
             another name; use the address of `listen.admin`, or set `token` of [admin]",
        );
    }
    None
}

/// An IP address or `localhost`, with a port or without.
fn is_address(host: &str) -> bool {
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.parse::<SocketAddr>().is_ok()
        || bracketed.is_some_and(is_ip)
        || is_ip(name)
        || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: &str, origin: &str, token: Token) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if !value.is_empty() {
                headers.append(name, value.parse().unwrap());
            }
        }
        refused(&headers, &Uri::from_static("/api/reload"), token).is_none()
    }

    #[test]
    fn a_host_is_an_address_unless_a_token_is_needed() {
        for host in ["127.0.0.1:3380", "127.0.0.1", "[::1]:3380", "[::1]", "localhost:3380", "LocalHost", ""]
        {
            assert!(passes(host, "", Token::None), "{host}");
        }
        for host in
            ["evil.example:3380", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:1"]
        {
            assert!(!passes(host, "", Token::None), "{host}");
            assert!(passes(host, "", Token::Needed), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_host_itself() {
        for token in [Token::None, Token::Needed] {
            for (host, origin) in [
                ("127.0.0.1:3380", "http://127.0.0.1:3380"),
                ("localhost", "https://localhost"),
                ("LOCALHOST:1", "http://localhost:1"),
                ("[::1]:3380", "http://[::1]:3380"),
            ] {
                assert!(passes(host, origin, token), "{host} {origin}");
            }
            for (host, origin) in [
                ("127.0.0.1:3380", "http://evil.example"),
                ("127.0.0.1:3380", "http://127.0.0.1:8080"),
                ("127.0.0.1:3380", "http://localhost:3380"),
                ("127.0.0.1:3380", "null"),
                ("127.0.0.1:3380", "file://127.0.0.1:3380"),
                ("", "http://127.0.0.1:3380"),
            ] {
                assert!(!passes(host, origin, token), "{host} {origin}");
            }
        }
        assert!(passes("shardway.example", "https://shardway.example", Token::Needed));
    }
}
