//! Letters own how an envelope and its payload are shown: as text where they are text, otherwise as what is known of them.

use crate::site::People;
use serde_json::{Map, Value, json};
use worksite::model::Envelope;
use worksite::prelude::*;

/// All that is known of an envelope.
pub(crate) fn envelope(envelope: &Envelope, people: &People) -> Value {
    let draft = &envelope.draft;
    json!({
        "id": envelope.id.0,
        "to": draft.to.0,
        "to_name": people.name(draft.to),
        "from": draft.from.map(|person| person.0),
        "from_name": draft.from.map_or_else(|| "outside".into(), |person| people.name(person)),
        "routine": draft.routine,
        "priority": format!("{:?}", draft.priority).to_lowercase(),
        "accepted_at": envelope.accepted_at.as_micros(),
        "not_before": draft.not_before.map(Timestamp::as_micros),
        "expires_at": draft.expires_at.map(Timestamp::as_micros),
        "key": draft.key,
        "kind": draft.kind,
        "channel": draft.channel,
        "thread": draft.thread,
        "reply_to": draft.reply_to.map(|id| id.0),
        "payload": payload(&draft.payload),
    })
}

/// An object with more in it.
pub(crate) fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// What a payload is, and what it says if that is text.
pub(crate) fn payload(payload: &Payload) -> Value {
    let encoding = match payload.encoding {
        Encoding::Bincode => "bincode",
        Encoding::Json => "json",
    };
    let known =
        json!({"type": payload.type_name, "version": payload.version, "encoding": encoding, "bytes": payload.len()});
    let says = match payload.encoding {
        Encoding::Json => payload.decode_body::<Value>().ok().map(|value| json!({ "json": value })),
        Encoding::Bincode => payload.decode::<String>().ok().map(|text| json!({ "text": text })),
    };
    with(known, says.unwrap_or_default())
}

/// A payload in words, for a table.
pub(crate) fn in_words(payload: &Map<String, Value>) -> String {
    let known = |key: &str| payload.get(key).map_or_else(String::new, |value| value.to_string().replace('"', ""));
    match (payload.get("text"), payload.get("json")) {
        (Some(Value::String(text)), _) | (_, Some(Value::String(text))) => text.clone(),
        (_, Some(value)) => value.to_string(),
        _ => format!("{} v{}, {}, {} bytes", known("type"), known("version"), known("encoding"), known("bytes")),
    }
}
