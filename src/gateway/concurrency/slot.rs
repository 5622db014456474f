//! One request's place at an endpoint.

use std::sync::Arc;

use super::lane::Lane;
use crate::gateway::balance::Load;

/// One request that an endpoint has, from the pick on. Because a guard holds the count, it cannot drift; when it goes, whoever
/// waits for room is told.
#[derive(Debug)]
pub struct Slot {
    load: Arc<Load>,
    lane: Arc<Lane>,
}

impl Slot {
    /// A place at the endpoint with this load, unless it has as many requests for the model as it may.
    #[must_use]
    pub fn take(load: &Arc<Load>, most: u32, lane: &Arc<Lane>) -> Option<Self> {
        load.try_begin(most).then(|| Self {
            load: Arc::clone(load),
            lane: Arc::clone(lane),
        })
    }

    /// What is known of the endpoint for the model.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Whose requests they are.
    #[must_use]
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.end();
        self.lane.room().tell();
    }
}
