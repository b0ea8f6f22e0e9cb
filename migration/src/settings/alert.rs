//! `[[alerts]]`: a condition on a metric, for how long it must hold, and what happens then.

use shardway_routing::document::{Entry, Found, Section, nearest};

use super::metric::{ALL, Metric};
use super::quantity::Quantity;
use super::read::{self, Range, choice};

/// One `[[alerts]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    pub when: Condition,
    /// `when` as it is written: names the alert in the status and in metrics.
    pub text: String,
    /// How long the condition must be true before the alert fires, and false before it clears: 0.
    pub hold_ms: u64,
    pub level: Level,
    /// What people are told: the condition, unless the rule says it better.
    pub message: String,
    /// In this order: a line in the log.
    pub actions: Vec<Action>,
}

/// `progress_speed < 1000 rows/min`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    pub metric: Metric,
    pub comparison: Comparison,
    /// In the unit of the metric's quantity.
    pub bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Warning,
    Critical,
}

impl Level {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }
}

/// What happens when an alert fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Log,
    /// The move stops until a person lets it go on.
    Pause,
    /// A JSON document is posted there, when the alert fires and when it clears.
    Webhook(String),
}

impl Condition {
    /// Is it true of this value?
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::LessOrEqual => value <= self.bound,
            Comparison::Greater => value > self.bound,
            Comparison::GreaterOrEqual => value >= self.bound,
        }
    }

    /// From `progress_speed < 1000 rows/min`.
    ///
    /// # Errors
    /// What is wrong with it, and what is known.
    pub fn parse(text: &str) -> Result<Condition, String> {
        let form = "must be a comparison like \"progress_speed < 1000 rows/min\"";
        let at = text.find(['<', '>']).ok_or_else(|| form.to_owned())?;
        let name = text[..at].trim();
        let metric = Metric::named(name).ok_or_else(|| unknown_metric(name))?;
        let (comparison, bound) = comparison(&text[at..]);
        let bound = value(metric, bound)?;
        Ok(Condition { metric, comparison, bound })
    }
}

fn comparison(text: &str) -> (Comparison, &str) {
    let (less, rest) = match text.strip_prefix('<') {
        Some(rest) => (true, rest),
        None => (false, &text[1..]),
    };
    match (less, rest.strip_prefix('=')) {
        (true, None) => (Comparison::Less, rest),
        (true, Some(rest)) => (Comparison::LessOrEqual, rest),
        (false, None) => (Comparison::Greater, rest),
        (false, Some(rest)) => (Comparison::GreaterOrEqual, rest),
    }
}

fn value(metric: Metric, text: &str) -> Result<f64, String> {
    let meter = metric.meter();
    let value = meter.quantity.parse(text).ok_or_else(|| {
        format!(
            "{} is compared with a value like {}, not `{}`",
            meter.name,
            meter.quantity.example(),
            text.trim()
        )
    })?;
    if meter.quantity == Quantity::Percent && value > 100.0 {
        return Err(format!("{} is never above 100 %", meter.name));
    }
    Ok(value)
}

fn unknown_metric(name: &str) -> String {
    let known: Vec<&str> = ALL.iter().map(|meter| meter.name).collect();
    let known_here = known.join(", ");
    match nearest(name, &known) {
        Some(near) => format!("`{name}` is no metric; did you mean `{near}`? Known are {known_here}"),
        None => format!("`{name}` is no metric; known are {known_here}"),
    }
}

pub(super) fn alert(mut section: Section<'_>) -> Option<AlertRule> {
    let when = section.string("when");
    if when.is_none() {
        section.report_here("`when` is missing, as in when = \"sync_delay > 60 s\"");
    }
    let condition = when.as_ref().and_then(|found| match Condition::parse(&found.value) {
        Ok(condition) => Some(condition),
        Err(error) => {
            section.report("when", &found.at, error);
            None
        }
    });
    let hold = read::amount(
        &mut section,
        "for",
        Quantity::Milliseconds,
        Range(0.0, 86_400_000.0),
        read::Form::WithUnit,
    );
    let level = choice(&mut section, "level", &[("warning", Level::Warning), ("critical", Level::Critical)]);
    let message = section.string("message").map(|found| found.value);
    let actions = actions(&mut section);
    section.finish();
    let text = when?.value.trim().to_owned();
    Some(AlertRule {
        when: condition?,
        message: message.unwrap_or_else(|| text.clone()),
        text,
        hold_ms: hold.map_or(0, |hold| hold as u64),
        level: level.unwrap_or_default(),
        actions,
    })
}

fn actions(section: &mut Section<'_>) -> Vec<Action> {
    let Some(found) = section.entry("actions") else { return vec![Action::Log] };
    let Entry::List(items) = found.value else {
        section.report(
            "actions",
            &found.at,
            "must be a list like [\"log\", \"pause\", { webhook = \"http://…\" }]",
        );
        return Vec::new();
    };
    items.into_iter().filter_map(|item| action(section, item)).collect()
}

fn action(section: &Section<'_>, item: Found<Entry<'_>>) -> Option<Action> {
    match item.value {
        Entry::Text(name) if name == "log" => Some(Action::Log),
        Entry::Text(name) if name == "pause" => Some(Action::Pause),
        Entry::Section(mut inner) => {
            let url = read::url(&mut inner, "webhook");
            inner.finish();
            url.map(Action::Webhook)
        }
        Entry::Text(name) => {
            section.report(
                "actions",
                &item.at,
                format!("`{name}` is none of log, pause, {{ webhook = \"http://…\" }}"),
            );
            None
        }
        other => {
            section.report(
                "actions",
                &item.at,
                format!("an action is a text or {{ webhook = … }}, not {}", other.kind()),
            );
            None
        }
    }
}
