//! Takes one event after the other.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::agenda::Agenda;
use super::fleet_worker::FleetWorker;
use super::front::Front;
use super::outcome::Outcome;
use super::request::{Answer, Answered, Request, Requests, Stage, Ticket};
use super::scenario::{Arrivals, Scenario};
use super::service_time::exponential;
use crate::config::PolicyName;
use crate::gateway::balance::{Load, LoadReport, asking, hash};
use crate::gateway::concurrency::NoPick;
use crate::moment::Moment;

/// What an error takes that a worker answers at once.
const FAILING_TAKES: Duration = Duration::from_micros(100);
/// Between two looks of a policy at what changes slowly.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// A fleet under traffic, from the origin of time on. Whoever holds it lets time pass, and may change things in between.
#[derive(Debug)]
pub struct Simulation {
    scenario: Scenario,
    now: Moment,
    agenda: Agenda<Event>,
    /// When requests run out of time: all have the same limit, so that these come in their order.
    deadlines: VecDeque<(Moment, Ticket)>,
    requests: Requests,
    workers: Vec<FleetWorker>,
    fronts: Vec<Front>,
    arrivals: ArrivalStream,
    outcome: Outcome,
}

#[derive(Debug)]
enum Event {
    /// A client sends a request.
    Arrival,
    /// A request gets to its worker.
    Reached(Ticket),
    /// A place has done its work.
    Done {
        worker: usize,
        work: Duration,
        ticket: Ticket,
    },
    /// An answer gets to the gateway.
    Answered(Ticket),
    /// Gateways look who was silent.
    Look,
    /// A gateway's question for its load gets to a worker.
    Asked { front: usize, worker: usize },
    /// Its answer gets back.
    Told {
        front: usize,
        worker: usize,
        report: Box<LoadReport>,
    },
    /// Policies take over what changes slowly.
    Refresh,
}

/// Where requests come from. Each kind of chance has a stream of its own, so that no policy has another's luck.
#[derive(Debug)]
struct ArrivalStream {
    /// Microseconds, with their fractions: at 100,000 requests a second whole ones would be another rate.
    next: f64,
    rate: f64,
    is_over: bool,
    times: Xoshiro256PlusPlus,
    gateways: Xoshiro256PlusPlus,
    works: Xoshiro256PlusPlus,
    keys: Xoshiro256PlusPlus,
}

impl Simulation {
    /// The fleet of `scenario` under a policy, at the origin of time, before the first request.
    #[must_use]
    pub fn new(scenario: &Scenario, policy: PolicyName) -> Self {
        let mut seeds = Xoshiro256PlusPlus::seed_from_u64(scenario.seed);
        let mut stream = || Xoshiro256PlusPlus::from_rng(&mut seeds);
        let arrivals = ArrivalStream {
            next: 0.0,
            rate: scenario.rate,
            is_over: false,
            times: stream(),
            gateways: stream(),
            works: stream(),
            keys: stream(),
        };
        let workers = scenario
            .workers
            .iter()
            .map(|&spec| FleetWorker::new(spec, scenario.concurrency));
        let mut simulation = Self {
            now: Moment::default(),
            agenda: Agenda::new(),
            deadlines: VecDeque::new(),
            requests: Requests::default(),
            workers: workers.collect(),
            fronts: (0..scenario.gateways)
                .map(|_| Front::new(scenario, policy, stream()))
                .collect(),
            arrivals,
            outcome: Outcome::default(),
            scenario: scenario.clone(),
        };
        simulation.expect_arrival();
        simulation.put_after(asking::INTERVAL, Event::Look);
        simulation.put_after(REFRESH_INTERVAL, Event::Refresh);
        simulation
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: Moment) {
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Forgets all figures: what came before was to warm up. Only requests that come from now on count.
    pub fn begin_measuring(&mut self) {
        self.outcome = Outcome::default();
        let now = self.now;
        self.workers
            .iter_mut()
            .for_each(|worker| worker.begin_measuring(now));
        self.requests
            .all_mut()
            .for_each(|request| request.is_measured = false);
    }

    /// Lets the requests under way come to their end, without new ones, and gives the figures. Those of workers are of the
    /// time before.
    #[must_use]
    pub fn finish(&mut self) -> Outcome {
        let workers = self.outcome().workers;
        self.arrivals.is_over = true;
        while !self.requests.is_empty() {
            self.step();
        }
        Outcome {
            workers,
            ..self.outcome.clone()
        }
    }

    /// The figures so far: requests under way are not in them.
    #[must_use]
    pub fn outcome(&mut self) -> Outcome {
        let now = self.now;
        let workers = self.workers.iter_mut().map(|worker| worker.outcome(now));
        Outcome {
            workers: workers.collect(),
            ..self.outcome.clone()
        }
    }

    /// Makes requests come at another rate, from the one after the next on.
    pub fn set_rate(&mut self, rate: f64) {
        self.arrivals.rate = rate;
    }

    /// Puts another policy in force on every gateway.
    pub fn set_policy(&mut self, policy: PolicyName) {
        self.fronts.iter_mut().for_each(|front| front.set_policy(policy));
    }

    /// Makes a worker take so many times the service time, from the next request on that it begins.
    pub fn set_factor(&mut self, worker: usize, factor: f64) {
        self.workers[worker].spec.factor = factor;
    }

    /// Makes a worker answer everything at once with an error, or no longer.
    pub fn set_failing(&mut self, worker: usize, is_failing: bool) {
        self.workers[worker].spec.is_failing = is_failing;
    }

    /// Takes a worker out of the balancing of every gateway, or back in: what probes, breakers and operators do.
    pub fn set_member(&mut self, worker: usize, is_member: bool) {
        let now = self.now;
        self.fronts
            .iter_mut()
            .for_each(|front| front.set_member(worker, is_member, now));
    }

    /// Requests inside a worker.
    #[must_use]
    pub fn in_flight(&self, worker: usize) -> u32 {
        self.workers[worker].in_flight()
    }

    /// What a gateway knows of a worker.
    #[must_use]
    pub fn known(&self, gateway: usize, worker: usize) -> &Load {
        self.fronts[gateway].load(worker)
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    fn put_after(&mut self, time: Duration, event: Event) {
        self.agenda.put(self.now + time, event);
    }

    fn next_at(&self) -> Option<Moment> {
        let deadline = self.deadlines.front().map(|&(at, _)| at);
        let event = self.agenda.next_at();
        // Of none and some, none is the lesser.
        deadline.into_iter().chain(event).min()
    }

    fn step(&mut self) {
        let event_at = self.agenda.next_at();
        let is_first = |(at, _): &(Moment, Ticket)| event_at.is_none_or(|event_at| *at < event_at);
        if let Some((at, ticket)) = self.deadlines.front().copied().filter(is_first) {
            self.deadlines.pop_front();
            self.now = at;
            self.out_of_time(ticket);
        } else if let (Some(at), Some(event)) = (event_at, self.agenda.take()) {
            self.now = at;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Reached(ticket) => self.reach(ticket),
            Event::Done { worker, work, ticket } => self.finish_work(worker, work, ticket),
            Event::Answered(ticket) => self.take_answer(ticket),
            Event::Look => self.look(),
            Event::Asked { front, worker } => {
                let report = Box::new(self.workers[worker].report(self.now));
                self.put_after(
                    self.scenario.network_delay,
                    Event::Told {
                        front,
                        worker,
                        report,
                    },
                );
            }
            Event::Told {
                front,
                worker,
                report,
            } => self.fronts[front].told(worker, &report, self.now),
            Event::Refresh => {
                self.fronts.iter().for_each(Front::refresh);
                self.put_after(REFRESH_INTERVAL, Event::Refresh);
            }
        }
    }

    fn expect_arrival(&mut self) {
        let at = self.arrivals.next_after(self.scenario.arrivals);
        self.agenda.put(at, Event::Arrival);
    }

    fn arrive(&mut self) {
        if self.arrivals.is_over {
            return;
        }
        let arrivals = &mut self.arrivals;
        let request = Request {
            arrived: self.now,
            is_measured: true,
            work: self.scenario.service_time.draw(&mut arrivals.works),
            key: hash(&arrivals.keys.random_range(0..self.scenario.keys).to_le_bytes()),
            gateway: arrivals.gateways.random_range(0..self.scenario.gateways),
            tried: Vec::new(),
            worker: 0,
            sent: self.now,
            met: 0,
            stage: Stage::Sent,
        };
        let front = &mut self.fronts[request.gateway];
        front.budget.deposit(self.now);
        let ticket = self.requests.put(request);
        self.deadlines
            .push_back((self.now + self.scenario.deadline, ticket));
        self.find_worker(ticket);
        self.expect_arrival();
    }

    /// Sends a request to a worker, or lets it wait for one with room.
    fn find_worker(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(ticket) else {
            return;
        };
        let front = &mut self.fronts[request.gateway];
        let picked = if front.line.is_empty() {
            front.pick(request.key, &request.tried, self.now)
        } else {
            Err(NoPick::Full)
        };
        match picked {
            Ok(worker) => self.send(ticket, worker),
            Err(NoPick::Nobody) => self.fail(ticket),
            Err(NoPick::Full) => {
                request.stage = Stage::Waiting;
                front.line.push_back(ticket);
            }
        }
    }

    /// Sends those who wait at a gateway, as far as there is room.
    fn serve_line(&mut self, gateway: usize) {
        while let Some(&ticket) = self.fronts[gateway].line.front() {
            let Some(request) = self.requests.get(ticket) else {
                self.fronts[gateway].line.pop_front();
                continue;
            };
            let front = &mut self.fronts[gateway];
            let picked = front.pick(request.key, &request.tried, self.now);
            if picked == Err(NoPick::Full) {
                return;
            }
            front.line.pop_front();
            match picked {
                Ok(worker) => self.send(ticket, worker),
                Err(_) => self.fail(ticket),
            }
        }
    }

    fn send(&mut self, ticket: Ticket, worker: usize) {
        let Some(request) = self.requests.get_mut(ticket) else {
            return;
        };
        (request.worker, request.sent, request.stage) = (worker, self.now, Stage::Sent);
        request.met = self.fronts[request.gateway].awaited(worker);
        self.put_after(self.scenario.network_delay, Event::Reached(ticket));
    }

    fn reach(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(ticket) else {
            return;
        };
        let worker = &mut self.workers[request.worker];
        worker.count_in();
        if worker.spec.is_failing {
            return self.answer(ticket, Answered::Error, FAILING_TAKES);
        }
        if worker.is_full(self.scenario.queue) {
            return self.answer(ticket, Answered::Refusal, Duration::ZERO);
        }
        request.stage = Stage::Inside {
            since: self.now,
            met: worker.in_flight(),
        };
        if worker.enter(ticket, self.now) {
            self.work(ticket);
        }
    }

    /// A request that has got a place is worked on.
    fn work(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get(ticket) else {
            return;
        };
        let worker = request.worker;
        let micros = request.work * self.workers[worker].spec.factor;
        let work = Duration::from_micros(micros.round().max(1.0) as u64);
        self.put_after(work, Event::Done { worker, work, ticket });
    }

    fn finish_work(&mut self, index: usize, work: Duration, ticket: Ticket) {
        let worker = &mut self.workers[index];
        worker.finish(work, self.now);
        let inside = self.requests.get(ticket).map(|request| &request.stage);
        if let Some(&Stage::Inside { since, met }) = inside {
            worker.leave();
            worker.note_latency(met, self.now.since(since), self.now);
            self.answer(ticket, Answered::Prediction, Duration::ZERO);
        }
        let requests = &self.requests;
        let next = self.workers[index].start_next(|ticket| requests.get(ticket).is_some(), self.now);
        if let Some(next) = next {
            self.work(next);
        }
    }

    fn answer(&mut self, ticket: Ticket, kind: Answered, after: Duration) {
        let Some(request) = self.requests.get_mut(ticket) else {
            return;
        };
        let report = self.workers[request.worker].report(self.now);
        request.stage = Stage::Answered(Answer { kind, report });
        self.put_after(after + self.scenario.network_delay, Event::Answered(ticket));
    }

    fn take_answer(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get(ticket) else {
            return;
        };
        let Stage::Answered(answer) = &request.stage else {
            return;
        };
        let (worker, took, gateway) = (request.worker, self.now.since(request.sent), request.gateway);
        let front = &self.fronts[gateway];
        front.told(worker, &answer.report, self.now);
        if answer.kind == Answered::Refusal {
            front.refused(worker);
        }
        if answer.kind == Answered::Prediction {
            front.answered(worker, took, request.met, self.now);
            self.succeed(ticket);
        } else {
            front.failed(worker, took, self.now);
            self.try_elsewhere(ticket);
        }
        self.serve_line(gateway);
    }

    /// As `gateway::forward` does it: another worker first, then the budget.
    fn try_elsewhere(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(ticket) else {
            return;
        };
        request.tried.push(request.worker);
        let retry = &self.scenario.retry;
        let front = &mut self.fronts[request.gateway];
        if !front.has_another(&request.tried) || request.tried.len() >= retry.max_attempts as usize {
            return self.fail(ticket);
        }
        if front.budget.withdraw(retry.budget, self.now) {
            self.outcome.retries += 1;
            self.find_worker(ticket);
        } else {
            self.outcome.retries_refused += 1;
            self.fail(ticket);
        }
    }

    fn succeed(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.remove(ticket) else {
            return;
        };
        if request.is_measured {
            self.outcome.answered += 1;
            self.outcome.latencies.add(self.now.since(request.arrived));
        }
    }

    fn fail(&mut self, ticket: Ticket) {
        let request = self.requests.remove(ticket);
        self.outcome.failed += u64::from(request.is_some_and(|request| request.is_measured));
    }

    fn out_of_time(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.remove(ticket) else {
            return;
        };
        if let Stage::Inside { .. } = request.stage {
            self.workers[request.worker].leave();
        }
        if !matches!(request.stage, Stage::Waiting) {
            let waited = self.now.since(request.sent);
            self.fronts[request.gateway].given_up(request.worker, waited, request.met, self.now);
            self.serve_line(request.gateway);
        }
        if request.is_measured {
            self.outcome.failed += 1;
            self.outcome.latencies.add(self.now.since(request.arrived));
        }
    }

    fn look(&mut self) {
        for front in 0..self.fronts.len() {
            // A limit may have grown, or a worker have come.
            self.serve_line(front);
            for worker in self.fronts[front].whom_to_ask(self.now) {
                self.put_after(self.scenario.network_delay, Event::Asked { front, worker });
            }
        }
        self.put_after(asking::INTERVAL, Event::Look);
    }
}

impl ArrivalStream {
    fn next_after(&mut self, arrivals: Arrivals) -> Moment {
        let gap = match arrivals {
            Arrivals::Poisson => exponential(&mut self.times),
            Arrivals::Even => 1.0,
        };
        self.next += gap * 1e6 / self.rate;
        Moment::from_micros(self.next as u64)
    }
}
