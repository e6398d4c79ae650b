//! A flow is a graph of routines: checked when it is built, unchanging afterwards, and without data, so that any number
//! of workers may run it and none sees another's.

use crate::flow::call::Resources;
use crate::flow::routine::AnyLogic;
use crate::flow::{ActivationPolicy, AnyDatum, DataType, Datum, ErrorStrategy, FlowHook, FlowRoutine, LogicKind, Slot};
use crate::limits::TURNS_MAX;
use crate::{Durable, KeepStates, Overflow};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why a flow cannot be built. Correct what it names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlowBuildError {
    /// A name is empty, too long, or has a character that has a meaning in the names of ports and rows.
    #[error("{0:?} is no name: use letters, digits, spaces, - and _, at most 100")]
    BadName(String),
    /// Two routines have one name.
    #[error("there are two routines {0:?}")]
    DuplicateRoutine(String),
    /// Two slots, or two events, of a routine have one name.
    #[error("the routine {routine:?} has two ports {port:?}")]
    DuplicatePort {
        /// Which routine.
        routine: String,
        /// The name.
        port: String,
    },
    /// A connection's end is not of the form `routine.port`.
    #[error("{0:?} does not say routine.port")]
    DanglingConnection(String),
    /// A connection names a routine that is not there.
    #[error("there is no routine {0:?}")]
    UnknownRoutine(String),
    /// A connection names an event that its routine does not have.
    #[error("the routine {routine:?} has no event {event:?}")]
    UnknownEvent {
        /// Which routine.
        routine: String,
        /// The name.
        event: String,
    },
    /// A connection names a slot that its routine does not have.
    #[error("the routine {routine:?} has no slot {slot:?}")]
    UnknownSlot {
        /// Which routine.
        routine: String,
        /// The name.
        slot: String,
    },
    /// An event and a slot that are connected are of different types, and there is no mapping.
    #[error("{from} carries {carries}, and {to} takes {takes}")]
    OtherType {
        /// The event.
        from: String,
        /// Its type.
        carries: &'static str,
        /// The slot.
        to: String,
        /// Its type.
        takes: &'static str,
    },
    /// A policy can never hold at its routine.
    #[error("the policy of {routine:?} can never hold: {reason}")]
    BadPolicy {
        /// Which routine.
        routine: String,
        /// Why.
        reason: String,
    },
}

/// A routine's output port.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub carries: DataType,
}

type Make = Arc<dyn Fn() -> Arc<dyn Any + Send + Sync> + Send + Sync>;

/// A routine as the engine sees it.
pub(crate) struct RoutineSpec {
    pub(crate) name: String,
    pub(crate) slots: Vec<Slot>,
    pub(crate) events: Vec<Event>,
    pub(crate) policy: ActivationPolicy,
    pub(crate) strategy: Option<ErrorStrategy>,
    pub(crate) config: BTreeMap<String, serde_json::Value>,
    pub(crate) logic: Arc<dyn AnyLogic>,
    pub(crate) time_max: Option<Duration>,
    pub(crate) at_once: Option<usize>,
    pub(crate) keep_states: Option<KeepStates>,
    pub(crate) resources: Arc<[(String, Make)]>,
}

impl RoutineSpec {
    pub(crate) fn new(logic: Arc<dyn AnyLogic>) -> Self {
        Self {
            name: String::new(),
            slots: Vec::new(),
            events: Vec::new(),
            policy: ActivationPolicy::default(),
            strategy: None,
            config: BTreeMap::new(),
            logic,
            time_max: None,
            at_once: None,
            keep_states: None,
            resources: Arc::new([]),
        }
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.logic.kind() == LogicKind::Synchronous
    }

    /// How many of its turns there may be at once.
    pub(crate) fn turns_max(&self) -> usize {
        if self.logic.has_state() { 1 } else { self.at_once.unwrap_or(TURNS_MAX) }
    }
}

pub(crate) type Map = Arc<dyn Fn(&Datum) -> Option<Datum> + Send + Sync>;

/// Where an event goes.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) routine: usize,
    pub(crate) slot: usize,
    pub(crate) map: Option<Map>,
    /// Whether a full slot there holds the routine here back: not in a cycle, which would wait for itself.
    pub(crate) presses: bool,
}

/// A graph of routines. Cheap to clone.
#[derive(Clone)]
pub struct Flow(pub(crate) Arc<Graph>);

pub(crate) struct Graph {
    pub(crate) name: Arc<str>,
    pub(crate) version: u32,
    pub(crate) routines: Vec<Arc<RoutineSpec>>,
    /// By routine and event.
    pub(crate) routes: Vec<Vec<Vec<Route>>>,
    /// Which routines feed a routine.
    pub(crate) upstream: Vec<Vec<usize>>,
    /// Whether a routine feeds a slot that rejects what it cannot hold.
    pub(crate) may_be_rejected: Vec<bool>,
    pub(crate) strategy: ErrorStrategy,
    pub(crate) hooks: Vec<Arc<dyn FlowHook>>,
}

/// What stands before a flow's name in the role of a person whose worker runs it.
const ROLE: &str = "flow ";

impl Flow {
    /// The role of somebody whose worker runs the flow of this name.
    pub fn role_of(name: &str) -> String {
        format!("{ROLE}{name}")
    }

    /// The name of the flow that somebody in this role has a worker for, if it is such a role.
    ///
    /// ```
    /// use worksite_model::flow::Flow;
    ///
    /// assert_eq!(Flow::named_in(&Flow::role_of("orders")), Some("orders"));
    /// assert_eq!(Flow::named_in("printer"), None);
    /// ```
    pub fn named_in(role: &str) -> Option<&str> {
        role.strip_prefix(ROLE)
    }

    /// Begins a flow of this name.
    ///
    /// ```
    /// use worksite_model::flow::{Call, Flow, FlowRoutine};
    ///
    /// let double = |call: &mut Call<()>| {
    ///     let number = call.first::<u64>("input").map_or(0, |number| *number);
    ///     Ok(call.emit("output", number * 2)?)
    /// };
    /// let flow = Flow::builder("four times")
    ///     .routine("first", FlowRoutine::new(double).slot::<u64>("input").event::<u64>("output"))
    ///     .routine("second", FlowRoutine::new(double).slot::<u64>("input").event::<u64>("output"))
    ///     .connect("first.output", "second.input")
    ///     .build()?;
    /// assert_eq!(flow.name(), "four times");
    /// # Ok::<(), worksite_model::flow::FlowBuildError>(())
    /// ```
    pub fn builder(name: impl Into<String>) -> FlowBuilder {
        FlowBuilder { name: name.into(), ..FlowBuilder::default() }
    }

    /// Its name, unique in a site.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its version, as its definition says; 1 when it says nothing.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The names of its routines, in order.
    pub fn routines(&self) -> impl Iterator<Item = &str> {
        self.0.routines.iter().map(|routine| routine.name.as_str())
    }

    /// A slot of a routine.
    ///
    /// # Errors
    /// [`FlowBuildError::UnknownRoutine`], [`FlowBuildError::UnknownSlot`].
    pub fn slot(&self, routine: &str, slot: &str) -> Result<&Slot, FlowBuildError> {
        let unknown = || FlowBuildError::UnknownRoutine(routine.into());
        let spec = self.place(routine).and_then(|place| self.0.routines.get(place)).ok_or_else(unknown)?;
        let unknown = || FlowBuildError::UnknownSlot { routine: routine.into(), slot: slot.into() };
        spec.slots.iter().find(|known| known.name == slot).ok_or_else(unknown)
    }

    /// Its connections, as `routine.event` and `routine.slot`.
    pub fn connections(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (routine, events) in self.0.routines.iter().zip(&self.0.routes) {
            for (event, routes) in routine.events.iter().zip(events) {
                all.extend(routes.iter().map(|route| {
                    let to = &self.0.routines[route.routine];
                    (format!("{}.{}", routine.name, event.name), format!("{}.{}", to.name, to.slots[route.slot].name))
                }));
            }
        }
        all
    }

    pub(crate) fn place(&self, routine: &str) -> Option<usize> {
        self.0.routines.iter().position(|known| known.name == routine)
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("name", &self.0.name).field("connections", &self.connections()).finish()
    }
}

/// A flow that is being put together; all is checked in [`FlowBuilder::build`].
#[derive(Default)]
pub struct FlowBuilder {
    name: String,
    version: Option<u32>,
    routines: Vec<(String, FlowRoutine)>,
    connections: Vec<(String, String, Option<Mapping>)>,
    resources: Vec<(String, Make)>,
    strategy: ErrorStrategy,
    hooks: Vec<Arc<dyn FlowHook>>,
}

/// What a connection makes of what it carries.
pub(crate) struct Mapping {
    from: &'static str,
    to: &'static str,
    map: Map,
}

impl FlowBuilder {
    /// Says which version of the flow it is.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// Adds a routine.
    #[must_use]
    pub fn routine(mut self, name: impl Into<String>, routine: FlowRoutine) -> Self {
        self.routines.push((name.into(), routine));
        self
    }

    /// Connects an event with a slot, as `routine.event` and `routine.slot`. The same connection again changes nothing.
    #[must_use]
    pub fn connect(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.connections.push((from.into(), to.into(), None));
        self
    }

    /// [`FlowBuilder::connect`] of an event and a slot of different types.
    #[must_use]
    pub fn connect_mapped<A: Durable + Sync, B: Durable + Sync>(
        mut self,
        from: impl Into<String>,
        to: impl Into<String>,
        map: impl Fn(&A) -> B + Send + Sync + 'static,
    ) -> Self {
        let map: Map = Arc::new(move |datum| {
            let any: &dyn Any = &**datum;
            Some(Arc::new(map(any.downcast_ref::<A>()?)) as Arc<dyn AnyDatum>)
        });
        self.connections.push((from.into(), to.into(), Some(Mapping { from: A::TYPE, to: B::TYPE, map })));
        self
    }

    /// Adds something that cannot be written, such as a pool or a client: each worker makes its own when a routine first
    /// asks for it ([`Call::resource`](crate::flow::Call::resource)), again in each life of the worker.
    #[must_use]
    pub fn resource<R: Any + Send + Sync>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self {
        let make: Make = Arc::new(move || Arc::new(make()));
        self.resources.push((name.into(), make));
        self
    }

    /// Says what becomes of turns that fail, at routines that say nothing. Default: [`ErrorStrategy::Stop`].
    #[must_use]
    pub fn on_error(mut self, strategy: ErrorStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Adds somebody who is told what happens, and may forbid a turn.
    #[must_use]
    pub fn hook(mut self, hook: impl FlowHook) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`FlowBuildError`], the first that is found.
    pub fn build(self) -> Result<Flow, FlowBuildError> {
        check_name(&self.name)?;
        let resources: Arc<[(String, Make)]> = self.resources.into();
        let mut routines: Vec<Arc<RoutineSpec>> = Vec::with_capacity(self.routines.len());
        for (name, FlowRoutine { spec }) in self.routines {
            check_name(&name)?;
            if routines.iter().any(|known| known.name == name) {
                return Err(FlowBuildError::DuplicateRoutine(name));
            }
            let spec = RoutineSpec { name, resources: resources.clone(), ..spec };
            check_ports(&spec)?;
            routines.push(Arc::new(spec));
        }
        let mut routes: Vec<Vec<Vec<Route>>> =
            routines.iter().map(|routine| vec![Vec::new(); routine.events.len()]).collect();
        for (from, to, mapping) in self.connections {
            connect(&routines, &mut routes, &from, &to, mapping)?;
        }
        let upstream = upstream(&routes);
        press(&mut routes);
        let rejects = |route: &Route| routines[route.routine].slots[route.slot].overflow == Overflow::Reject;
        let may_be_rejected = routes.iter().map(|events| events.iter().flatten().any(rejects)).collect();
        let (name, version) = (self.name.into(), self.version.unwrap_or(1));
        Ok(Flow(Arc::new(Graph {
            name,
            version,
            routines,
            routes,
            upstream,
            may_be_rejected,
            strategy: self.strategy,
            hooks: self.hooks,
        })))
    }
}

impl fmt::Debug for FlowBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

fn check_name(name: &str) -> Result<(), FlowBuildError> {
    let good = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let fits = (1..=100).contains(&name.len()) && name.chars().all(good) && name.trim() == name;
    if fits { Ok(()) } else { Err(FlowBuildError::BadName(name.into())) }
}

fn check_ports(spec: &RoutineSpec) -> Result<(), FlowBuildError> {
    let slots = spec.slots.iter().map(|slot| &slot.name);
    let events = spec.events.iter().map(|event| &event.name);
    for ports in [slots.collect::<Vec<_>>(), events.collect()] {
        let mut seen = BTreeSet::new();
        for port in ports {
            check_name(port)?;
            if !seen.insert(port) {
                return Err(FlowBuildError::DuplicatePort { routine: spec.name.clone(), port: port.clone() });
            }
        }
    }
    match spec.policy.trouble(&spec.slots) {
        Some(reason) => Err(FlowBuildError::BadPolicy { routine: spec.name.clone(), reason }),
        None => Ok(()),
    }
}

fn connect(
    routines: &[Arc<RoutineSpec>],
    routes: &mut [Vec<Vec<Route>>],
    from: &str,
    to: &str,
    mapping: Option<Mapping>,
) -> Result<(), FlowBuildError> {
    let ends = |end: &str| match end.split_once('.') {
        Some((routine, port)) => {
            let place = routines.iter().position(|known| known.name == routine);
            let place = place.ok_or_else(|| FlowBuildError::UnknownRoutine(routine.into()))?;
            Ok((place, routine.to_string(), port.to_string()))
        }
        None => Err(FlowBuildError::DanglingConnection(end.into())),
    };
    let (source, source_name, event) = ends(from)?;
    let (target, target_name, slot) = ends(to)?;
    let Some(event) = routines[source].events.iter().position(|known| known.name == event) else {
        return Err(FlowBuildError::UnknownEvent { routine: source_name, event });
    };
    let Some(slot) = routines[target].slots.iter().position(|known| known.name == slot) else {
        return Err(FlowBuildError::UnknownSlot { routine: target_name, slot });
    };
    let (carries, takes) = (routines[source].events[event].carries.name(), routines[target].slots[slot].takes.name());
    let fits = match &mapping {
        Some(mapping) => mapping.from == carries && mapping.to == takes,
        None => carries == takes,
    };
    if !fits {
        return Err(FlowBuildError::OtherType { from: from.into(), carries, to: to.into(), takes });
    }
    let known = &mut routes[source][event];
    if !known.iter().any(|route| (route.routine, route.slot) == (target, slot)) {
        known.push(Route { routine: target, slot, map: mapping.map(|mapping| mapping.map), presses: true });
    }
    Ok(())
}

fn upstream(routes: &[Vec<Vec<Route>>]) -> Vec<Vec<usize>> {
    let mut upstream = vec![BTreeSet::new(); routes.len()];
    for (source, events) in routes.iter().enumerate() {
        for route in events.iter().flatten() {
            upstream[route.routine].insert(source);
        }
    }
    upstream.into_iter().map(|sources| sources.into_iter().collect()).collect()
}

/// A connection within a cycle holds nobody back.
fn press(routes: &mut [Vec<Vec<Route>>]) {
    let next: Vec<BTreeSet<usize>> =
        routes.iter().map(|events| events.iter().flatten().map(|route| route.routine).collect()).collect();
    let reaches = |from: usize, to: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(place) = open.pop() {
            if place == to {
                return true;
            }
            open.extend(next[place].iter().copied().filter(|place| seen.insert(*place)));
        }
        false
    };
    for (source, events) in routes.iter_mut().enumerate() {
        for route in events.iter_mut().flatten() {
            route.presses = !reaches(route.routine, source);
        }
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resources")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Call;

    fn pipe() -> FlowRoutine {
        FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<u64>("in").event::<u64>("out")
    }

    fn of_two() -> FlowBuilder {
        Flow::builder("f").routine("a", pipe()).routine("b", pipe())
    }

    #[test]
    fn a_flow_says_what_is_connected() {
        let flow = of_two().connect("a.out", "b.in").connect("a.out", "b.in").build().unwrap();
        assert_eq!(flow.connections(), [("a.out".to_string(), "b.in".to_string())]);
        assert!(Flow::builder("empty").build().is_ok());
    }

    #[test]
    fn every_mistake_is_named_when_the_flow_is_built() {
        use FlowBuildError::*;
        let error = |builder: FlowBuilder| builder.build().unwrap_err();
        let r = |name: &str| name.to_string();
        assert_eq!(error(of_two().routine("a", pipe())), DuplicateRoutine(r("a")));
        assert_eq!(error(of_two().routine("a.b", pipe())), BadName(r("a.b")));
        assert_eq!(error(Flow::builder("")), BadName(r("")));
        assert_eq!(error(of_two().connect("a", "b.in")), DanglingConnection(r("a")));
        assert_eq!(error(of_two().connect("x.out", "b.in")), UnknownRoutine(r("x")));
        assert_eq!(error(of_two().connect("a.x", "b.in")), UnknownEvent { routine: r("a"), event: r("x") });
        assert_eq!(error(of_two().connect("a.out", "b.x")), UnknownSlot { routine: r("b"), slot: r("x") });
        let twice = of_two().routine("c", pipe().slot::<u64>("in"));
        assert_eq!(error(twice), DuplicatePort { routine: r("c"), port: r("in") });
        let text = FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<String>("in");
        let mixed = error(of_two().routine("t", text).connect("a.out", "t.in"));
        assert_eq!(mixed.to_string(), "a.out carries u64, and t.in takes string");
        let never = FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<u64>("in").holding(10, Default::default());
        let never = Flow::builder("f").routine("a", never.policy(ActivationPolicy::batch(11)));
        assert!(matches!(error(never), BadPolicy { .. }));
    }

    #[test]
    fn types_may_differ_where_a_mapping_stands_between() {
        let text = || FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<String>("in");
        let mapped = of_two().routine("t", text()).connect_mapped("a.out", "t.in", |number: &u64| number.to_string());
        assert!(mapped.build().is_ok());
        let wrong = of_two().routine("t", text()).connect_mapped("a.out", "t.in", |_: &i64| String::new());
        assert!(matches!(wrong.build(), Err(FlowBuildError::OtherType { .. })));
    }

    #[test]
    fn only_connections_outside_cycles_hold_back() {
        let flow = of_two().routine("c", pipe()).connect("a.out", "b.in").connect("b.out", "a.in");
        let flow = flow.connect("b.out", "c.in").connect("c.out", "c.in").build().unwrap();
        let presses = |routine: usize| flow.0.routes[routine][0].iter().map(|route| route.presses).collect::<Vec<_>>();
        assert_eq!((presses(0), presses(1), presses(2)), (vec![false], vec![false, true], vec![false]));
    }
}
