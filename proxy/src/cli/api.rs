//! Calls to the admin interface of a running proxy.

use anyhow::Context as _;
use serde_json::Value;

use super::Remote;
use crate::config::{self, Secret};

/// The running proxy, which the configuration names.
pub(super) struct Api {
    base: String,
    token: Option<Secret>,
    agent: ureq::Agent,
}

impl Api {
    /// Without a configuration it is a proxy on the default address; never in place of one that cannot be read, since a
    /// command must not reach another proxy than the one that was meant.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(remote: &Remote) -> anyhow::Result<Api> {
        let config = remote.config_if_any()?;
        let address = match (&remote.admin, &config) {
            (Some(named), _) => named.clone(),
            (None, None) => config::ADMIN.to_owned(),
            (None, Some(config)) => {
                let off = || {
                    format!("{} has listen.admin = \"off\", so no command reaches it", config.file.display())
                };
                config.listen.admin.with_context(off)?.to_string()
            }
        };
        let settings = ureq::Agent::config_builder().http_status_as_error(false).build();
        let token = config.and_then(|config| config.admin_token);
        Ok(Api { base: format!("http://{address}"), token, agent: settings.into() })
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

    pub(super) fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        self.answer(request.send_json(body))
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
