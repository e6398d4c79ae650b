//! Pictures of a flow, for people: Mermaid and DOT, with the counts of a worker when there is a report.

use crate::flow::{Flow, FlowReport, Pressure, RoutineReport};
use std::fmt::Write;

impl Flow {
    /// The flow as a Mermaid flowchart; with a report, with counts and how full its slots are.
    pub fn mermaid(&self, report: Option<&FlowReport>) -> String {
        let mut text = String::from("flowchart LR\n");
        for (place, spec) in self.0.routines.iter().enumerate() {
            let label =
                std::iter::once(spec.name.clone()).chain(lines(report, place)).collect::<Vec<_>>().join("<br/>");
            let _ = writeln!(text, "    r{place}[\"{label}\"]");
        }
        for (source, events) in self.0.routes.iter().enumerate() {
            for (event, routes) in self.0.routines[source].events.iter().zip(events) {
                for route in routes {
                    let slot = &self.0.routines[route.routine].slots[route.slot].name;
                    let _ = writeln!(text, "    r{source} -- \"{} → {slot}\" --> r{}", event.name, route.routine);
                }
            }
        }
        text
    }

    /// The flow in the DOT language; with a report, with counts and how full its slots are.
    pub fn dot(&self, report: Option<&FlowReport>) -> String {
        let mut text = format!("digraph \"{}\" {{\n    rankdir=LR;\n    node [shape=box];\n", self.name());
        for (place, spec) in self.0.routines.iter().enumerate() {
            let label = std::iter::once(spec.name.clone()).chain(lines(report, place)).collect::<Vec<_>>().join("\\n");
            let _ = writeln!(text, "    r{place} [label=\"{label}\"];");
        }
        for (source, events) in self.0.routes.iter().enumerate() {
            for (event, routes) in self.0.routines[source].events.iter().zip(events) {
                for route in routes {
                    let slot = &self.0.routines[route.routine].slots[route.slot].name;
                    let label = format!("{} → {slot}", event.name);
                    let _ = writeln!(text, "    r{source} -> r{} [label=\"{label}\"];", route.routine);
                }
            }
        }
        text.push_str("}\n");
        text
    }
}

fn lines(report: Option<&FlowReport>, place: usize) -> Vec<String> {
    report.and_then(|report| report.routines.get(place)).map(counts).unwrap_or_default()
}

fn counts(routine: &RoutineReport) -> Vec<String> {
    let mut lines = vec![format!("{} done, {} failed", routine.activations, routine.failures)];
    for slot in &routine.slots {
        let mark = match slot.pressure {
            Pressure::Low => "",
            Pressure::Medium => " (medium)",
            Pressure::High => " (high)",
            Pressure::Critical => " (full)",
        };
        lines.push(format!("{} {}/{}{mark}", slot.name, slot.waiting, slot.data_max));
    }
    lines
}
