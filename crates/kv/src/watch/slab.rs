//! Things by number, in the order of their numbers.

#[derive(Debug)]
struct Place<T> {
    /// Tells a number that was used again from its former use.
    generation: u32,
    thing: Option<T>,
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// Generation of a new place.
    first_generation: u32,
}

/// Makes room for one more, an eighth at a time: doubling would leave half of a large table unused, and charged to nobody.
pub(super) fn grow_by_eighths<T>(table: &mut Vec<T>) {
    if table.len() == table.capacity() {
        table.reserve_exact((table.len() / 8).max(4));
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), first_generation: 0 }
    }
}

impl<T> Slab<T> {
    /// Adds a thing; answers its number and the generation of it.
    pub(super) fn insert(&mut self, thing: T) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or_else(|| {
            grow_by_eighths(&mut self.places);
            self.places.push(Place { generation: self.first_generation, thing: None });
            u32::try_from(self.places.len() - 1).expect("each thing is leased: far fewer than 2^32")
        });
        let place = &mut self.places[slot as usize];
        place.thing = Some(thing);
        (slot, place.generation)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let place = self.places.get_mut(slot as usize)?;
        let thing = place.thing.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        if self.free.len() == self.places.len() {
            // All are gone: the table need not stay as large as it ever was. No number comes twice with a generation.
            let next = self.places.iter().map(|place| place.generation).max().unwrap_or(0);
            *self = Self { first_generation: next, ..Self::default() };
        }
        Some(thing)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.thing.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.thing.as_mut()
    }

    pub(super) fn get_of(&self, slot: u32, generation: u32) -> Option<&T> {
        self.places.get(slot as usize).filter(|place| place.generation == generation)?.thing.as_ref()
    }

    pub(super) fn get_of_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize).filter(|place| place.generation == generation)?.thing.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        (0..).zip(&self.places).filter_map(|(slot, place)| Some((slot, place.generation, place.thing.as_ref()?)))
    }

    /// Bytes of a place.
    #[cfg(test)]
    pub(super) const PLACE_BYTES: usize = size_of::<Place<T>>();

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
