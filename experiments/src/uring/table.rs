//! Values in places that are used again under another generation.

use super::tag::{Id, Tag};

/// Values by [`Id`]. A look-up with a stale id finds nothing.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts a value in. `None`, and the value is dropped, when there are more than a tag can name.
    pub(super) fn insert(&mut self, value: T) -> Option<Id> {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Some(Id { index, generation: place.generation });
        }
        let index = u32::try_from(self.places.len()).ok().filter(|index| *index < Tag::MOST_PLACES)?;
        self.places.push(Place { generation: 0, value: Some(value) });
        Some(Id { index, generation: 0 })
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let place = self.places.get(id.index as usize).filter(|place| place.generation == id.generation)?;
        place.value.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let place =
            self.places.get_mut(id.index as usize).filter(|place| place.generation == id.generation)?;
        place.value.as_mut()
    }

    /// Takes a value out; its place is used again, under the next generation.
    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let place =
            self.places.get_mut(id.index as usize).filter(|place| place.generation == id.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }

    /// All ids in use.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..)
            .zip(&self.places)
            .filter(|(_, place)| place.value.is_some())
            .map(|(index, place)| Id { index, generation: place.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut table = Table::default();
        let first = table.insert('a').unwrap();
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b').unwrap();
        assert_eq!(first.index, second.index);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(first), None);
        assert_eq!((table.get(second), table.len()), (Some(&'b'), 1));
        assert_eq!(table.ids().collect::<Vec<_>>(), [second]);
    }
}
