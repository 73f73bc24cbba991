//! stub
use std::collections::BTreeMap;
use std::time::Instant;
#[derive(Debug)]
pub struct Wheel {
    at: BTreeMap<u32, Instant>,
}
impl Wheel {
    pub fn new(_start: Instant) -> Self {
        Self { at: BTreeMap::new() }
    }
    pub fn arm(&mut self, id: u32, at: Instant) {
        self.at.insert(id, at);
    }
    pub fn disarm(&mut self, id: u32) -> bool {
        self.at.remove(&id).is_some()
    }
    pub fn deadline(&self, id: u32) -> Option<Instant> {
        self.at.get(&id).copied()
    }
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
    pub fn next(&self) -> Option<Instant> {
        self.at.values().min().copied()
    }
    pub fn expired(&mut self, now: Instant) -> Option<u32> {
        let id = self.at.iter().find(|(_, at)| **at <= now).map(|(id, _)| *id)?;
        self.at.remove(&id);
        Some(id)
    }
}
