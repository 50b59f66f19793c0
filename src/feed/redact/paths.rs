//! Where in an event something is to be looked at: paths of field names as a tree.

use super::walk;

/// A tree of paths; at some of its places stands what the paths were added for.
#[derive(Debug)]
pub(super) struct Paths<T> {
    places: Vec<Place<T>>,
}

#[derive(Debug)]
struct Place<T> {
    inside: Vec<(String, usize)>,
    at: Vec<T>,
}

/// The whole event.
pub(super) const ROOT: usize = 0;

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { places: vec![Place { inside: Vec::new(), at: Vec::new() }] }
    }
}

impl<T> Paths<T> {
    pub(super) fn add(&mut self, path: &[String], what: T) {
        let mut place = ROOT;
        for name in path {
            let known = self.places[place].inside.iter().find(|(of, _)| of == name);
            place = match known {
                Some((_, inside)) => *inside,
                None => {
                    let new = self.places.len();
                    self.places.push(Place { inside: Vec::new(), at: Vec::new() });
                    self.places[place].inside.push((name.clone(), new));
                    new
                }
            };
        }
        self.places[place].at.push(what);
    }

    /// Where the member lies whose name stands so in the text (without its quotes).
    pub(super) fn inside(&self, place: usize, name: &[u8]) -> Option<usize> {
        let inside = &self.places[place].inside;
        // Escapes are rare.
        if !name.contains(&b'\\') {
            return inside.iter().find(|(of, _)| of.as_bytes() == name).map(|(_, place)| *place);
        }
        let name = walk::decoded(name);
        inside.iter().find(|(of, _)| **of == *name).map(|(_, place)| *place)
    }

    /// Something deeper is to be looked at.
    pub(super) fn goes_on(&self, place: usize) -> bool {
        !self.places[place].inside.is_empty()
    }

    pub(super) fn at(&self, place: usize) -> &[T] {
        &self.places[place].at
    }
}
