//! An encoding is a promise to old files: [`Payload`] is encoded bytes behind a checked envelope that names the
//! encoding, the type, its version and a checksum, and [`Durable`] is what a type promises to be stored.
//!
//! Two encodings: bincode 2 (compact, the default) and JSON (readable in the file, any shape). Before bytes reach a
//! decoder the checksum has been compared, and the decoder works under a limit: without one, nine damaged bytes make
//! bincode ask for terabytes and end the process. After decoding, the whole length must have been used.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The most bytes a decoder may claim for one value: a fence against damaged lengths, not a quota.
pub const DECODED_BYTES_MAX: usize = 1 << 30;

/// The largest buffer a thread keeps for encoding.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where values are encoded before their length is known: bytes are allocated once, at their length.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a body's bytes are to be read. The number is written to files and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// bincode 2, standard configuration, through serde: compact; fields and variants may not be reordered.
    Bincode = 1,
    /// JSON: readable in the file; for shapes that bincode cannot read back (`serde_json::Value`, untagged enums).
    Json = 2,
}

impl Encoding {
    /// The encoding with this number in a file.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Bincode),
            2 => Some(Self::Json),
            _ => None,
        }
    }
}

/// A type whose values may be stored: a message, a reply, a routine's state.
///
/// `TYPE` and `VERSION` are written beside each value. Change `VERSION` when the shape changes and teach
/// [`Durable::upgrade`] the old one: bincode cannot tell a swapped field from a right one.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use worksite_model::{Durable, Payload};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Greeting { text: String }
/// impl Durable for Greeting { const TYPE: &'static str = "greeting"; }
///
/// let stored = Payload::encode(&Greeting { text: "hello".into() })?;
/// assert_eq!(stored.decode::<Greeting>()?.text, "hello");
/// # Ok::<(), worksite_model::PayloadError>(())
/// ```
pub trait Durable: Serialize + DeserializeOwned + Send + 'static {
    /// The name of this type in files. Mail finds its routine by it.
    const TYPE: &'static str;
    /// The version of the shape, counted from 1.
    const VERSION: u16 = 1;
    /// How values are encoded from now on; older values are read as they were written.
    const ENCODING: Encoding = Encoding::Bincode;

    /// Reads a value written as another version. The default knows none.
    ///
    /// # Errors
    /// [`PayloadError::UnknownVersion`] for a version this build cannot read.
    fn upgrade(old: &Payload) -> Result<Self, PayloadError> {
        Err(PayloadError::UnknownVersion { type_name: Self::TYPE, version: old.version })
    }
}

macro_rules! durable {
    ($($type:ty => $name:literal, $encoding:ident;)*) => {$(
        impl Durable for $type {
            const TYPE: &'static str = $name;
            const ENCODING: Encoding = Encoding::$encoding;
        }
    )*};
}
durable! {
    () => "unit", Bincode;
    bool => "bool", Bincode;
    i64 => "i64", Bincode;
    u64 => "u64", Bincode;
    f64 => "f64", Bincode;
    String => "string", Bincode;
    serde_json::Value => "json", Json;
}

/// Encoded bytes with all that is needed to read them back, or to know that they cannot be.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How to read `body`.
    pub encoding: Encoding,
    /// [`Durable::TYPE`] of what was encoded.
    pub type_name: Cow<'static, str>,
    /// [`Durable::VERSION`] of what was encoded.
    pub version: u16,
    /// CRC-32 over the three fields above and the body.
    pub checksum: u32,
    /// The encoded bytes; shared, so that a clone copies none.
    pub body: Arc<[u8]>,
}

impl Payload {
    /// Encodes a value as its type says.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when serde or the encoding refuses the value.
    pub fn encode<T: Durable>(value: &T) -> Result<Self, PayloadError> {
        // Taken, not borrowed: the value's own code may encode something, too.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let encoded = encode_onto(value, &mut scratch);
        let payload =
            encoded.map(|()| Self::from_body(T::ENCODING, Cow::Borrowed(T::TYPE), T::VERSION, scratch[..].into()));
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(scratch);
        }
        payload
    }

    /// Puts the checked envelope around bytes that are encoded already.
    pub fn from_body(encoding: Encoding, type_name: Cow<'static, str>, version: u16, body: Arc<[u8]>) -> Self {
        let checksum = checksum(encoding, &type_name, version, &body);
        Self { encoding, type_name, version, checksum, body }
    }

    /// Whether the bytes are those that were encoded.
    pub fn is_intact(&self) -> bool {
        checksum(self.encoding, &self.type_name, self.version, &self.body) == self.checksum
    }

    /// Reads the value back, after the envelope has been checked.
    ///
    /// # Errors
    /// [`PayloadError`]: damaged bytes, another type, an unknown version, or bytes that are not such a value.
    pub fn decode<T: Durable>(&self) -> Result<T, PayloadError> {
        if !self.is_intact() {
            return Err(PayloadError::Damaged { type_name: self.type_name.to_string() });
        }
        if self.type_name != T::TYPE {
            return Err(PayloadError::OtherType { wanted: T::TYPE, found: self.type_name.to_string() });
        }
        if self.version != T::VERSION { T::upgrade(self) } else { self.decode_body() }
    }

    /// Reads the body as `T` without looking at the envelope: for [`Durable::upgrade`], which knows what it holds.
    ///
    /// # Errors
    /// [`PayloadError::Undecodable`] when the bytes are not a whole `T` and nothing else.
    pub fn decode_body<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode_slice(self.encoding, &self.type_name, &self.body)
    }

    /// The length of the body in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the body has no bytes (as that of `()`).
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{} ({:?}, {} bytes)", self.type_name, self.version, self.encoding, self.body.len())
    }
}

/// Why a value could not be stored or read back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The value cannot be encoded. Change the type, or choose JSON for it.
    #[error("a {type_name} cannot be encoded: {reason}")]
    Unencodable {
        /// The type that was to be stored.
        type_name: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The checksum does not fit the bytes: the file was damaged or edited.
    #[error("the stored {type_name} is damaged: its checksum does not fit")]
    Damaged {
        /// The type the envelope names.
        type_name: String,
    },
    /// The bytes hold another type than the one asked for.
    #[error("the stored value is a {found}, not a {wanted}")]
    OtherType {
        /// The type asked for.
        wanted: &'static str,
        /// The type the envelope names.
        found: String,
    },
    /// The value was written as a version that this build cannot read. Teach `upgrade` that version.
    #[error("this build cannot read version {version} of {type_name}")]
    UnknownVersion {
        /// The type asked for.
        type_name: &'static str,
        /// The version in the file.
        version: u16,
    },
    /// The bytes are not a whole value of the type: its shape changed under an unchanged version.
    #[error("the stored {type_name} cannot be decoded: {reason}")]
    Undecodable {
        /// The type the envelope names.
        type_name: String,
        /// What the decoder said.
        reason: String,
    },
}

/// Encodes a value behind what is in the buffer already.
pub(crate) fn encode_onto<T: Durable>(value: &T, buffer: &mut Vec<u8>) -> Result<(), PayloadError> {
    match T::ENCODING {
        Encoding::Bincode => bincode::serde::encode_into_std_write(value, buffer, bincode::config::standard())
            .map(drop)
            .map_err(unencodable::<T>),
        Encoding::Json => serde_json::to_writer(buffer, value).map_err(unencodable::<T>),
    }
}

/// Decodes bytes that something else has checked: one datum of many behind one checked envelope.
#[inline(always)]
pub(crate) fn decode_bytes<T: Durable>(
    encoding: Encoding,
    type_name: &str,
    version: u16,
    bytes: &[u8],
) -> Result<T, PayloadError> {
    if type_name != T::TYPE {
        return Err(PayloadError::OtherType { wanted: T::TYPE, found: type_name.to_string() });
    }
    if version != T::VERSION {
        return T::upgrade(&Payload::from_body(encoding, type_name.to_string().into(), version, bytes.into()));
    }
    decode_slice(encoding, type_name, bytes)
}

#[inline]
fn decode_slice<T: DeserializeOwned>(encoding: Encoding, type_name: &str, bytes: &[u8]) -> Result<T, PayloadError> {
    let undecodable = |reason: &dyn fmt::Display| PayloadError::Undecodable {
        type_name: type_name.to_string(),
        reason: reason.to_string(),
    };
    match encoding {
        Encoding::Bincode => {
            let config = bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();
            let (value, used) =
                bincode::serde::decode_from_slice(bytes, config).map_err(|error| undecodable(&error))?;
            if used != bytes.len() {
                return Err(undecodable(&format_args!("{} bytes were left over", bytes.len() - used)));
            }
            Ok(value)
        }
        Encoding::Json => serde_json::from_slice(bytes).map_err(|error| undecodable(&error)),
    }
}

fn checksum(encoding: Encoding, type_name: &str, version: u16, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[encoding as u8]);
    hasher.update(&version.to_le_bytes());
    hasher.update(type_name.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn unencodable<T: Durable>(error: impl fmt::Display) -> PayloadError {
    PayloadError::Unencodable { type_name: T::TYPE, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Greeting {
        text: String,
        tone: u8,
    }
    impl Durable for Greeting {
        const TYPE: &'static str = "greeting";
        const VERSION: u16 = 2;
        fn upgrade(old: &Payload) -> Result<Self, PayloadError> {
            match old.version {
                1 => old.decode_body::<String>().map(|text| Self { text, tone: 0 }),
                version => Err(PayloadError::UnknownVersion { type_name: Self::TYPE, version }),
            }
        }
    }

    fn greeting() -> Greeting {
        Greeting { text: "hello".into(), tone: 7 }
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        let stored = Payload::encode(&greeting()).unwrap();
        assert_eq!(stored.decode::<Greeting>().unwrap(), greeting());
        let json = serde_json::json!({"nested": [1, null, {"a": "b"}]});
        assert_eq!(Payload::encode(&json).unwrap().decode::<serde_json::Value>().unwrap(), json);
    }

    #[test]
    fn the_bytes_of_released_versions_never_change() {
        // Golden bytes: a file written by the first release must stay readable.
        let golden = Payload::from_body(
            Encoding::Bincode,
            "greeting".into(),
            2,
            [5, b'h', b'e', b'l', b'l', b'o', 7][..].into(),
        );
        assert_eq!(Payload::encode(&greeting()).unwrap(), golden);
        assert_eq!(golden.checksum, 2_878_446_057);
    }

    #[test]
    fn a_damaged_byte_is_an_error_wherever_it_is() {
        let stored = Payload::encode(&greeting()).unwrap();
        for index in 0..stored.len() {
            let mut body = stored.body.to_vec();
            body[index] ^= 0x40;
            let damaged = Payload { body: body.into(), ..stored.clone() };
            assert!(matches!(damaged.decode::<Greeting>(), Err(PayloadError::Damaged { .. })));
        }
    }

    #[test]
    fn an_older_version_is_upgraded_and_a_newer_one_refused() {
        let old = Payload::from_body(Encoding::Bincode, "greeting".into(), 1, [2, b'h', b'i'][..].into());
        assert_eq!(old.decode::<Greeting>().unwrap(), Greeting { text: "hi".into(), tone: 0 });
        let newer = Payload::from_body(Encoding::Bincode, "greeting".into(), 3, [][..].into());
        assert_eq!(
            newer.decode::<Greeting>().unwrap_err(),
            PayloadError::UnknownVersion { type_name: "greeting", version: 3 }
        );
    }

    #[test]
    fn left_over_bytes_and_other_types_are_errors() {
        let longer = Payload::from_body(Encoding::Bincode, "u64".into(), 1, [1, 1][..].into());
        assert!(matches!(longer.decode::<u64>(), Err(PayloadError::Undecodable { .. })));
        let text = Payload::encode(&String::from("text")).unwrap();
        assert_eq!(
            text.decode::<u64>().unwrap_err(),
            PayloadError::OtherType { wanted: "u64", found: "string".into() }
        );
    }

    #[test]
    fn a_damaged_length_is_an_error_and_not_an_allocation() {
        // 0xFD announces an eight-byte length; this one claims an exabyte.
        let bomb = [0xFD, 0, 0, 0, 0, 0, 0, 0x10, 0];
        let stored = Payload::from_body(Encoding::Bincode, "string".into(), 1, bomb[..].into());
        assert!(matches!(stored.decode::<String>(), Err(PayloadError::Undecodable { .. })));
    }
}
