//! A DNS server that answers what a test tells it, over UDP.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Records may be kept for an hour, if anybody asks how long: whoever looks again must not.
const TTL: u32 = 3600;

/// What the server does with questions of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers with its records.
    Well,
    /// Answers with this code.
    Fails(ResponseCode),
    /// Gives no answer.
    Silent,
}

/// The server. It stops when it is dropped.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<Name, Vec<RData>>,
    moods: BTreeMap<RecordType, Mood>,
    asked: usize,
}

impl DnsServer {
    /// A server that knows no name.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        let zone = Arc::<Mutex<Zone>>::default();
        let task = tokio::spawn(serve(socket, zone.clone()));
        Self { address, zone, task }
    }

    /// The addresses of a host from now on.
    pub(crate) fn host(&self, name: &str, addresses: &[IpAddr]) {
        self.zone().names.insert(
            parse(name),
            addresses.iter().map(|&address| address.into()).collect(),
        );
    }

    /// The hosts of a service from now on: priority, weight, port, host.
    pub(crate) fn service(&self, name: &str, hosts: &[(u16, u16, u16, &str)]) {
        let record = |&(priority, weight, port, host): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(priority, weight, port, parse(host)))
        };
        self.zone()
            .names
            .insert(parse(name), hosts.iter().map(record).collect());
    }

    /// There is no such name from now on.
    pub(crate) fn forget(&self, name: &str) {
        self.zone().names.remove(&parse(name));
    }

    /// What it does with questions for these records from now on.
    pub(crate) fn be(&self, mood: Mood, kinds: &[RecordType]) {
        self.zone().moods.extend(kinds.iter().map(|&kind| (kind, mood)));
    }

    /// How many questions came so far.
    pub(crate) fn asked(&self) -> usize {
        self.zone().asked
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("tests give valid names");
    name.set_fqdn(true);
    name
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        // A client that has gone away is told of here too.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let question = Message::from_vec(&buffer[..length]).expect("the gateway asks valid questions");
        let answer = lock(&zone).answer(&question);
        if let Some(answer) = answer {
            let bytes = answer.to_vec().expect("an answer can be encoded");
            // One that does not arrive is one more that is missing.
            let _ = socket.send_to(&bytes, client).await;
        }
    }
}

impl Zone {
    fn answer(&mut self, request: &Message) -> Option<Message> {
        self.asked += 1;
        let [query] = &request.queries[..] else {
            panic!("one question at a time: {request:?}")
        };
        let mut answer = Message::response(request.metadata.id, OpCode::Query);
        answer.add_query(query.clone());
        let mood = self.moods.get(&query.query_type()).unwrap_or(&Mood::Well);
        answer.metadata.response_code = match (mood, self.names.get(query.name())) {
            (Mood::Silent, _) => return None,
            (Mood::Fails(code), _) => *code,
            (Mood::Well, None) => ResponseCode::NXDomain,
            (Mood::Well, Some(records)) => {
                let of_kind = records
                    .iter()
                    .filter(|data| data.record_type() == query.query_type());
                let mut data: Vec<_> = of_kind.cloned().collect();
                // Servers change the order from answer to answer.
                let turn = self.asked % data.len().max(1);
                data.rotate_left(turn);
                let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
                answer.add_answers(data.into_iter().map(record));
                ResponseCode::NoError
            }
        };
        Some(answer)
    }
}
