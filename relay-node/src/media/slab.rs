//! A vector with stable keys, so that tables hold numbers instead of names.

/// Values under small keys; a freed key is used again, so whoever removes a value also removes
/// its key from wherever it is kept.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> usize {
        match self.entries.iter().position(Option::is_none) {
            Some(key) => {
                self.entries[key] = Some(value);
                key
            }
            None => {
                self.entries.push(Some(value));
                self.entries.len() - 1
            }
        }
    }

    pub fn remove(&mut self, key: usize) -> Option<T> {
        self.entries.get_mut(key)?.take()
    }

    pub fn get(&self, key: usize) -> Option<&T> {
        self.entries.get(key)?.as_ref()
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key)?.as_mut()
    }

    /// One more than the largest key.
    pub fn end(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().enumerate().filter_map(|(key, e)| Some((key, e.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.entries.iter_mut().enumerate().filter_map(|(key, e)| Some((key, e.as_mut()?)))
    }
}
