//! Whoever will be done first.

use std::time::Duration;

use super::cheapest::cheapest;
use super::{Candidate, Moment, Pick, Policy};

/// What the first answer of a candidate counts as while it is awaited: more than any latency, so that nobody else goes
/// there until something is known.
const AWAITED_MICROS: f32 = 1e9;

/// Picks the candidate with the least product of its latency estimate and of the requests that would then wait there,
/// for its weight: it prefers the fast, leaves alone who turns slow, and tries it again as its estimate decays.
/// (Finagle's `Peak EWMA`, linkerd's default.) A failure enters the estimate as a long latency, so that failing fast
/// attracts nobody.
#[derive(Debug)]
pub struct PeakEwma {
    candidates: Box<[Candidate]>,
    decay: Duration,
}

impl PeakEwma {
    /// Over these candidates; estimates decay with this time constant.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>, decay: Duration) -> Self {
        Self { candidates, decay }
    }

    fn cost(&self, index: usize, now: Moment) -> f32 {
        let Candidate { load, weight, .. } = &self.candidates[index];
        // Who never answered gets one request, and no more until it does.
        let awaited = || AWAITED_MICROS * load.in_flight() as f32;
        let cost = load.expected_micros(now, self.decay).unwrap_or_else(awaited);
        cost / *weight as f32
    }
}

impl Policy for PeakEwma {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let Pick { avoid, now, rng, .. } = pick;
        cheapest(self.candidates.len(), avoid, rng, |index| self.cost(index, now))
    }

    fn explain(&self, index: usize, _: Option<u64>, now: Moment) -> String {
        let Candidate { load, weight, .. } = &self.candidates[index];
        let in_flight = load.in_flight();
        match load.expected_micros(now, self.decay) {
            Some(micros) => {
                let (latency, cost) = (micros / 1e3, micros / 1e3 / *weight as f32);
                format!(
                    "{latency:.2} ms expected with {in_flight} in flight, for a weight of {weight}: {cost:.2}"
                )
            }
            None => format!("nothing is known of it, and {in_flight} in flight are to tell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{busy, picks};
    use super::*;

    const DECAY: Duration = Duration::from_secs(2);

    /// Candidates with these requests in flight and latencies in milliseconds.
    fn policy(known: &[(u32, Option<u64>)]) -> PeakEwma {
        let in_flight: Vec<_> = known.iter().map(|&(in_flight, _)| (1, in_flight)).collect();
        let candidates = busy(&in_flight);
        for (candidate, (_, latency)) in candidates.iter().zip(known) {
            if let Some(latency) = latency {
                let latency = Duration::from_millis(*latency);
                candidate.load.observe(latency, Moment::default(), DECAY);
            }
        }
        PeakEwma::over(candidates, DECAY)
    }

    #[test]
    fn latency_times_requests_decides() {
        assert_eq!(picks(&policy(&[(0, Some(20)), (4, Some(2))]), 10, &[]), [0, 10]);
        assert_eq!(picks(&policy(&[(0, Some(20)), (10, Some(2))]), 10, &[]), [10, 0]);
    }

    #[test]
    fn who_is_unknown_gets_one_request_and_no_more_until_it_answers() {
        assert_eq!(picks(&policy(&[(0, None), (0, Some(2))]), 10, &[]), [10, 0]);
        assert_eq!(picks(&policy(&[(1, None), (40, Some(20))]), 10, &[]), [0, 10]);
        assert_eq!(picks(&policy(&[(3, None), (1, None)]), 10, &[]), [0, 10]);
    }

    #[test]
    fn who_was_slow_is_tried_with_one_request_at_a_time() {
        let policy = policy(&[(1, Some(20)), (3, Some(2))]);
        let later = Moment::default() + Duration::from_secs(10);
        let cost = |index| policy.cost(index, later);
        assert!(cost(0) > cost(1), "nobody follows the one that is under way");
        policy.candidates[0].load.end();
        assert!(cost(0) < cost(1), "its 20 ms have decayed");
    }

    #[test]
    fn who_was_slow_is_tried_again_after_a_while() {
        let policy = policy(&[(0, Some(20)), (0, Some(2))]);
        let picked_after = |seconds| {
            let now = Moment::default() + Duration::from_secs(seconds);
            policy.candidates[1]
                .load
                .observe(Duration::from_millis(2), now, DECAY);
            let mut rng = rand::rng();
            policy.pick(Pick {
                turn: 0,
                key: None,
                avoid: &[],
                now,
                rng: &mut rng,
            })
        };
        assert_eq!(picked_after(1), Some(1));
        assert_eq!(picked_after(5), Some(0), "20 ms have decayed below 2 ms");
    }
}
