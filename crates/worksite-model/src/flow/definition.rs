//! A flow as data: read from YAML or JSON against a catalog of routine types. Only what the catalog has can be named; every
//! mistake is told with its line.

use crate::flow::{ActivationPolicy, ErrorStrategy, Flow, FlowBuildError, FlowBuilder, FlowRoutine};
use crate::{Overflow, RetryPolicy};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The version of the format that this build reads.
pub const DEFINITION_VERSION: u32 = 1;

/// What a definition says of a routine's configuration.
pub type FlowConfig = BTreeMap<String, serde_json::Value>;

type Make = Arc<dyn Fn(&FlowConfig) -> Result<FlowRoutine, String> + Send + Sync>;

/// The routine types that definitions may name.
///
/// ```
/// use worksite_model::flow::{Call, FlowCatalog, FlowRoutine};
///
/// let pass = |call: &mut Call<()>| Ok(call.emit("out", call.first::<u64>("in").map_or(0, |number| *number))?);
/// let mut catalog = FlowCatalog::default();
/// catalog.add("pass", move |_config| Ok(FlowRoutine::new(pass).slot::<u64>("in").event::<u64>("out")))?;
/// let flow = catalog.read("
/// version: 1
/// flow: two steps
/// routines:
///   - {name: first, type: pass}
///   - {name: second, type: pass, policy: {when: batch, size: 10, flush_when_idle: true}}
/// connections:
///   - first.out -> second.in
/// ")?;
/// assert_eq!(flow.connections().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct FlowCatalog(BTreeMap<String, Make>);

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// It is no YAML or JSON, or not of this form. Correct what the reason names.
    #[error("{at}: {reason}")]
    Syntax {
        /// Where.
        at: DefinitionPlace,
        /// What is wrong.
        reason: String,
    },
    /// It is of a version of the format that this build does not read.
    #[error("{at}: version {found} is not read; {DEFINITION_VERSION} is")]
    OtherVersion {
        /// Where.
        at: DefinitionPlace,
        /// Its version.
        found: u32,
    },
    /// The catalog has no such type. Add it to the catalog, or correct the name.
    #[error("{at}: there is no routine type {name:?}")]
    UnknownType {
        /// Where.
        at: DefinitionPlace,
        /// The name.
        name: String,
    },
    /// The type cannot be made with this configuration.
    #[error("{at}: {reason}")]
    Config {
        /// Where.
        at: DefinitionPlace,
        /// What the type says.
        reason: String,
    },
    /// The graph cannot be.
    #[error("{at}: {error}")]
    Graph {
        /// Where.
        at: DefinitionPlace,
        /// Why.
        #[source]
        error: FlowBuildError,
    },
}

/// Two types of the catalog have one name. Rename one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there are two routine types {0:?}")]
pub struct TypeTaken(pub String);

/// A place in a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DefinitionPlace {
    /// The line, counted from 1; 0 when it is not known.
    pub line: u64,
    /// The column, counted from 1.
    pub column: u64,
}

impl fmt::Display for DefinitionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<u32>,
    flow: Spanned<String>,
    revision: Option<u32>,
    on_error: Option<Strategy>,
    routines: Vec<RoutineText>,
    #[serde(default)]
    connections: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutineText {
    name: Spanned<String>,
    #[serde(rename = "type")]
    kind: Spanned<String>,
    #[serde(default)]
    config: FlowConfig,
    policy: Option<Spanned<PolicyText>>,
    on_error: Option<Strategy>,
    #[serde(default)]
    slots: BTreeMap<String, Spanned<SlotText>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Strategy {
    Stop,
    Continue,
    Skip,
    Retry {
        attempts: u32,
        #[serde(default)]
        delay_ms: Option<u64>,
        #[serde(default)]
        factor: Option<f64>,
        #[serde(default)]
        then: Then,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Then {
    #[default]
    Stop,
    Continue,
    Skip,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    when: When,
    size: Option<usize>,
    ms: Option<u64>,
    #[serde(default)]
    correlated: bool,
    #[serde(default)]
    flush_when_idle: bool,
    #[serde(default)]
    flush_on_shutdown: bool,
    flush_after_ms: Option<u64>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum When {
    Immediate,
    Any,
    AllReady,
    Batch,
    NOf,
    Interval,
    Debounce,
    Window,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotText {
    data_max: usize,
    #[serde(default)]
    overflow: OverflowText,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum OverflowText {
    #[default]
    Wait,
    Reject,
    DropOldest,
    DropNewest,
}

impl FlowCatalog {
    /// Adds a type: a function that makes a routine with a configuration, or says what is wrong with that.
    ///
    /// # Errors
    /// [`TypeTaken`].
    pub fn add(
        &mut self,
        name: impl Into<String>,
        make: impl Fn(&FlowConfig) -> Result<FlowRoutine, String> + Send + Sync + 'static,
    ) -> Result<(), TypeTaken> {
        let name = name.into();
        if self.0.contains_key(&name) {
            return Err(TypeTaken(name));
        }
        self.0.insert(name, Arc::new(make));
        Ok(())
    }

    /// Reads a flow from YAML or JSON.
    ///
    /// # Errors
    /// [`DefinitionError`], the first that is found.
    pub fn read(&self, text: &str) -> Result<Flow, DefinitionError> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let at = error.location().map(|at| place(&at)).unwrap_or_default();
            DefinitionError::Syntax { at, reason: error.to_string() }
        })?;
        if document.version.value != DEFINITION_VERSION {
            let at = place(&document.version.referenced);
            return Err(DefinitionError::OtherVersion { at, found: document.version.value });
        }
        let builder = self.routines(&document)?;
        let connected = document.connections.iter().try_fold(builder, |builder, connection| {
            let (from, to) = ends(connection)?;
            Ok(builder.connect(from, to))
        })?;
        connected.build().map_err(|error| self.placed(&document, error))
    }

    fn routines(&self, document: &Document) -> Result<FlowBuilder, DefinitionError> {
        let mut builder = Flow::builder(document.flow.value.clone()).version(document.revision.unwrap_or(1));
        if let Some(strategy) = &document.on_error {
            builder = builder.on_error(strategy.build());
        }
        for text in &document.routines {
            builder = builder.routine(text.name.value.clone(), self.routine(text)?);
        }
        Ok(builder)
    }

    fn routine(&self, text: &RoutineText) -> Result<FlowRoutine, DefinitionError> {
        let at = place(&text.kind.referenced);
        let unknown = || DefinitionError::UnknownType { at, name: text.kind.value.clone() };
        let make = self.0.get(&text.kind.value).ok_or_else(unknown)?;
        let mut routine = make(&text.config).map_err(|reason| DefinitionError::Config { at, reason })?;
        for (key, value) in &text.config {
            routine = routine.config(key.clone(), value.clone());
        }
        if let Some(policy) = &text.policy {
            let at = place(&policy.referenced);
            let policy = policy.value.build().map_err(|reason| DefinitionError::Config { at, reason })?;
            routine = routine.policy(policy);
        }
        if let Some(strategy) = &text.on_error {
            routine = routine.on_error(strategy.build());
        }
        for (name, slot) in &text.slots {
            let at = place(&slot.referenced);
            let known = routine.spec.slots.iter_mut().find(|known| known.name == *name);
            let Some(known) = known else {
                let error = FlowBuildError::UnknownSlot { routine: text.name.value.clone(), slot: name.clone() };
                return Err(DefinitionError::Graph { at, error });
            };
            (known.data_max, known.overflow) = (slot.value.data_max.max(1), slot.value.overflow.build());
        }
        Ok(routine)
    }

    /// Where an error of the graph stands: at the routine it names, or at the first connection that has it alone.
    fn placed(&self, document: &Document, error: FlowBuildError) -> DefinitionError {
        use FlowBuildError::{BadName, BadPolicy, DuplicatePort, DuplicateRoutine};
        let named = match &error {
            BadName(name) | DuplicateRoutine(name) => Some(name),
            DuplicatePort { routine, .. } | BadPolicy { routine, .. } => Some(routine),
            _ => None,
        };
        let routine = document.routines.iter().rfind(|text| Some(&text.name.value) == named);
        let at = routine.map(|text| place(&text.name.referenced)).or_else(|| {
            let bad = |connection: &&Spanned<String>| {
                let alone = self.routines(document).ok().zip(ends(connection).ok());
                alone.is_some_and(|(builder, (from, to))| builder.connect(from, to).build().is_err())
            };
            document.connections.iter().find(bad).map(|connection| place(&connection.referenced))
        });
        DefinitionError::Graph { at: at.unwrap_or_else(|| place(&document.flow.referenced)), error }
    }
}

impl fmt::Debug for FlowCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn place(at: &serde_saphyr::Location) -> DefinitionPlace {
    DefinitionPlace { line: at.line(), column: at.column() }
}

fn ends(connection: &Spanned<String>) -> Result<(String, String), DefinitionError> {
    match connection.value.split_once("->") {
        Some((from, to)) => Ok((from.trim().to_string(), to.trim().to_string())),
        None => {
            let reason = format!("{:?} does not say routine.event -> routine.slot", connection.value);
            Err(DefinitionError::Syntax { at: place(&connection.referenced), reason })
        }
    }
}

impl Strategy {
    fn build(&self) -> ErrorStrategy {
        match self {
            Self::Stop => ErrorStrategy::Stop,
            Self::Continue => ErrorStrategy::Continue,
            Self::Skip => ErrorStrategy::Skip,
            Self::Retry { attempts, delay_ms, factor, then } => {
                let usual = RetryPolicy::default();
                let policy = RetryPolicy {
                    attempts_max: (*attempts).max(1),
                    first_delay: delay_ms.map_or(usual.first_delay, Duration::from_millis),
                    factor: factor.unwrap_or(usual.factor),
                    ..usual
                };
                let then = match then {
                    Then::Stop => ErrorStrategy::Stop,
                    Then::Continue => ErrorStrategy::Continue,
                    Then::Skip => ErrorStrategy::Skip,
                };
                ErrorStrategy::Retry { policy, then: Box::new(then) }
            }
        }
    }
}

impl PolicyText {
    fn build(&self) -> Result<ActivationPolicy, String> {
        let size = || self.size.ok_or("this policy needs a size".to_string());
        let time = || self.ms.map(Duration::from_millis).ok_or("this policy needs ms".to_string());
        let mut policy = match self.when {
            When::Immediate => ActivationPolicy::immediate(),
            When::Any => ActivationPolicy::any(),
            When::AllReady => ActivationPolicy::all_ready(),
            When::Batch => ActivationPolicy::batch(size()?),
            When::NOf => ActivationPolicy::n_of(size()?),
            When::Interval => ActivationPolicy::interval(time()?),
            When::Debounce => ActivationPolicy::debounce(time()?),
            When::Window => ActivationPolicy::window(time()?),
        };
        if self.correlated {
            policy = policy.correlated();
        }
        if self.flush_when_idle {
            policy = policy.flush_when_idle();
        }
        if self.flush_on_shutdown {
            policy = policy.flush_on_shutdown();
        }
        Ok(match self.flush_after_ms {
            Some(ms) => policy.flush_after(Duration::from_millis(ms)),
            None => policy,
        })
    }
}

impl OverflowText {
    fn build(self) -> Overflow {
        match self {
            Self::Wait => Overflow::Wait,
            Self::Reject => Overflow::Reject,
            Self::DropOldest => Overflow::DropOldest,
            Self::DropNewest => Overflow::DropNewest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Call;

    fn catalog() -> FlowCatalog {
        let pass = |call: &mut Call<()>| Ok(call.emit("out", call.first::<u64>("in").map_or(0, |number| *number))?);
        let mut catalog = FlowCatalog::default();
        let make = move |config: &FlowConfig| match config.get("bad") {
            Some(_) => Err("it is bad".to_string()),
            None => Ok(FlowRoutine::new(pass).slot::<u64>("in").event::<u64>("out")),
        };
        catalog.add("pass", make).unwrap();
        catalog.add("text", |_| Ok(FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<String>("in"))).unwrap();
        assert_eq!(catalog.add("pass", |_| Err(String::new())), Err(TypeTaken("pass".into())));
        catalog
    }

    const WHOLE: &str = "\
version: 1
flow: two steps
revision: 3
on_error: {retry: {attempts: 3, delay_ms: 10, then: skip}}
routines:
  - name: first
    type: pass
    config: {factor: 2}
    slots:
      in: {data_max: 10, overflow: drop_oldest}
  - name: second
    type: pass
    policy: {when: batch, size: 10, flush_when_idle: true, flush_after_ms: 50}
    on_error: continue
connections:
  - first.out -> second.in
";

    #[test]
    fn yaml_and_json_of_the_same_flow_are_the_same_flow() {
        let yaml = catalog().read(WHOLE).unwrap();
        let json = catalog()
            .read(
                r#"{"version": 1, "flow": "two steps", "revision": 3,
                "on_error": {"retry": {"attempts": 3, "delay_ms": 10, "then": "skip"}},
                "routines": [
                  {"name": "first", "type": "pass", "config": {"factor": 2},
                   "slots": {"in": {"data_max": 10, "overflow": "drop_oldest"}}},
                  {"name": "second", "type": "pass", "on_error": "continue",
                   "policy": {"when": "batch", "size": 10, "flush_when_idle": true, "flush_after_ms": 50}}],
                "connections": ["first.out -> second.in"]}"#,
            )
            .unwrap();
        for flow in [yaml, json] {
            assert_eq!((flow.name(), flow.version(), flow.connections().len()), ("two steps", 3, 1));
            let [first, second] = &flow.0.routines[..] else { panic!("two routines") };
            assert_eq!((first.slots[0].data_max, first.slots[0].overflow), (10, Overflow::DropOldest));
            assert_eq!(
                (first.config["factor"].clone(), format!("{:?}", second.policy)),
                (2.into(), "batch(10)".into())
            );
            assert!(matches!(second.strategy, Some(ErrorStrategy::Continue)));
            assert!(matches!(&flow.0.strategy, ErrorStrategy::Retry { policy, .. } if policy.attempts_max == 3));
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let told = |from: &str, to: &str| {
            assert!(WHOLE.contains(from));
            catalog().read(&WHOLE.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert_eq!(told("version: 1", "version: 2"), "line 1, column 10: version 2 is not read; 1 is");
        assert_eq!(told("type: pass", "type: os.system"), "line 7, column 11: there is no routine type \"os.system\"");
        assert_eq!(told("factor: 2", "bad: 2"), "line 7, column 11: it is bad");
        assert!(told("when: batch, size: 10", "when: batch").starts_with("line 13, "));
        assert!(told("      in: {data", "      out: {data").starts_with("line 10, "));
        assert!(told("name: second", "name: first").starts_with("line 11, column 11: there are two routines"));
        let told_of_ports = told("first.out -> second.in", "first.x -> second.in");
        assert_eq!(told_of_ports, "line 16, column 5: the routine \"first\" has no event \"x\"");
        assert!(told("first.out -> second.in", "first.out").starts_with("line 16, column 5: "));
        assert!(told("type: pass\n    policy", "type: text\n    policy").contains("first.out carries u64"));
        assert!(told("    type: pass", "    tipe: pass").contains("tipe"));
        assert!(told("routines:", "routines: [").contains("line "));
    }
}
