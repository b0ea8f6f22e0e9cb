//! Calls to the admin interface of a running proxy.

use anyhow::Context as _;
use serde_json::Value;

use super::Remote;
use crate::config::{self, Secret};

/// The running proxy.
pub(super) struct Api {
    base: String,
    token: Option<Secret>,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(remote: &Remote) -> Api {
        let config = config::load(&remote.config.config).ok();
        let configured =
            config.as_ref().and_then(|config| config.listen.admin).map(|address| address.to_string());
        let address = remote.admin.clone().or(configured).unwrap_or_else(|| config::ADMIN.to_owned());
        let settings = ureq::Agent::config_builder().http_status_as_error(false).build();
        let token = config.and_then(|config| config.admin_token);
        Api { base: format!("http://{address}"), token, agent: settings.into() }
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        self.answer(request.call())
    }

    pub(super) fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        self.answer(request.send(body))
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let unreachable =
            || format!("no proxy answers at {}; start it, or name its address with --admin", self.base);
        let mut answer = answer.with_context(unreachable)?;
        let status = answer.status();
        let value: Value =
            answer.body_mut().read_json().with_context(|| format!("{} answered {status}", self.base))?;
        if status.is_success() {
            return Ok(value);
        }
        anyhow::bail!("{}", value["error"].as_str().unwrap_or("refused without a reason"))
    }
}
