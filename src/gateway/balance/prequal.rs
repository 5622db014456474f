//! Whoever says that it will be done first, of those that are not full.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::cheapest::{least, nth_open, open};
use super::load::{SignalLimits, Told};
use super::{Candidate, Moment, Pick, Policy};

/// Candidates that are compared for one pick: all of a small set, as many drawn ones of a larger.
const POOL: usize = 16;
/// A worker's word on its load is not relied on for longer, nor for more requests: it stands for the load of then.
pub const SIGNAL_LIMITS: SignalLimits = SignalLimits {
    max_age: Duration::from_secs(1),
    max_uses: 8,
};

/// Google's Prequal (Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024): a candidate is *hot* when its requests in flight
/// are above a quantile of all; of the cold ones, the one with the lowest latency is picked. So load is not levelled,
/// which it need not be, but nobody is overrun, and antagonists on a machine are avoided.
///
/// What it goes by is what workers say of themselves in their answers: requests in flight there, whoever sent them, and
/// what a request takes at that load. Where there is no recent word of a worker, what this gateway itself has seen of it
/// stands in (the paper picks at random then). The latency told is scaled by what was sent there since it was told, so
/// that requests between two answers do not all go the same way. Failures are not in it: what this gateway has seen of them
/// counts at least, so that a worker which does nothing but fail attracts nobody.
#[derive(Debug)]
pub struct Prequal {
    candidates: Box<[Candidate]>,
    hot_quantile: f64,
    decay: Duration,
}

/// One candidate, as a pick sees it.
#[derive(Clone, Copy, Default)]
struct View {
    index: usize,
    /// Its own recent word.
    told: Option<Told>,
    in_flight: u32,
    /// Requests in flight for its weight.
    occupancy: f32,
}

impl Prequal {
    /// Over these candidates. Above `hot_quantile` of the requests in flight one is hot; `decay` is that of the latencies
    /// that this gateway itself has seen.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>, hot_quantile: f64, decay: Duration) -> Self {
        Self {
            candidates,
            hot_quantile,
            decay,
        }
    }

    /// Which of the candidates are hot now, in their order, where all are compared with all.
    #[must_use]
    pub fn hot(&self, now: Moment) -> Vec<bool> {
        let count = self.candidates.len();
        let occupancies: Vec<f32> = (0..count).map(|index| self.view(index, now).occupancy).collect();
        let mut sorted = occupancies.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let rank = (self.hot_quantile * count.saturating_sub(1) as f64) as usize;
        let bound = sorted.get(rank).copied().unwrap_or_default();
        occupancies.iter().map(|&occupancy| occupancy > bound).collect()
    }

    fn view(&self, index: usize, now: Moment) -> View {
        let Candidate { load, weight, .. } = &self.candidates[index];
        let told = load.signal(now, &SIGNAL_LIMITS);
        let in_flight = told.map_or_else(|| load.in_flight(), |told| told.in_flight + told.uses);
        View {
            index,
            told,
            in_flight,
            occupancy: in_flight as f32 / *weight as f32,
        }
    }

    /// Microseconds that a request is expected to take there, where anything is known.
    fn latency(&self, view: &View, now: Moment) -> Option<f32> {
        let load = &self.candidates[view.index].load;
        // A worker that only fails knows no latency; what its failures cost, it does not say.
        let by_its_word = view.told.and_then(|told| {
            let since_then = (told.in_flight + told.uses + 1) as f32 / (told.in_flight + 1) as f32;
            let latency = told.latency_micros? as f32 * since_then;
            Some(latency.max(load.trouble_micros(now, self.decay)))
        });
        by_its_word.or_else(|| load.expected_micros(now, self.decay))
    }

    /// What speaks against a cold one. Who never answered gets one request, and no more until it does.
    fn cost(&self, view: &View, now: Moment) -> f32 {
        let unknown = if view.in_flight == 0 { 0.0 } else { f32::MAX };
        self.latency(view, now).unwrap_or(unknown)
    }

    fn drawn(&self, avoid: &[usize], rng: &mut dyn Rng, now: Moment, views: &mut [View; POOL]) -> usize {
        let count = self.candidates.len();
        let open = open(count, avoid);
        let drawn = open.min(POOL);
        for (n, view) in views.iter_mut().take(drawn).enumerate() {
            let n = if open <= POOL {
                n
            } else {
                rng.random_range(0..open)
            };
            *view = self.view(nth_open(n, avoid), now);
        }
        drawn
    }
}

impl Policy for Prequal {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let mut views = [View::default(); POOL];
        let drawn = self.drawn(pick.avoid, pick.rng, pick.now, &mut views);
        let views = &views[..drawn];
        let bound = hot_above(views, self.hot_quantile)?;
        // A hot one costs more than any cold one, of which there always are some.
        let cost = |nth: usize| {
            let view = &views[nth];
            if view.occupancy <= bound {
                self.cost(view, pick.now)
            } else {
                f32::INFINITY
            }
        };
        least(0..drawn, pick.rng, cost).map(|nth| views[nth].index)
    }

    fn explain(&self, index: usize, _: Option<u64>, now: Moment) -> String {
        let mut views = [View::default(); POOL];
        let drawn = self.candidates.len().min(POOL);
        for (other, view) in views.iter_mut().take(drawn).enumerate() {
            *view = self.view(other, now);
        }
        let bound = hot_above(&views[..drawn], self.hot_quantile).unwrap_or_default();
        let view = self.view(index, now);
        let occupancy = view.occupancy;
        let heat = if occupancy > bound { "hot" } else { "cold" };
        let expected = match self.latency(&view, now) {
            None => "no latency known".to_owned(),
            Some(micros) => format!("{:.2} ms expected", micros / 1e3),
        };
        format!("{heat}: {occupancy:.2} in flight for its weight, and hot above {bound:.2}; {expected}")
    }
}

/// The occupancy above which one is hot: the lower `quantile` of all, so that some are always cold.
fn hot_above(views: &[View], quantile: f64) -> Option<f32> {
    let last = views.len().checked_sub(1)?;
    // Of numbers that are not negative, the bits are in the order of the numbers, and quicker to compare.
    let mut occupancies = [0; POOL];
    for (occupancy, view) in occupancies.iter_mut().zip(views) {
        *occupancy = view.occupancy.to_bits();
    }
    let rank = (quantile * last as f64) as usize;
    let (_, bound, _) = occupancies[..=last].select_nth_unstable(rank.min(last));
    Some(f32::from_bits(*bound))
}

#[cfg(test)]
mod tests {
    use super::super::LoadReport;
    use super::super::fixture::{busy, picks};
    use super::*;

    const DECAY: Duration = Duration::from_secs(2);

    /// Candidates that told these requests in flight and latencies in microseconds.
    fn policy(told: &[(u32, u32)]) -> Prequal {
        let candidates = busy(&vec![(1, 0); told.len()]);
        for (candidate, &(in_flight, latency)) in candidates.iter().zip(told) {
            let report = LoadReport {
                in_flight: Some(in_flight),
                latency_micros: Some(latency),
                ..LoadReport::default()
            };
            candidate.load.report(&report, Moment::default());
        }
        Prequal::over(candidates, 0.75, DECAY)
    }

    #[test]
    fn of_the_cold_the_fastest_is_picked() {
        let policy = policy(&[(9, 100), (1, 3_000), (0, 20_000), (2, 2_000), (1, 2_500)]);
        assert_eq!(
            picks(&policy, 10, &[]),
            [0, 0, 0, 10, 0],
            "the first is fastest, and hot"
        );
        assert_eq!(picks(&policy, 10, &[0, 3]), [0, 0, 0, 0, 10]);
    }

    #[test]
    fn whoever_has_more_to_do_than_most_is_hot() {
        let policy = policy(&[(0, 100), (1, 100), (9, 100), (2, 100)]);
        assert_eq!(policy.hot(Moment::default()), [false, false, true, false]);
        for (index, is_hot) in policy.hot(Moment::default()).into_iter().enumerate() {
            let explained = policy.explain(index, None, Moment::default());
            assert_eq!(explained.starts_with("hot"), is_hot, "{explained}");
        }
        let alone = Prequal::over(busy(&[(1, 7)]), 0.75, DECAY);
        assert_eq!(alone.hot(Moment::default()), [false]);
        assert!(
            Prequal::over(busy(&[]), 0.75, DECAY)
                .hot(Moment::default())
                .is_empty()
        );
    }

    #[test]
    fn what_was_sent_since_is_counted() {
        let policy = policy(&[(0, 2_000), (0, 2_500), (0, 9_000)]);
        assert_eq!(picks(&policy, 10, &[]), [10, 0, 0]);
        policy.candidates[0].load.begin();
        assert_eq!(
            picks(&policy, 10, &[]),
            [0, 10, 0],
            "2 ms with one before it take 4"
        );
    }

    #[test]
    fn a_word_that_is_too_old_gives_way_to_what_the_gateway_saw() {
        let policy = policy(&[(0, 2_000), (0, 9_000)]);
        let later = Moment::default() + SIGNAL_LIMITS.max_age * 2;
        policy.candidates[0]
            .load
            .observe(Duration::from_millis(30), later, DECAY);
        policy.candidates[1]
            .load
            .observe(Duration::from_millis(10), later, DECAY);
        let mut rng = rand::rng();
        let picked = policy.pick(Pick {
            turn: 0,
            key: None,
            avoid: &[],
            now: later,
            rng: &mut rng,
        });
        assert_eq!(picked, Some(1));
    }

    #[test]
    fn failing_fast_attracts_nobody_whatever_a_worker_says() {
        let policy = policy(&[(0, 100), (0, 9_000), (0, 9_000)]);
        policy.candidates[0]
            .load
            .observe_failure(Duration::from_secs(1), Moment::default(), DECAY);
        assert_eq!(picks::<3>(&policy, 10, &[])[0], 0, "it says that it is fast");
        let knows_nothing = LoadReport {
            in_flight: Some(0),
            ..LoadReport::default()
        };
        policy.candidates[0]
            .load
            .report(&knows_nothing, Moment::default());
        assert_eq!(
            picks::<3>(&policy, 10, &[])[0],
            0,
            "it says that it is idle, and no latency"
        );
    }

    #[test]
    fn equals_share() {
        let counts = picks::<3>(&policy(&[(0, 2_000); 3]), 3_000, &[]);
        assert!(counts.iter().all(|&count| count > 850), "{counts:?}");
    }
}
