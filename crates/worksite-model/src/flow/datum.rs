//! A datum is what moves through a flow: a typed value, shared and not encoded while it is in memory, so that a chain of
//! routines costs no encoding. It is encoded when it has to wait in a slot across a commit.

use crate::payload::decode_bytes;
use crate::{Durable, Encoding, Payload, PayloadError};
use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A value whatever its type.
pub trait AnyDatum: Any + Send + Sync {
    /// Encodes it as its type says.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    fn encode(&self) -> Result<Payload, PayloadError>;
    /// [`Durable::TYPE`].
    fn type_name(&self) -> &'static str;
}

impl<T: Durable + Sync> AnyDatum for T {
    fn encode(&self) -> Result<Payload, PayloadError> {
        Payload::encode(self)
    }

    fn type_name(&self) -> &'static str {
        T::TYPE
    }
}

/// A shared value: a fan-out copies none.
pub type Datum = Arc<dyn AnyDatum>;

type Decode = fn(Encoding, &str, u16, &[u8]) -> Result<Datum, PayloadError>;

/// The type of a slot or an event.
#[derive(Clone, Copy)]
pub struct DataType {
    name: &'static str,
    decode: Decode,
}

impl DataType {
    /// The type `T`.
    pub fn of<T: Durable + Sync>() -> Self {
        let decode: Decode = |encoding, type_name, version, bytes| {
            decode_bytes::<T>(encoding, type_name, version, bytes).map(|value| Arc::new(value) as Datum)
        };
        Self { name: T::TYPE, decode }
    }

    /// [`Durable::TYPE`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn decode(
        &self,
        encoding: Encoding,
        name: &str,
        version: u16,
        bytes: &[u8],
    ) -> Result<Datum, PayloadError> {
        (self.decode)(encoding, name, version, bytes)
    }

    pub(crate) fn read(&self, payload: &Payload) -> Result<Datum, PayloadError> {
        if !payload.is_intact() {
            return Err(PayloadError::Damaged { type_name: payload.type_name.to_string() });
        }
        self.decode(payload.encoding, &payload.type_name, payload.version, &payload.body)
    }
}

impl std::fmt::Debug for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A value a routine was given, by its type.
#[derive(Clone)]
pub struct Taken<T>(Datum, PhantomData<fn() -> T>);

impl<T: Durable + Sync> Taken<T> {
    /// The value, if it is of this type.
    pub(crate) fn new(datum: &Datum) -> Option<Self> {
        let any: &dyn Any = &**datum;
        any.is::<T>().then(|| Self(datum.clone(), PhantomData))
    }
}

impl<T: Durable + Sync> Deref for Taken<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let any: &dyn Any = &*self.0;
        match any.downcast_ref() {
            Some(value) => value,
            None => unreachable!("its type was looked at when it was made"),
        }
    }
}

impl<T: Durable + Sync + std::fmt::Debug> std::fmt::Debug for Taken<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
