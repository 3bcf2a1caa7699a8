//! What filters leave with an exchange: shares to be given back, and notes to themselves.

use std::fmt;
use std::rc::Rc;

/// Something that an exchange takes a share of and gives back when it is over, whatever comes of
/// it: even of one that is lost to a panic ([`Exchange::hold`](super::Exchange::hold)).
pub trait Hold {
    /// Takes the share back that `token` stands for.
    fn release(&self, token: u64);
}

/// Shares to be given back, also by an exchange that is dropped in its midst.
#[derive(Default)]
pub(super) struct Held(Vec<(Rc<dyn Hold>, u64)>);

impl Held {
    pub(super) fn add(&mut self, holder: Rc<dyn Hold>, token: u64) {
        self.0.push((holder, token));
    }

    pub(super) fn release(&mut self) {
        for (holder, token) in self.0.drain(..) {
            holder.release(token);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} held", self.0.len())
    }
}

/// What filters remember of an exchange, each by its address.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<(usize, u64)>);

impl Notes {
    pub(super) fn get<F>(&self, filter: &F) -> u64 {
        let key = address_of(filter);
        self.0.iter().find(|(of, _)| *of == key).map_or(0, |(_, note)| *note)
    }

    pub(super) fn set<F>(&mut self, filter: &F, note: u64) {
        let key = address_of(filter);
        match self.0.iter_mut().find(|(of, _)| *of == key) {
            Some(known) => known.1 = note,
            None => self.0.push((key, note)),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn address_of<F>(filter: &F) -> usize {
    const { assert!(size_of::<F>() > 0, "values without a size share their address") };
    std::ptr::from_ref(filter).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_has_a_note_of_its_own() {
        let (a, b) = (1u8, 1u8);
        let mut notes = Notes::default();
        notes.set(&a, 7);
        notes.set(&b, 8);
        notes.set(&a, 9);
        assert_eq!((notes.get(&a), notes.get(&b), notes.0.len()), (9, 8, 2));
        notes.clear();
        assert_eq!(notes.get(&a), 0);
    }
}
