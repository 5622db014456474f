//! Whom to ask for its load.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Load, Moment, SIGNAL_LIMITS};

/// Between two looks for old news.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// So many are asked at once at most: a policy compares no more than these.
const MAX_ASKED: usize = 16;

/// Those whose last word on their load is getting old, or was relied on often; of many, some drawn at random.
pub fn whom_to_ask<'a, T>(
    places: &'a [T],
    load: impl Fn(&'a T) -> &'a Load,
    now: Moment,
    rng: &mut dyn Rng,
) -> Vec<&'a T> {
    let is_silent = |place: &&'a T| {
        load(place).last_signal().is_none_or(|(told, at)| {
            now.since(at) > SIGNAL_LIMITS.max_age / 2 || told.uses >= SIGNAL_LIMITS.max_uses
        })
    };
    let silent: Vec<&T> = places.iter().filter(is_silent).collect();
    silent.sample(rng, MAX_ASKED).copied().collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::LoadReport;
    use super::*;

    #[test]
    fn who_told_of_late_is_not_asked() {
        let loads = [(); 3].map(|()| Load::of(std::sync::Arc::default()));
        let now = Moment::from_micros(5_000_000);
        let report = LoadReport {
            in_flight: Some(0),
            ..LoadReport::default()
        };
        loads[0].report(&report, now);
        loads[1].report(&report, now.before(SIGNAL_LIMITS.max_age));
        let mut rng = StdRng::seed_from_u64(1);
        let asked = whom_to_ask(&loads, |load| load, now, &mut rng);
        assert_eq!(asked.len(), 2, "one told a while ago, one never");
        assert!(!asked.iter().any(|load| std::ptr::eq(*load, &loads[0])));
        (0..SIGNAL_LIMITS.max_uses).for_each(|_| loads[0].begin());
        assert_eq!(
            whom_to_ask(&loads, |load| load, now, &mut rng).len(),
            3,
            "used up"
        );
    }

    #[test]
    fn of_many_some_are_asked() {
        let loads: Vec<_> = (0..40).map(|_| Load::of(std::sync::Arc::default())).collect();
        let mut rng = StdRng::seed_from_u64(1);
        let asked = whom_to_ask(&loads, |load| load, Moment::default(), &mut rng);
        assert_eq!(asked.len(), MAX_ASKED);
    }
}
