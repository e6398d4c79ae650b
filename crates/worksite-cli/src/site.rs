//! The site owns opening a file for reading, and the names of its people.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use worksite::prelude::*;
use worksite::store::Reader;

/// Opens a file for reading.
pub(crate) fn open(file: &Path) -> Result<Reader, Box<dyn Error>> {
    if !file.exists() {
        return Err(format!("there is no file {}; give the path of a site", file.display()).into());
    }
    Ok(Reader::open(file)?)
}

/// Who is active, or has mail waiting.
pub(crate) struct People(BTreeMap<PersonId, String>);

impl People {
    pub(crate) fn of(reader: &Reader) -> Result<Self, Box<dyn Error>> {
        let away = reader.inboxes()?.into_iter().filter_map(|inbox| Some((inbox.person, inbox.name?)));
        let mut people: BTreeMap<_, _> = away.collect();
        people.extend(reader.roster()?.people().map(|person| (person.id, person.name.to_string())));
        Ok(Self(people))
    }

    pub(crate) fn name(&self, person: PersonId) -> String {
        self.0.get(&person).cloned().unwrap_or_else(|| format!("person {person}"))
    }

    /// Who is meant by a number or a name.
    pub(crate) fn find(&self, wanted: &str) -> Result<PersonId, Box<dyn Error>> {
        let named: Vec<_> = self.0.iter().filter(|(_, name)| *name == wanted).map(|(person, _)| *person).collect();
        match (named.as_slice(), wanted.parse::<i64>()) {
            ([person], _) => Ok(*person),
            (_, Ok(id)) if self.0.contains_key(&PersonId(id)) => Ok(PersonId(id)),
            ([], _) => {
                Err(format!("nobody here has the name or number {wanted:?}; `workers` lists who is here").into())
            }
            (several, _) => {
                let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(format!("{wanted:?} is the name of {}; give a number", ids.join(" and ")).into())
            }
        }
    }
}
