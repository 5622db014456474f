//! Gentle beginnings.

use std::time::Duration;

use rand::RngExt;

use super::{Moment, Pick, Policy};

/// The least share of its requests that an endpoint gets in a slow start: with none at all it would never warm up.
const FIRST_SHARE: f64 = 0.1;

/// The share of what it is picked for that an endpoint is given, this long after it came (back): it grows evenly to 1 over
/// `window`, so that its caches, pools and plans fill while others carry the load.
fn share(since_it_came: Duration, window: Duration) -> f64 {
    if since_it_came >= window {
        return 1.0;
    }
    (since_it_came.as_secs_f64() / window.as_secs_f64()).max(FIRST_SHARE)
}

/// The slow start of one set of candidates.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowStart {
    window: Duration,
    /// From then on nobody is in it any more.
    until: Moment,
}

impl SlowStart {
    /// Of candidates that came (back) at these moments.
    #[must_use]
    pub fn of(up_since: impl Iterator<Item = Moment>, window: Duration) -> Self {
        let until = up_since.max().unwrap_or_default() + window;
        Self { window, until }
    }

    /// What `policy` picks, where candidates that came (back) less than the window ago leave a part of what they are
    /// picked for to others. Where everybody would, nobody does.
    pub fn pick(
        self,
        policy: &dyn Policy,
        pick: Pick<'_>,
        up_since: impl Fn(usize) -> Moment,
    ) -> Option<usize> {
        if pick.now >= self.until {
            return policy.pick(pick);
        }
        pick_gently(policy, pick, up_since, self.window)
    }
}

fn pick_gently(
    policy: &dyn Policy,
    pick: Pick<'_>,
    up_since: impl Fn(usize) -> Moment,
    window: Duration,
) -> Option<usize> {
    let Pick {
        turn,
        key,
        avoid,
        now,
        rng,
    } = pick;
    let mut avoid = avoid.to_vec();
    let mut first = None;
    loop {
        let again = Pick {
            turn,
            key,
            avoid: &avoid,
            now,
            rng,
        };
        let Some(picked) = policy.pick(again) else {
            return first;
        };
        let share = share(now.since(up_since(picked)), window);
        if share >= 1.0 || rng.random_bool(share) {
            return Some(picked);
        }
        first = first.or(Some(picked));
        avoid.insert(avoid.partition_point(|&index| index < picked), picked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_evenly_to_one() {
        let window = Duration::from_secs(10);
        let shares = [0, 1, 5, 10, 11].map(|seconds| share(Duration::from_secs(seconds), window));
        assert_eq!(shares, [0.1, 0.1, 0.5, 1.0, 1.0]);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 1.0, "no slow start");
    }
}
