//! A load generator on one thread, closed or open loop.
//!
//! `load --address 127.0.0.1:8080 --request FILE --expect TEXT --connections 32 --seconds 4 [--rate 1000]`
//!
//! Without a rate every connection sends its next request when the one before is answered. With one, requests are due at the
//! times of a Poisson process, whether or not those before are answered, and are timed from when they were due: a stall counts
//! for every request that falls into it. What waits for a free connection waits in line, and its time runs.
//!
//! An answer is good if its status is 200 and its body contains the text. When the time is up no new request is sent, and those
//! under way are waited for, so that what they cost belongs to requests that are counted. What is not answered then has failed.

#![expect(clippy::disallowed_methods, reason = "it measures the time that passes")]

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use millrace_compare::{Arguments, Failure};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// How long requests under way may take once the time is up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing at all may come: a server that hangs must not hang its measure.
const STALLED: Duration = Duration::from_secs(30);
/// How often it is looked whether that is so.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    expect: Vec<u8>,
    connections: usize,
    time: Duration,
    rate: Option<f64>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_process();
    let plan = Plan {
        address: arguments.required("--address")?,
        request: fs::read(arguments.required::<String>("--request")?)?,
        expect: arguments.required::<String>("--expect")?.into_bytes(),
        connections: arguments.required("--connections")?,
        time: Duration::from_secs_f64(arguments.required("--seconds")?),
        rate: arguments.optional("--rate")?,
    };
    let result = Load::new(&plan)?.run()?;
    io::stdout().write_all(result.to_string().as_bytes())?;
    Ok(())
}

/// One connection: a request under way, or none.
struct Connection {
    stream: TcpStream,
    due: Option<Instant>,
    unsent: usize,
    answer: Vec<u8>,
}

/// What is in the bytes that came so far.
enum Answer {
    Part,
    Whole { is_good: bool, closes: bool },
}

struct Load<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    clock: Option<Clock>,
    /// When those were due that wait for a connection.
    waiting: VecDeque<Instant>,
    begun: Instant,
    until: Instant,
    took: Vec<Duration>,
    /// By how much the generator itself was late.
    late: Vec<Duration>,
    failed: usize,
    last_answer: Instant,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let mut stream = connect(plan.address)?;
            register(&poll, &mut stream, index)?;
            connections.push(Connection {
                stream,
                due: None,
                unsent: 0,
                answer: Vec::with_capacity(4096),
            });
        }
        let begun = Instant::now();
        Ok(Self {
            plan,
            poll,
            connections,
            idle: (0..plan.connections).rev().collect(),
            clock: None,
            waiting: VecDeque::new(),
            begun,
            until: begun + plan.time,
            took: Vec::with_capacity(1 << 20),
            late: Vec::new(),
            failed: 0,
            last_answer: begun,
        })
    }

    fn run(mut self) -> Result<serde_json::Value, Failure> {
        self.begun = Instant::now();
        self.until = self.begun + self.plan.time;
        if let Some(rate) = self.plan.rate {
            self.clock = Some(Clock::new(&self.poll, self.plan.connections, rate, self.begun)?);
        }
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 1 << 18];
        let mut last_event = self.begun;
        loop {
            let now = Instant::now();
            let is_over = now >= self.until;
            if self.clock.is_some() {
                self.send_what_is_due(now)?;
            } else if !is_over {
                while let Some(index) = self.idle.pop() {
                    self.send(index, Instant::now())?;
                }
            }
            let under_way = self.connections.len() - self.idle.len() + self.waiting.len();
            if is_over && under_way == 0 {
                break;
            }
            let hangs = under_way > 0 && now > last_event + STALLED;
            if hangs || now > self.until + PATIENCE {
                self.failed += under_way;
                break;
            }
            let pause = self
                .until
                .saturating_duration_since(now)
                .clamp(Duration::from_millis(1), LOOK_AGAIN);
            match self
                .poll
                .poll(&mut events, Some(if is_over { LOOK_AGAIN } else { pause }))
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                let index = event.token().0;
                if index < self.connections.len() {
                    last_event = Instant::now();
                    self.go_on(index, &mut buffer)?;
                }
            }
        }
        Ok(self.result())
    }

    /// Requests of an open loop: those that are due stand in line for a connection.
    fn send_what_is_due(&mut self, now: Instant) -> Result<(), Failure> {
        let Some(clock) = &mut self.clock else {
            return Ok(());
        };
        while clock.due <= now && clock.due < self.until {
            self.late.push(now - clock.due);
            self.waiting.push_back(clock.due);
            clock.advance();
        }
        if clock.due < self.until {
            clock.set(now)?;
        }
        while !self.idle.is_empty()
            && let Some(due) = self.waiting.pop_front()
            && let Some(index) = self.idle.pop()
        {
            self.send(index, due)?;
        }
        Ok(())
    }

    /// Sends a request on an idle connection, or what fits of it now.
    fn send(&mut self, index: usize, due: Instant) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        connection.due = Some(due);
        connection.unsent = self.plan.request.len();
        connection.answer.clear();
        self.write(index)
    }

    fn write(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        while connection.unsent > 0 {
            let from = self.plan.request.len() - connection.unsent;
            match connection.stream.write(&self.plan.request[from..]) {
                Ok(count) => connection.unsent -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.broken(index),
            }
        }
        Ok(())
    }

    /// Reads and writes what a connection is ready for, and takes in an answer that is whole.
    fn go_on(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), Failure> {
        if self.connections[index].unsent > 0 {
            self.write(index)?;
        }
        let mut is_ended = false;
        loop {
            let connection = &mut self.connections[index];
            match connection.stream.read(buffer) {
                Ok(0) => is_ended = true,
                Ok(count) => {
                    connection.answer.extend_from_slice(&buffer[..count]);
                    if count == buffer.len() {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => is_ended = true,
            }
            break;
        }
        let connection = &mut self.connections[index];
        match judge(&connection.answer, &self.plan.expect) {
            Answer::Whole { is_good, closes } if connection.due.is_some() => {
                self.answered(index, is_good);
                if closes || is_ended {
                    self.reconnect(index)?;
                }
                Ok(())
            }
            _ if is_ended => self.broken(index),
            _ => Ok(()),
        }
    }

    fn answered(&mut self, index: usize, is_good: bool) {
        let now = Instant::now();
        let Some(due) = self.connections[index].due.take() else {
            return;
        };
        self.idle.push(index);
        if is_good {
            self.took.push(now - due);
            self.last_answer = now;
        } else {
            self.failed += 1;
        }
    }

    /// A connection that ended: with a request under way, that has failed.
    fn broken(&mut self, index: usize) -> Result<(), Failure> {
        if self.connections[index].due.is_some() {
            self.answered(index, false);
        }
        self.reconnect(index)
    }

    fn reconnect(&mut self, index: usize) -> Result<(), Failure> {
        let mut stream = connect(self.plan.address)?;
        register(&self.poll, &mut stream, index)?;
        let connection = &mut self.connections[index];
        connection.stream = stream;
        connection.unsent = 0;
        connection.answer.clear();
        Ok(())
    }

    fn result(mut self) -> serde_json::Value {
        self.took.sort_unstable();
        self.late.sort_unstable();
        serde_json::json!({
            "answered": self.took.len(),
            "failed": self.failed,
            // Whoever takes long is still answering when the time is up.
            "per_second": self.took.len() as f64 / self.plan.time.max(self.last_answer - self.begun).as_secs_f64(),
            "p50_us": quantile(&self.took, 0.5),
            "p99_us": quantile(&self.took, 0.99),
            "p999_us": quantile(&self.took, 0.999),
            "max_us": quantile(&self.took, 1.0),
            "late_p99_us": quantile(&self.late, 0.99),
        })
    }
}

/// The next request of an open loop, and the timer that tells when it is due; `epoll` alone counts whole milliseconds.
struct Clock {
    timer: OwnedFd,
    due: Instant,
    rate: f64,
    state: u64,
}

impl Clock {
    fn new(poll: &Poll, token: usize, rate: f64, begun: Instant) -> Result<Self, Failure> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry().register(
            &mut SourceFd(&timer.as_raw_fd()),
            Token(token),
            Interest::READABLE,
        )?;
        let mut clock = Self {
            timer,
            due: begun,
            rate,
            state: 1,
        };
        clock.advance();
        Ok(clock)
    }

    /// Draws the pause until the next request: always the same ones, of a generator with a fixed seed (SplitMix64).
    fn advance(&mut self) {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let chance = ((bits >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        self.due += Duration::from_secs_f64(-chance.ln() / self.rate);
    }

    fn set(&self, now: Instant) -> Result<(), Failure> {
        // A timer of zero is one that is off.
        let pause = self
            .due
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let timer = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(pause.as_secs())?,
                tv_nsec: i64::from(pause.subsec_nanos()),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

fn register(poll: &Poll, stream: &mut TcpStream, index: usize) -> Result<(), Failure> {
    poll.registry()
        .register(stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
    Ok(())
}

/// Whether an answer is whole, by its length or its chunks, and whether it is the one that was expected.
fn judge(bytes: &[u8], expect: &[u8]) -> Answer {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Answer::Part;
    };
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let is_whole =
        match header(head, b"content-length").and_then(|value| str::from_utf8(value).ok()?.parse().ok()) {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
    if !is_whole {
        return Answer::Part;
    }
    Answer::Whole {
        is_good: head.starts_with(b"HTTP/1.1 200") && find(body, expect).is_some(),
        closes: header(head, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")),
    }
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(place) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + place..].starts_with(what) {
            return Some(from + place);
        }
        from += place + 1;
    }
    None
}

fn quantile(sorted: &[Duration], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = ((sorted.len() as f64 * share) as usize).min(last);
    Some(sorted[place].as_nanos() as f64 / 1e3)
}
