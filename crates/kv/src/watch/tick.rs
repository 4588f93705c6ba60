//! Inputs from the clock and from the budget.

use std::{sync::Arc, time::Duration};

use super::{
    event::RevisionEvents,
    hub::{Hub, StreamId},
    stream::{Item, Memory, State},
};

/// Ticks after which a stream must have taken what was read for it, when others wait for the place.
const TAKE_TICKS: u64 = 2;

impl Hub {
    /// Time passed: progress notifications that are due, another try for what found no room or failed, and places of
    /// reads taken back from streams that stand still while others wait for one. Call it every 100 to 500 ms.
    pub fn tick(&mut self, now: Duration) {
        self.tick += 1;
        for id in self.stream_ids() {
            self.line_up(id, false);
            let Some(stream) = self.stream_mut(id) else { continue };
            if now < stream.next_tick {
                continue;
            }
            stream.next_tick = now.saturating_add(stream.every);
            if stream.notify > 0 {
                let slots: Vec<u32> = stream.ids.iter().map(|entry| entry.1).collect();
                slots.into_iter().for_each(|slot| self.notify(id, slot));
            }
        }
        self.room();
        if !self.has_place() && (!self.waiting.is_empty() || !self.wanted.is_empty()) {
            self.take_back();
        }
    }

    fn notify(&mut self, id: StreamId, slot: u32) {
        let last = self.last;
        let future = self.is_future(slot, last);
        let Some(watch) = self.watches.get_mut(slot).filter(|watch| watch.notify) else { return };
        let active = std::mem::take(&mut watch.active);
        if active || future || watch.state != State::Live {
            return;
        }
        let watch = watch.to_ref(slot);
        // A stream that does not even take this is told at the next tick.
        drop(self.try_enqueue(id, Item::Progress { watch, revision: last }));
    }

    /// Bytes may have come back to [`tidegate_base::Holder::Watches`]: streams that found none try again.
    pub fn room(&mut self) {
        for id in std::mem::take(&mut self.starved) {
            if let Some(stream) = self.stream_mut(id) {
                stream.starved = false;
            }
            self.wake(id);
        }
    }

    fn take_back(&mut self) {
        let tick = self.tick;
        let mut old = Vec::new();
        self.held.retain(|held| {
            let keep = held.tick + TAKE_TICKS > tick && held.batch.strong_count() > 0;
            if !keep {
                old.push((held.batch.clone(), held.streams.clone()));
            }
            keep
        });
        for (batch, streams) in old {
            for id in streams {
                let Some(stream) = self.stream_mut(id) else { continue };
                if let Some(sending) = &mut stream.sending
                    && matches!(&sending.memory, Memory::Batch { batch: held, .. } if batch.as_ptr() == Arc::as_ptr(held))
                {
                    sending.memory = Memory::None;
                }
                for item in &mut stream.queue {
                    if let Item::Batch { watch, batch: held, at, from } = item
                        && batch.as_ptr() == Arc::as_ptr(held)
                    {
                        let rest = held.revisions.get(*at).map_or(i64::MAX, RevisionEvents::revision);
                        *item = Item::Revoked { watch: *watch, revision: rest.max(*from) };
                    }
                }
            }
        }
    }
}
