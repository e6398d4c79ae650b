//! A routine's turn with its deliveries: [`next_activation`] decides whose turn it is.

use crate::{Delivery, Inbox, Registry};

/// Deliveries that one routine is to perform, in order, and settle in one change.
#[derive(Debug, PartialEq, Eq)]
pub struct Activation {
    /// The routine's place in the registry; none when no routine takes the (only) delivery.
    pub routine: Option<usize>,
    /// What it is given.
    pub deliveries: Vec<Delivery>,
}

/// Takes the next deliveries out of the inbox: the first in order decides the routine, and those that follow it for
/// the same routine come along, up to `deliveries_max`, so that their state is written once. An asynchronous routine
/// gets one: its effects cannot be taken back for the sake of a neighbour.
pub fn next_activation(inbox: &mut Inbox, registry: &Registry, deliveries_max: usize) -> Option<Activation> {
    let first = inbox.take()?;
    let routine = registry.find(&first.envelope.draft);
    let batch_max = match routine.and_then(|place| registry.get(place)) {
        Some(routine) if !routine.is_async() => deliveries_max,
        _ => 1,
    };
    let mut deliveries = vec![first];
    while deliveries.len() < batch_max
        && inbox.next().is_some_and(|next| registry.find(&next.envelope.draft) == routine)
    {
        deliveries.extend(inbox.take());
    }
    Some(Activation { routine, deliveries })
}
