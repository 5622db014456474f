//! One immutable view of who may take which request. A request works with one snapshot at a time, so that policy,
//! weights, health and models always fit together; any change makes a new one.

use std::collections::HashMap;
use std::sync::Arc;

use rand::RngExt;

use super::balance::{self, Candidate, Load, Moment, Pick, Policy, Prequal, SlowStart, hash};
use super::circuit::{Circuit, State, Trial, ejection};
use super::concurrency::{Lane, NoPick, Slot, pick_with_room};
use super::endpoint::Endpoint;
use crate::config::{BalancingConfig, Concurrency, PolicyName};

/// Who may take which request.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
    /// The policy in force.
    pub policy: PolicyName,
    /// Every model that any member is known to have.
    pub models: HashMap<Arc<str>, ModelRoute>,
    /// Whether some member was never seen, so that a model nobody knows may yet turn up.
    pub is_partial: bool,
}

/// Who serves one model.
#[derive(Debug)]
pub struct ModelRoute {
    /// The model, as metrics and log lines name it.
    pub name: Arc<str>,
    /// Those with any version ready.
    pub any_version: Candidates,
    /// Those with a certain version ready, by its number or a label; a version that is known and ready nowhere has no candidates.
    pub versions: HashMap<Box<str>, Candidates>,
}

/// An endpoint that may take requests for a model.
#[derive(Clone, Debug)]
pub struct Place {
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// What is known of it for this model.
    pub load: Arc<Load>,
    /// What its breaker for this model goes by.
    pub circuit: Arc<Circuit>,
    /// What that breaker does with requests.
    pub state: State,
    /// Its share, 1 or more.
    pub weight: u32,
    /// When it came (back).
    pub up_since: Moment,
}

/// Those who serve something.
#[derive(Debug, Default)]
pub struct Served {
    /// How many should, as their last probes told and operators want it: those that are down as well.
    pub known: usize,
    /// Those of them that are up, ejected ones as well.
    pub places: Vec<Place>,
}

/// Places of which a policy picks one.
#[derive(Debug)]
pub struct Candidates {
    /// Whether ejections are ignored, because too few would be left.
    pub is_panic: bool,
    places: Box<[Place]>,
    /// Those whose breaker is half open: no policy picks them, each takes one request at a time.
    on_trial: Box<[Place]>,
    policy: Box<dyn Policy>,
    lane: Arc<Lane>,
    concurrency: Concurrency,
    slow_start: SlowStart,
}

/// A place that a request takes.
struct Found<'a> {
    place: &'a Place,
    slot: Slot,
    trial: Option<Trial>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a str,
    /// A version's number or a label; none: any version.
    pub version: Option<&'a str>,
    /// What the request is to stay with, hashed.
    pub key: Option<u64>,
    /// How much room it needs.
    pub room: Wanted,
    /// Whether to say why.
    pub is_explained: bool,
}

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To a worker that has fewer requests for the model than it may.
    Free,
    /// To a worker that has fewer than half of the requests that do it good.
    Spare,
    /// To any: it is no work.
    Any,
}

/// Who takes a request.
#[derive(Debug)]
pub struct Picked {
    /// The model, as metrics and log lines name it.
    pub model: Arc<str>,
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// The place that it takes there.
    pub slot: Slot,
    /// What its breaker for this model goes by.
    pub circuit: Arc<Circuit>,
    /// Where its breaker is half open: the request is to show whether it can be closed.
    pub trial: Option<Trial>,
    /// Why, where that was asked for.
    pub decision: Option<String>,
}

/// Why nobody can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Nobody has such a model.
    UnknownModel,
    /// Nobody has such a version of the model.
    UnknownVersion,
    /// Somebody has it, and nobody can serve it now.
    NoWorker,
    /// Whoever can serve it has as many requests as it may.
    Full,
}

impl Snapshot {
    /// Picks who takes a request, other than those in `tried`.
    pub fn pick(
        &self,
        question: Question<'_>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Picked, NoRoute> {
        let (route, candidates) = self.find(question)?;
        let Found { place, slot, trial } = candidates.pick(question, tried, now)?;
        let decision = question.is_explained.then(|| {
            let why = candidates.explain_pick(place, question.key, now);
            format!("{} -> {}: {why}", self.policy, place.endpoint.id)
        });
        Ok(Picked {
            model: Arc::clone(&route.name),
            endpoint: Arc::clone(&place.endpoint),
            slot,
            circuit: Arc::clone(&place.circuit),
            trial,
            decision,
        })
    }

    /// Whether anybody but those in `tried` could take such a request, now or when there is room.
    #[must_use]
    pub fn has_another(&self, question: Question<'_>, tried: &[Arc<Endpoint>]) -> bool {
        let is_another = |place: &Place| !place.is_among(tried);
        self.find(question).is_ok_and(|(_, candidates)| {
            candidates.places.iter().any(is_another) || candidates.on_trial.iter().any(is_another)
        })
    }

    /// Where such a request stands in line, if it has to.
    pub fn lane(&self, question: Question<'_>) -> Result<&Arc<Lane>, NoRoute> {
        Ok(&self.find(question)?.1.lane)
    }

    /// Those of whom one would take such a request.
    pub fn candidates(&self, question: Question<'_>) -> Result<&Candidates, NoRoute> {
        Ok(self.find(question)?.1)
    }

    fn find(&self, question: Question<'_>) -> Result<(&ModelRoute, &Candidates), NoRoute> {
        let unknown = |otherwise| {
            if self.is_partial {
                NoRoute::NoWorker
            } else {
                otherwise
            }
        };
        let route = self
            .models
            .get(question.model)
            .ok_or(unknown(NoRoute::UnknownModel))?;
        let candidates = match question.version {
            None => &route.any_version,
            Some(version) => route
                .versions
                .get(version)
                .ok_or(unknown(NoRoute::UnknownVersion))?,
        };
        Ok((route, candidates))
    }

    /// Lets the policies take over what changes slowly.
    pub fn refresh(&self) {
        for route in self.models.values() {
            route.any_version.policy.refresh();
            route
                .versions
                .values()
                .for_each(|candidates| candidates.policy.refresh());
        }
    }

    /// Whether anybody can take any request.
    #[must_use]
    pub fn serves_anything(&self) -> bool {
        self.models
            .values()
            .any(|route| !route.any_version.places.is_empty())
    }
}

impl ModelRoute {
    /// Requests that were picked for so far, retries aside.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let all = self.versions.values().chain([&self.any_version]);
        all.map(|candidates| candidates.lane.turns())
            .fold(0, u64::wrapping_add)
    }
}

impl Candidates {
    /// Those that a policy may pick.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Those whose breaker is half open.
    #[must_use]
    pub fn on_trial(&self) -> &[Place] {
        &self.on_trial
    }

    /// Over those of these places that are not ejected; over all of them where too few would be left.
    #[must_use]
    pub fn new(name: PolicyName, config: &BalancingConfig, served: Served, lane: Arc<Lane>) -> Self {
        let Served { known, places } = served;
        let working = places.iter().filter(|place| place.is_closed()).count();
        let is_panic = ejection::is_panic(known, working);
        let (places, ejected): (Vec<_>, Vec<_>) = places
            .into_iter()
            .partition(|place| is_panic || place.is_closed());
        Self {
            is_panic,
            slow_start: SlowStart::of(places.iter().map(|place| place.up_since), config.slow_start),
            policy: balance::build(name, places.iter().map(Place::candidate).collect(), config),
            places: places.into(),
            on_trial: ejected.into_iter().filter(Place::is_half_open).collect(),
            lane,
            concurrency: config.concurrency,
        }
    }

    /// Those that have as many requests now as they may.
    pub fn full(&self) -> impl Iterator<Item = &Place> {
        self.places
            .iter()
            .filter(|place| self.is_full(place, Wanted::Free))
    }

    /// Each place, and whether it has more to do than most: `prequal` leaves it alone then.
    pub fn heat(&self, config: &BalancingConfig, now: Moment) -> impl Iterator<Item = (&Place, bool)> {
        let candidates = self.places.iter().map(Place::candidate).collect();
        let hot = Prequal::over(candidates, config.hot_quantile, config.decay).hot(now);
        self.places.iter().zip(hot)
    }

    /// Whom the policy of this name would pick now, as an index, and the figures of each candidate. Nobody's turn is taken.
    #[must_use]
    pub fn explain(
        &self,
        name: PolicyName,
        config: &BalancingConfig,
        key: Option<u64>,
        now: Moment,
    ) -> (Option<usize>, Vec<String>) {
        let policy = balance::build(name, self.places.iter().map(Place::candidate).collect(), config);
        let picked = policy.pick(Pick {
            turn: self.lane.turns(),
            key,
            avoid: &[],
            now,
            rng: &mut rand::rng(),
        });
        let indices = 0..self.places.len();
        (
            picked,
            indices.map(|index| policy.explain(index, key, now)).collect(),
        )
    }

    fn explain_pick(&self, place: &Place, key: Option<u64>, now: Moment) -> String {
        match self.places.iter().position(|other| std::ptr::eq(other, place)) {
            Some(index) => self.policy.explain(index, key, now),
            None => "on trial after its ejection".to_owned(),
        }
    }

    /// The next first try goes on trial, where somebody waits for one. A retry does so only where nobody else is left:
    /// it has been unlucky already.
    fn pick(
        &self,
        question: Question<'_>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Found<'_>, NoRoute> {
        let trial = || self.pick_for_trial(tried);
        if let Some(found) = tried.is_empty().then(trial).flatten() {
            return Ok(found);
        }
        match self.pick_by_policy(question, tried, now) {
            Err(NoRoute::NoWorker) => trial().ok_or(NoRoute::NoWorker),
            found => found,
        }
    }

    fn pick_for_trial(&self, tried: &[Arc<Endpoint>]) -> Option<Found<'_>> {
        let untried = self.on_trial.iter().filter(|place| !place.is_among(tried));
        let on_trial = |place: &'_ Place| {
            let trial = place.circuit.try_alone()?;
            Some((Slot::take(&place.load, u32::MAX, &self.lane)?, trial))
        };
        untried
            .filter_map(|place| {
                let (slot, trial) = on_trial(place)?;
                Some(Found {
                    place,
                    slot,
                    trial: Some(trial),
                })
            })
            .next()
    }

    /// What the policy picks, among those that have fewer requests than they may.
    fn pick_by_policy(
        &self,
        question: Question<'_>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Found<'_>, NoRoute> {
        let mut rng = rand::rng();
        // A retry starts anywhere and takes nobody's turn. If it took the next one, two workers in turn would send
        // every first try to the same one, though it fails.
        let turn = if tried.is_empty() {
            self.lane.next_turn()
        } else {
            rng.random()
        };
        let up_since = |index: usize| self.places[index].up_since;
        let by_policy = |avoid: &[usize]| {
            let pick = Pick {
                turn,
                key: question.key,
                avoid,
                now,
                rng: &mut rng,
            };
            self.slow_start.pick(&*self.policy, pick, up_since)
        };
        let take = |index: usize| {
            let place = &self.places[index];
            Slot::take(&place.load, self.most_at(place, question.room), &self.lane)
        };
        let is_full = |index: usize| self.is_full(&self.places[index], question.room);
        let avoid = self.indices_of(tried);
        match pick_with_room(self.places.len(), avoid, by_policy, take, is_full) {
            Ok((index, slot)) => {
                let place = &self.places[index];
                // Where ejections are ignored, whoever comes is on trial.
                let trial = place.is_half_open().then_some(Trial::Among);
                Ok(Found { place, slot, trial })
            }
            Err(NoPick::Nobody) => Err(NoRoute::NoWorker),
            Err(NoPick::Full) => Err(NoRoute::Full),
        }
    }

    fn is_full(&self, place: &Place, room: Wanted) -> bool {
        place.load.awaited() >= self.most_at(place, room)
    }

    /// How many requests may be at a place, with one that wants so much room.
    fn most_at(&self, place: &Place, room: Wanted) -> u32 {
        let adaptive = place.load.limit.get();
        let most = self.concurrency.most(adaptive);
        match room {
            Wanted::Any => u32::MAX,
            Wanted::Free => most,
            Wanted::Spare => most.min(adaptive).div_ceil(2),
        }
    }

    fn indices_of(&self, tried: &[Arc<Endpoint>]) -> Vec<usize> {
        if tried.is_empty() {
            return Vec::new();
        }
        let places = self.places.iter().enumerate();
        let tried = places.filter(|(_, place)| place.is_among(tried));
        tried.map(|(index, _)| index).collect()
    }
}

impl Place {
    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    fn is_among(&self, endpoints: &[Arc<Endpoint>]) -> bool {
        endpoints.iter().any(|other| Arc::ptr_eq(&self.endpoint, other))
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            id: hash(self.endpoint.id.as_bytes()),
            weight: self.weight,
            load: Arc::clone(&self.load),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::gateway_metrics::GatewayMetrics;

    const WINDOW: Duration = Duration::from_secs(10);
    const QUESTION: Question<'_> = Question {
        model: "iris",
        version: None,
        key: None,
        room: Wanted::Free,
        is_explained: false,
    };

    fn seconds(count: u64) -> Moment {
        Moment::from_micros(count * 1_000_000)
    }

    /// Round robin over places that came at these seconds.
    fn candidates(came_at: &[u64]) -> Candidates {
        served(
            came_at.len(),
            came_at.iter().map(|&second| (second, State::default())),
        )
    }

    /// Round robin over places that came at these seconds and whose breakers are in these states, of so many known ones.
    fn served(known: usize, places: impl Iterator<Item = (u64, State)>) -> Candidates {
        let metrics = GatewayMetrics::new();
        let place = |(index, (second, state)): (usize, (u64, State))| {
            let id = format!("w{index}");
            let authority = format!("{id}:9000").parse().unwrap();
            let endpoint = Endpoint::new(&id, authority, metrics.of_endpoint(&id));
            let known = endpoint.known_of(&"iris".into());
            Place {
                load: known.load,
                circuit: known.circuit,
                state,
                endpoint,
                weight: 1,
                up_since: seconds(second),
            }
        };
        let config = BalancingConfig {
            slow_start: WINDOW,
            ..BalancingConfig::default()
        };
        let places = places.enumerate().map(place).collect();
        let served = Served { known, places };
        Candidates::new(PolicyName::RoundRobin, &config, served, Arc::default())
    }

    fn share_of_last(candidates: &Candidates, now: Moment) -> usize {
        let last = candidates.places.last().unwrap();
        let is_last = |place: &Place| Arc::ptr_eq(&place.endpoint, &last.endpoint);
        let picks = (0..1_000).map(|_| candidates.pick(QUESTION, &[], now).unwrap());
        picks.filter(|found| is_last(found.place)).count()
    }

    #[test]
    fn who_came_back_gets_its_share_little_by_little() {
        let candidates = candidates(&[0, 100]);
        let at_once = share_of_last(&candidates, seconds(100));
        assert!((20..100).contains(&at_once), "a tenth of its half: {at_once}");
        let half_way = share_of_last(&candidates, seconds(105));
        assert!((190..310).contains(&half_way), "half of its half: {half_way}");
        assert_eq!(share_of_last(&candidates, seconds(110)), 500);
    }

    #[test]
    fn where_all_came_at_once_nobody_is_passed_over() {
        let count = share_of_last(&candidates(&[100, 100]), seconds(100));
        assert!((400..600).contains(&count), "{count}");
        assert_eq!(share_of_last(&candidates(&[100]), seconds(100)), 1_000);
    }

    const CLOSED: State = State::Closed {
        since: Moment::from_micros(0),
    };
    const OPEN: State = State::Open {
        until: Moment::from_micros(u64::MAX),
    };
    const HALF_OPEN: State = State::HalfOpen { passed: 0 };

    fn with(known: usize, states: &[State]) -> Candidates {
        served(known, states.iter().map(|&state| (0, state)))
    }

    fn pick_of<'a>(candidates: &'a Candidates, tried: &[Arc<Endpoint>]) -> (&'a str, Option<Trial>) {
        let found = candidates.pick(QUESTION, tried, seconds(1_000)).unwrap();
        (&found.place.endpoint.id, found.trial)
    }

    #[test]
    fn who_is_ejected_is_not_picked() {
        let candidates = with(3, &[CLOSED, OPEN, CLOSED]);
        let ids: Vec<_> = (0..4).map(|_| pick_of(&candidates, &[]).0).collect();
        assert_eq!(ids, ["w0", "w2", "w0", "w2"]);
    }

    #[test]
    fn who_is_half_open_takes_one_request_at_a_time() {
        let candidates = with(2, &[CLOSED, HALF_OPEN]);
        let (first, trial) = pick_of(&candidates, &[]);
        assert!(first == "w1" && matches!(trial, Some(Trial::Alone(_))));
        for _ in 0..5 {
            let (other, none) = pick_of(&candidates, &[]);
            assert!(other == "w0" && none.is_none(), "a trial is under way");
        }
        drop(trial);
        assert_eq!(pick_of(&candidates, &[]).0, "w1");
    }

    #[test]
    fn a_retry_goes_on_trial_only_where_nobody_else_is_left() {
        let candidates = with(3, &[CLOSED, CLOSED, HALF_OPEN]);
        let all = candidates.places.iter().chain(&candidates.on_trial);
        let all: Vec<_> = all.map(|place| Arc::clone(&place.endpoint)).collect();
        assert_eq!(pick_of(&candidates, &all[..1]).0, "w1");
        let (last, trial) = pick_of(&candidates, &all[..2]);
        assert!(last == "w2" && trial.is_some());
        drop(trial);
        assert!(candidates.pick(QUESTION, &all, seconds(1_000)).is_err());
    }

    #[test]
    fn where_fewer_than_half_would_be_left_ejections_are_ignored() {
        let candidates = with(4, &[CLOSED, OPEN, HALF_OPEN]);
        assert!(candidates.is_panic);
        let picks: Vec<_> = (0..3).map(|_| pick_of(&candidates, &[])).collect();
        let ids: Vec<_> = picks.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, ["w0", "w1", "w2"]);
        let on_trial: Vec<_> = picks.iter().map(|(_, trial)| trial.is_some()).collect();
        assert_eq!(
            on_trial,
            [false, false, true],
            "what comes decides over the half-open one"
        );
        assert!(!with(4, &[CLOSED, OPEN, CLOSED]).is_panic, "half is enough");
        assert!(with(1, &[OPEN]).is_panic, "the last one is never out");
    }
}
