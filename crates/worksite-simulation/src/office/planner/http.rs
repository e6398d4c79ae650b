//! The client owns questions to a server with a chat-completions-like interface, over plain HTTP: for a model on this
//! machine, or behind a proxy that does the rest.

use super::{Planner, PlannerError};
use crate::office::{Answer, Question};
use serde::Deserialize;
use std::time::Duration;

/// Bytes of a response that are read.
const RESPONSE_BYTES_MAX: u64 = 1024 * 1024;

/// Plans by a server.
#[derive(Debug, Clone)]
pub struct HttpPlanner {
    url: String,
    model: String,
    key: Option<String>,
    /// What a thousand tokens cost, in millionths: read and written.
    prices_micros: (i64, i64),
    cost_micros_max: i64,
    agent: ureq::Agent,
}

/// What we read of a response.
#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Deserialize, Default)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl HttpPlanner {
    /// Asks this address (like `http://127.0.0.1:8080/v1/chat/completions`) for this model.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        let agent = ureq::Agent::config_builder().build().new_agent();
        Self { url: url.into(), model: model.into(), key: None, prices_micros: (0, 0), cost_micros_max: 0, agent }
    }

    /// Shows this key to the server.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what a thousand tokens cost that are read and written, and what an answer costs at most, in millionths.
    #[must_use]
    pub fn prices_micros(mut self, read: i64, written: i64, answer_max: i64) -> Self {
        (self.prices_micros, self.cost_micros_max) = ((read, written), answer_max);
        self
    }

    fn cost(&self, usage: &Usage) -> i64 {
        let cost = |tokens: u64, price: i64| i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(price) / 1_000;
        cost(usage.prompt_tokens, self.prices_micros.0) + cost(usage.completion_tokens, self.prices_micros.1)
    }
}

impl Planner for HttpPlanner {
    fn name(&self) -> &str {
        &self.model
    }

    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError> {
        let body = serde_json::json!({
            "model": self.model,
            "seed": question.chance & i64::MAX.cast_unsigned(),
            "messages": [{ "role": "user", "content": question.prompt() }],
        });
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        request = request.header("Idempotency-Key", question.hash());
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let sent = request.config().timeout_global(Some(time)).build().send(body.to_string());
        let mut response = sent.map_err(|error| match error {
            ureq::Error::Timeout(_) => {
                PlannerError::TooLong { ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) }
            }
            error => PlannerError::Failed(error.to_string()),
        })?;
        let text = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| PlannerError::Failed(error.to_string()))?;
        let response: Response =
            serde_json::from_str(&text).map_err(|error| PlannerError::Unreadable(error.to_string()))?;
        let choice = response.choices.into_iter().next();
        let choice = choice.ok_or_else(|| PlannerError::Unreadable("it has no choices".into()))?;
        Ok(Answer {
            plan: choice.message.content,
            cost_micros: self.cost(&response.usage),
            tokens_in: response.usage.prompt_tokens,
            tokens_out: response.usage.completion_tokens,
        })
    }

    fn cost_micros_max(&self) -> i64 {
        self.cost_micros_max
    }
}
