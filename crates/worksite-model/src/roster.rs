//! The [`Roster`]: the active people, a value that can be compared, and that costs nothing to copy: copies share their
//! pages, so that the store and the house keep a million people once.

use crate::{Person, PersonId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::slice;
use std::sync::Arc;

/// How many people stand on a page, and how many pages or nodes in an index: the copy of a page, which a change of a shared
/// roster costs at each height, takes about a microsecond, and what a page costs beside its people does not count.
const WIDTH: usize = 64;

/// The active people, in order of their ids; one entry an id, the last one given wins. A copy costs nothing, and shares
/// with the original what neither has changed.
///
/// ```
/// use worksite_model::{Person, Roster};
///
/// let before = Roster::new([Person::new(1, "ada"), Person::new(2, "grace")]);
/// let after = Roster::new([Person::new(2, "grace"), Person::new(3, "barbara")]);
/// let difference = before.difference(&after);
/// assert_eq!(difference.joined, [Person::new(3, "barbara")]);
/// assert_eq!(difference.left, [1.into()]);
/// assert_eq!(difference.target, after);
/// ```
#[derive(Clone, Default)]
pub struct Roster {
    root: Arc<Node>,
    len: usize,
}

/// A tree of pages, all of one height. Only the root may be empty.
#[derive(Clone)]
enum Node {
    /// People in order of ids.
    Page(Vec<Person>),
    /// Nodes in order of ids, each with the id from which on people stand there; in the first also who comes before it.
    Index(Vec<(PersonId, Arc<Node>)>),
}

impl Roster {
    /// The roster of these people.
    pub fn new(people: impl IntoIterator<Item = Person>) -> Self {
        let mut roster = Self::default();
        people.into_iter().for_each(|person| roster.insert(person));
        roster
    }

    /// Whether this person is active.
    pub fn contains(&self, id: PersonId) -> bool {
        self.get(id).is_some()
    }

    /// The active person with this id.
    pub fn get(&self, id: PersonId) -> Option<&Person> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Index(nodes) => node = &nodes[home(nodes, id)].1,
                Node::Page(people) => return Some(&people[find(people, id).ok()?]),
            }
        }
    }

    /// The active people in order of their ids.
    pub fn people(&self) -> impl ExactSizeIterator<Item = &Person> {
        People { path: Vec::new(), next: Some(&*self.root), page: [].iter(), left: self.len }
    }

    /// How many people are active.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is active.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What has to happen for this roster to become `target`.
    pub fn difference(&self, target: &Roster) -> RosterDifference {
        let mut difference = RosterDifference { target: target.clone(), ..RosterDifference::default() };
        let mut known = self.people().peekable();
        for person in target.people() {
            difference.left.extend(before(&mut known, person.id));
            match known.next_if(|known| known.id == person.id) {
                None => difference.joined.push(person.clone()),
                Some(known) if known != person => difference.changed.push(person.clone()),
                Some(_) => {}
            }
        }
        difference.left.extend(known.map(|person| person.id));
        difference
    }

    /// Takes somebody up, or their new name and role.
    pub(crate) fn insert(&mut self, person: Person) {
        let (is_new, behind) = Arc::make_mut(&mut self.root).insert(person);
        self.len += usize::from(is_new);
        if let Some(behind) = behind {
            let front = std::mem::take(&mut self.root);
            self.root = Arc::new(Node::Index(vec![entry(front), entry(Arc::new(behind))]));
        }
    }

    /// Lets somebody go who may be there.
    pub(crate) fn remove(&mut self, id: PersonId) {
        if !self.contains(id) {
            return;
        }
        Arc::make_mut(&mut self.root).remove(id);
        self.len -= 1;
        while let Node::Index(nodes) = &*self.root
            && nodes.len() < 2
        {
            self.root = nodes.first().map(|(_, node)| node.clone()).unwrap_or_default();
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::Page(Vec::new())
    }
}

impl Node {
    /// Puts a person in their place: whether nobody had it, and those behind who have no room here any more.
    fn insert(&mut self, person: Person) -> (bool, Option<Self>) {
        match self {
            Self::Page(people) => match find(people, person.id) {
                Ok(place) => {
                    people[place] = person;
                    (false, None)
                }
                Err(place) => (true, put(people, place, person).map(Self::Page)),
            },
            Self::Index(nodes) => {
                let place = home(nodes, person.id);
                let (first, node) = &mut nodes[place];
                *first = person.id.min(*first);
                let (is_new, behind) = Arc::make_mut(node).insert(person);
                let behind = behind.and_then(|behind| put(nodes, place + 1, entry(Arc::new(behind))));
                (is_new, behind.map(Self::Index))
            }
        }
    }

    /// Takes somebody out who is there.
    fn remove(&mut self, id: PersonId) {
        match self {
            Self::Page(people) => {
                if let Ok(place) = find(people, id) {
                    people.remove(place);
                }
            }
            Self::Index(nodes) => {
                let place = home(nodes, id);
                Arc::make_mut(&mut nodes[place].1).remove(id);
                close_ranks(nodes, place);
            }
        }
    }

    /// Takes over what stands in the node behind it.
    fn append(&mut self, behind: Self) {
        match (self, behind) {
            (Self::Page(people), Self::Page(behind)) => people.extend(behind),
            (Self::Index(nodes), Self::Index(behind)) => nodes.extend(behind),
            _ => unreachable!("neighbours are of one height"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Page(people) => people.len(),
            Self::Index(nodes) => nodes.len(),
        }
    }
}

/// The node that holds this id, if any does.
fn home(nodes: &[(PersonId, Arc<Node>)], id: PersonId) -> usize {
    nodes.partition_point(|(first, _)| *first <= id).saturating_sub(1)
}

fn find(people: &[Person], id: PersonId) -> Result<usize, usize> {
    people.binary_search_by_key(&id, |person| person.id)
}

/// A node as it stands in an index. It holds somebody.
fn entry(node: Arc<Node>) -> (PersonId, Arc<Node>) {
    let first = match &*node {
        Node::Page(people) => people[0].id,
        Node::Index(nodes) => nodes[0].0,
    };
    (first, node)
}

/// Puts something in its place; when there are too many then, those behind come back.
fn put<T>(row: &mut Vec<T>, place: usize, item: T) -> Option<Vec<T>> {
    if row.len() < WIDTH {
        // Room is made by halves, and never more than will be used.
        if row.len() == row.capacity() {
            row.reserve_exact(row.len().max(4).min(WIDTH - row.len()));
        }
        row.insert(place, item);
        return None;
    }
    // Who comes last begins a page of their own: people who come in order fill theirs, and nobody comes in between later.
    let middle = if place == WIDTH { WIDTH } else { WIDTH / 2 };
    let mut behind = row.split_off(middle);
    if place < middle {
        row.insert(place, item)
    } else {
        behind.insert(place - middle, item)
    }
    Some(behind)
}

/// Somebody has gone from this node: with few left it goes to a neighbour with few, and with nobody left it goes.
fn close_ranks(nodes: &mut Vec<(PersonId, Arc<Node>)>, place: usize) {
    for front in [place.checked_sub(1), Some(place)].into_iter().flatten() {
        let pair = nodes.get(front).zip(nodes.get(front + 1));
        if pair.is_some_and(|((_, one), (_, other))| one.len() + other.len() <= WIDTH / 2) {
            let (_, behind) = nodes.remove(front + 1);
            return Arc::make_mut(&mut nodes[front].1).append(Arc::unwrap_or_clone(behind));
        }
    }
    if nodes[place].1.len() == 0 {
        nodes.remove(place);
    }
}

/// Who stands before this id, taken from the people.
fn before<'a>(people: &mut Peekable<impl Iterator<Item = &'a Person>>, id: PersonId) -> impl Iterator<Item = PersonId> {
    std::iter::from_fn(move || people.next_if(|person| person.id < id).map(|person| person.id))
}

/// People in order of ids.
struct People<'a> {
    /// What is left of the indices above the page.
    path: Vec<slice::Iter<'a, (PersonId, Arc<Node>)>>,
    next: Option<&'a Node>,
    page: slice::Iter<'a, Person>,
    left: usize,
}

impl<'a> Iterator for People<'a> {
    type Item = &'a Person;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(person) = self.page.next() {
                self.left -= 1;
                return Some(person);
            }
            match self.next.take() {
                Some(Node::Page(people)) => self.page = people.iter(),
                Some(Node::Index(nodes)) => self.path.push(nodes.iter()),
                None => match self.path.last_mut()?.next() {
                    Some((_, node)) => self.next = Some(node),
                    None => drop(self.path.pop()),
                },
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for People<'_> {}

impl PartialEq for Roster {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root) || (self.len == other.len && self.people().eq(other.people()))
    }
}

impl Eq for Roster {}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.people()).finish()
    }
}

impl FromIterator<Person> for Roster {
    fn from_iter<I: IntoIterator<Item = Person>>(people: I) -> Self {
        Self::new(people)
    }
}

/// As a map from ids to people.
impl Serialize for Roster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.people().map(|person| (person.id, person)))
    }
}

impl<'de> Deserialize<'de> for Roster {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<PersonId, Person>::deserialize(deserializer).map(|people| people.into_values().collect())
    }
}

/// How one roster becomes another, in order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RosterDifference {
    /// Who is new.
    pub joined: Vec<Person>,
    /// Who is no longer active.
    pub left: Vec<PersonId>,
    /// Who stays under another name or role, as they are now.
    pub changed: Vec<Person>,
    /// The roster it leads to.
    pub target: Roster,
}

impl RosterDifference {
    /// Whether the two rosters are equal.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty() && self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RosterChange;

    /// A number that looks like chance: the next of its kind.
    fn scattered(number: u64) -> u64 {
        number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
    }

    fn is_as(roster: &Roster, expected: &BTreeMap<PersonId, Person>) {
        assert_eq!(roster.len(), expected.len());
        assert_eq!(roster.people().len(), expected.len());
        assert!(roster.people().eq(expected.values()));
    }

    /// The pages of a node, and that all is in order there: ids ascend and lie where an index says, nobody is empty or too long,
    /// and all pages are of one height, which is told.
    fn checked(node: &Node, pages: &mut usize) -> usize {
        assert!((1..=WIDTH).contains(&node.len()));
        match node {
            Node::Page(people) => {
                assert!(people.is_sorted_by(|one, other| one.id < other.id) && people.capacity() <= WIDTH);
                *pages += 1;
                0
            }
            Node::Index(nodes) => {
                assert!(nodes.is_sorted_by(|one, other| one.0 < other.0) && nodes.capacity() <= WIDTH);
                let heights: Vec<_> = nodes.iter().map(|(_, node)| checked(node, pages)).collect();
                assert!(heights.iter().all(|height| *height == heights[0]));
                heights[0] + 1
            }
        }
    }

    #[test]
    fn a_difference_leads_to_the_target() {
        let before = Roster::new([Person::new(1, "a"), Person::new(2, "b"), Person::new(3, "c")]);
        let after = Roster::new([Person::new(2, "B"), Person::new(3, "c"), Person::new(9, "z")]);
        let difference = before.difference(&after);
        assert_eq!(difference.joined, [Person::new(9, "z")]);
        assert_eq!(difference.changed, [Person::new(2, "B")]);
        assert_eq!(difference.left, [PersonId(1)]);
        assert_eq!(difference.target, after);
        assert!(after.difference(&after).is_empty() && before.difference(&before.clone()).is_empty());
    }

    #[test]
    fn the_last_entry_of_an_id_wins() {
        let roster = Roster::new([Person::new(1, "old"), Person::new(1, "new")]);
        assert_eq!(roster.len(), 1);
        assert_eq!(roster.get(PersonId(1)).map(|person| &*person.name), Some("new"));
    }

    #[test]
    fn whoever_comes_and_goes_in_whatever_order_a_roster_is_as_a_map() {
        let (mut roster, mut expected, mut number) = (Roster::default(), BTreeMap::new(), 7);
        let mut copies = Vec::new();
        for step in 0..40_000 {
            number = scattered(number);
            let id = PersonId((number >> 33) as i64 % 12_000);
            // Many come, then many go, and a third time.
            if (number >> 20) % 10 < [8, 1, 6, 0][step / 10_000] {
                let person = Person::new(id, format!("{step}"));
                roster.insert(person.clone());
                expected.insert(id, person);
            } else {
                roster.remove(id);
                expected.remove(&id);
            }
            assert_eq!(roster.get(id), expected.get(&id));
            if step % 4_000 == 0 {
                is_as(&roster, &expected);
                copies.push((roster.clone(), expected.clone()));
            }
        }
        is_as(&roster, &expected);
        // What was copied on the way is as it was.
        for (roster, expected) in copies.iter().filter(|(_, expected)| !expected.is_empty()) {
            is_as(roster, expected);
            checked(&roster.root, &mut 0);
        }
        for id in expected.into_keys() {
            roster.remove(id);
        }
        assert!(roster == Roster::default() && roster.get(PersonId(1)).is_none());
        assert!(matches!(&*roster.root, Node::Page(people) if people.is_empty()));
    }

    #[test]
    fn people_who_come_in_order_fill_their_pages_and_few_left_share_one() {
        let mut roster = Roster::new((0..10_000).map(|id| Person::new(id, "worker")));
        let mut pages = 0;
        assert_eq!(checked(&roster.root, &mut pages), 2);
        assert_eq!(pages, 10_000_usize.div_ceil(WIDTH));
        for id in (0..10_000).filter(|id| id % 100 > 0) {
            roster.remove(PersonId(id));
        }
        pages = 0;
        checked(&roster.root, &mut pages);
        assert!(roster.len() == 100 && pages <= 8, "{pages} pages");
    }

    #[test]
    fn a_roster_with_another_person_shares_all_pages_but_one() {
        let roster = Roster::new((0..1_000).map(|id| Person::new(2 * id, "worker")));
        let difference = RosterChange::Join(vec![Person::new(501, "new")]).difference(&roster);
        let (Node::Index(before), Node::Index(after)) = (&*roster.root, &*difference.target.root) else {
            panic!("a thousand people fill several pages");
        };
        let shared = after.iter().filter(|(_, node)| before.iter().any(|(_, known)| Arc::ptr_eq(node, known)));
        assert_eq!(shared.count(), before.len() - 1);
        assert_eq!(roster.len() + 1, difference.target.len());
    }

    #[test]
    fn a_roster_is_written_as_a_map() {
        let roster = Roster::new([Person::new(2, "grace"), Person::new(1, "ada")]);
        let text = serde_json::to_string(&roster).unwrap();
        let person = |id: i64, name: &str| format!(r#""{id}":{{"id":{id},"name":"{name}","role":""}}"#);
        assert_eq!(text, format!("{{{},{}}}", person(1, "ada"), person(2, "grace")));
        assert_eq!(serde_json::from_str::<Roster>(&text).unwrap(), roster);
    }
}
