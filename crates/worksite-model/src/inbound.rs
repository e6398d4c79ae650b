//! The message of seed 000, for who knows it: [`InboundMessage`], with its fields under their names.

use crate::{Delivery, Draft, Durable, Encoding, EnvelopeId, PayloadError, PersonId, Roster};
use serde::{Deserialize, Serialize};

/// A message as seed 000 (`virtualoffice`, `event_system.py`) has it. Stored as JSON with the seed's field names, so that
/// the view `worker_runtime_messages` shows the seed's payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboundMessage {
    /// Who wrote it; 0 is the system.
    pub sender_id: i64,
    /// Their name.
    pub sender_name: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub summary: String,
    /// What is to be done, if anything.
    pub action_item: Option<String>,
    /// What kind it is: `email`, `event`, `ack`, `report`, …
    pub message_type: String,
    /// How it came: `email`, `chat`, `system`, …
    pub channel: String,
    /// In which tick it was written.
    pub tick: i64,
    /// The envelope's id; none until it is durable.
    #[serde(skip)]
    pub message_id: Option<EnvelopeId>,
}

impl Durable for InboundMessage {
    const TYPE: &'static str = "inbound message";
    const ENCODING: Encoding = Encoding::Json;
}

impl InboundMessage {
    /// The draft of this message to this recipient: its kind and channel are the message's, so that filters find it.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    pub fn draft(&self, recipient: impl Into<PersonId>) -> Result<Draft, PayloadError> {
        let draft = Draft::to(recipient, self)?.kind(self.message_type.clone()).channel(self.channel.clone());
        Ok(Draft { from: (self.sender_id != 0).then_some(PersonId(self.sender_id)), ..draft })
    }

    /// The message in a delivery. Mail that is no such message is shown as one: a single foreign letter must not hide the
    /// rest of an inbox, as a single bad row did in the seed.
    pub fn of(delivery: &Delivery, roster: &Roster) -> Self {
        let (id, draft) = (delivery.id(), &delivery.envelope.draft);
        if let Ok(message) = draft.payload.decode::<Self>() {
            return Self { message_id: Some(id), ..message };
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_string();
        let sender = draft.from.and_then(|sender| roster.get(sender));
        Self {
            sender_id: draft.from.map_or(0, |sender| sender.0),
            sender_name: sender.map_or("System", |sender| &sender.name).to_string(),
            subject: text(draft.thread.as_deref()),
            summary: format!("{}, {} bytes", draft.payload.type_name, draft.payload.len()),
            action_item: None,
            message_type: text(draft.kind.as_deref().or(Some(draft.payload.type_name.as_ref()))),
            channel: text(draft.channel.as_deref().or(Some("system"))),
            tick: 0,
            message_id: Some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, Timestamp};
    use std::sync::Arc;

    fn delivered(draft: Draft) -> Delivery {
        Delivery {
            envelope: Arc::new(Envelope { id: EnvelopeId(5), accepted_at: Timestamp::default(), draft }),
            attempt: 1,
        }
    }

    #[test]
    fn a_message_comes_back_with_its_id_and_foreign_mail_is_shown_as_one() {
        let message = InboundMessage {
            sender_id: 3,
            sender_name: "ada".into(),
            message_type: "email".into(),
            ..Default::default()
        };
        let draft = message.draft(1).unwrap();
        assert_eq!((draft.kind.as_deref(), draft.from), (Some("email"), Some(PersonId(3))));
        let expected = InboundMessage { message_id: Some(EnvelopeId(5)), ..message };
        assert_eq!(InboundMessage::of(&delivered(draft), &Roster::default()), expected);
        let foreign = InboundMessage::of(&delivered(Draft::to(1, &7_u64).unwrap()), &Roster::default());
        assert_eq!((foreign.summary.as_str(), foreign.sender_name.as_str()), ("u64, 1 bytes", "System"));
    }
}
