//! A post is what a sender puts into a slot: one datum or many of one type, each of which becomes a job, in one envelope.

use crate::flow::{JobId, JobNotes};
use crate::{Durable, Encoding, Payload, PayloadError, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Data for one slot of one routine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// The routine.
    pub routine: String,
    /// Its slot.
    pub slot: String,
    /// A job that has not ended by then has failed.
    pub deadline: Option<Timestamp>,
    /// The job that posts it.
    pub parent: Option<JobId>,
    /// What the poster says of the jobs, as JSON.
    pub metadata: Option<String>,
    /// The first of its jobs, when it is volatile.
    pub volatile_from: Option<JobId>,
    encoding: Encoding,
    type_name: String,
    version: u16,
    /// All data behind one another; and where each ends.
    bytes: Bytes,
    ends: Vec<u32>,
}

impl Durable for Post {
    const TYPE: &'static str = "flow post";
}

impl Post {
    /// Data for this slot.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    pub fn new<'a, T: Durable>(
        routine: impl Into<String>,
        slot: impl Into<String>,
        data: impl IntoIterator<Item = &'a T>,
    ) -> Result<Self, PayloadError> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for datum in data {
            crate::payload::encode_onto(datum, &mut bytes)?;
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(Self {
            routine: routine.into(),
            slot: slot.into(),
            deadline: None,
            parent: None,
            metadata: None,
            volatile_from: None,
            encoding: T::ENCODING,
            type_name: T::TYPE.into(),
            version: T::VERSION,
            bytes: Bytes(bytes),
            ends,
        })
    }

    /// A post of one datum that is encoded already.
    pub fn of(routine: impl Into<String>, slot: impl Into<String>, datum: &Payload) -> Self {
        Self {
            routine: routine.into(),
            slot: slot.into(),
            deadline: None,
            parent: None,
            metadata: None,
            volatile_from: None,
            encoding: datum.encoding,
            type_name: datum.type_name.to_string(),
            version: datum.version,
            bytes: Bytes(datum.body.to_vec()),
            ends: vec![u32::try_from(datum.body.len()).unwrap_or(u32::MAX)],
        }
    }

    /// How many data it carries: so many jobs.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it carries none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The type of its data.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// What its jobs carry along at first.
    pub(crate) fn notes(&self) -> JobNotes {
        let metadata = self.metadata.as_deref().and_then(|metadata| serde_json::from_str(metadata).ok());
        JobNotes { metadata, ..JobNotes::default() }
    }

    pub(crate) fn decode(&self, place: usize, as_type: &super::DataType) -> Result<super::Datum, PayloadError> {
        let end = |place: usize| self.ends.get(place).map_or(0, |end| *end as usize);
        let start = place.checked_sub(1).map_or(0, end);
        let bytes = self.bytes.0.get(start..end(place)).unwrap_or_default();
        as_type.decode(self.encoding, &self.type_name, self.version, bytes)
    }
}

/// Bytes that are encoded as such, and not one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Bytes;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{DataType, Taken};

    #[test]
    fn data_come_back_one_by_one() {
        let data = ["a".to_string(), String::new(), "ccc".to_string()];
        let post = Post::new("r", "s", &data).unwrap();
        let post = Payload::encode(&post).unwrap().decode::<Post>().unwrap();
        let read = |place| post.decode(place, &DataType::of::<String>()).unwrap();
        let read: Vec<_> =
            (0..post.len()).map(|place| Taken::<String>::new(&read(place)).unwrap().to_string()).collect();
        assert_eq!(read, data);
        assert!(matches!(post.decode(0, &DataType::of::<u64>()), Err(PayloadError::OtherType { .. })));
        assert!(post.decode(3, &DataType::of::<String>()).is_err());
        assert_eq!(Post::of("r", "s", &Payload::encode(&data[0]).unwrap()).len(), 1);
    }
}
