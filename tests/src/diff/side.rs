//! One of the two stores: the process, a client, and what its answers are stripped of.

use std::path::Path;

use anyhow::Result;
use tidegate_api::{
    Code, Error, Message, Method,
    pb::{
        CompactionResponse, DeleteRangeResponse, HashKvResponse, LeaseGrantRequest, LeaseGrantResponse,
        LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest,
        LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutResponse, RangeResponse,
        ResponseHeader, TxnResponse,
    },
};
use tidegate_client::{Client, Stream};

use super::{material::CHOSEN, step::Call, streams::Watches};
use crate::{Kind, Options, Server};

/// Largest request of both stores: small, so that what is split or refused for its size is small too.
const REQUEST_BYTES_MAX: u32 = 256 << 10;
/// Most seconds that a run takes of a lease's time.
const TTL_PASSED_MAX: i64 = 300;

/// What a store answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    LeaseTimeToLive(LeaseTimeToLiveResponse),
    LeaseKeepAlive(LeaseKeepAliveResponse),
    LeaseLeases(LeaseLeasesResponse),
    HashKv(HashKvResponse),
}

/// An answer, or the code and the text of an error.
pub(super) type Outcome = Result<Reply, (Code, String)>;

impl Reply {
    fn header(&mut self) -> &mut Option<ResponseHeader> {
        match self {
            Reply::Range(reply) => &mut reply.header,
            Reply::Put(reply) => &mut reply.header,
            Reply::DeleteRange(reply) => &mut reply.header,
            Reply::Txn(reply) => &mut reply.header,
            Reply::Compact(reply) => &mut reply.header,
            Reply::LeaseGrant(reply) => &mut reply.header,
            Reply::LeaseRevoke(reply) => &mut reply.header,
            Reply::LeaseTimeToLive(reply) => &mut reply.header,
            Reply::LeaseKeepAlive(reply) => &mut reply.header,
            Reply::LeaseLeases(reply) => &mut reply.header,
            Reply::HashKv(reply) => &mut reply.header,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        let mut reply = self.clone();
        reply.header().as_ref().map_or(0, |header| header.revision)
    }
}

/// The numbers of a store that are its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Own {
    cluster: u64,
    member: u64,
    term: u64,
}

impl Own {
    /// Takes its own numbers out of a header. Others stay, and are seen.
    pub(super) fn strip(self, header: &mut Option<ResponseHeader>) {
        let Some(header) = header else { return };
        if (Self { cluster: header.cluster_id, member: header.member_id, term: header.raft_term }) == self {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
    }
}

pub(super) struct Side {
    server: Server,
    client: Client,
    own: Own,
    /// Leases whose ids the store chose.
    chosen: Vec<i64>,
    pub(super) watches: Watches,
}

impl Side {
    pub(super) fn start(kind: Kind, dir: &Path) -> Result<Self> {
        let options =
            Options::new(kind, dir.join(kind.name())).flag("max-request-bytes", &REQUEST_BYTES_MAX.to_string());
        let server = Server::start(&options)?;
        let client = server.client();
        let watches = Watches::new(client.clone());
        Ok(Self { server, client, own: Own::default(), chosen: Vec::new(), watches })
    }

    /// Learns the store's own numbers, and its revision.
    pub(super) async fn meet(&mut self) -> Result<i64> {
        let header = self.client.status(Default::default()).await?.header.unwrap_or_default();
        self.own = Own { cluster: header.cluster_id, member: header.member_id, term: header.raft_term };
        self.watches.own = self.own;
        Ok(header.revision)
    }

    pub(super) async fn call(&mut self, call: &Call) -> Outcome {
        let mut reply = self.answer(call).await.map_err(|(code, error)| (code, error.text().to_owned()))?;
        self.own.strip(reply.header());
        self.normalise(&mut reply);
        Ok(reply)
    }

    /// The end of its log, for a call that was not answered.
    pub(super) fn log(&self, outcome: &Outcome) -> String {
        match outcome {
            Err((Code::Unavailable, _)) => {
                // A program that fails says why before it shows where.
                let log = self.server.log().tail(100);
                let why = log.lines().find(|line| line.contains("panic"));
                format!(" {}", why.map_or_else(|| log.clone(), str::to_owned))
            }
            _ => String::new(),
        }
    }

    async fn answer(&self, call: &Call) -> Result<Reply, (Code, Error)> {
        let method = call.method();
        Ok(match call {
            Call::Range(request) => Reply::Range(self.once(method, request).await?),
            Call::Put(request) => Reply::Put(self.once(method, request).await?),
            Call::DeleteRange(request) => Reply::DeleteRange(self.once(method, request).await?),
            Call::Txn(request) => Reply::Txn(self.once(method, request).await?),
            Call::Compact(request) => Reply::Compact(self.once(method, request).await?),
            Call::LeaseGrant(request) => Reply::LeaseGrant(self.once(method, request).await?),
            Call::LeaseRevoke(request) => {
                let request = LeaseRevokeRequest { id: self.id(request.id) };
                Reply::LeaseRevoke(self.once(method, &request).await?)
            }
            Call::LeaseTimeToLive(request) => {
                let request = LeaseTimeToLiveRequest { id: self.id(request.id), ..*request };
                Reply::LeaseTimeToLive(self.once(method, &request).await?)
            }
            Call::LeaseKeepAlive(id) => Reply::LeaseKeepAlive(self.keep_alive(self.id(*id)).await?),
            Call::LeaseLeases => Reply::LeaseLeases(self.once(method, &LeaseLeasesRequest {}).await?),
            Call::HashKv(request) => Reply::HashKv(self.once(method, request).await?),
        })
    }

    async fn once<A: Message + Default>(&self, method: Method, request: &impl Message) -> Result<A, (Code, Error)> {
        self.client.unary_once(method, request).await
    }

    async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, (Code, Error)> {
        let coded = |error: Error| (error.code(), error);
        let stream = self.client.stream(Method::LeaseKeepAlive).await;
        let mut stream: Stream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> = stream.map_err(coded)?;
        stream.send(&LeaseKeepAliveRequest { id }).await.map_err(coded)?;
        let answer = stream.next().await.map_err(coded)?;
        answer.ok_or_else(|| (Code::Unknown, Error::other(Code::Unknown, "the stream ended without an answer")))
    }

    /// The store's id of a lease.
    fn id(&self, id: i64) -> i64 {
        let place = usize::try_from(id.wrapping_sub(CHOSEN)).ok();
        place.and_then(|place| self.chosen.get(place)).copied().unwrap_or(id)
    }

    /// The id of a lease in both stores.
    fn common(&self, id: i64) -> i64 {
        let place = self.chosen.iter().position(|chosen| *chosen == id);
        place.map_or(id, |place| CHOSEN + i64::try_from(place).expect("few are granted"))
    }

    /// Keeps the id of a granted lease that the store chose.
    pub(super) fn learn(&mut self, request: &LeaseGrantRequest, outcome: &mut Outcome) {
        if let Ok(Reply::LeaseGrant(reply)) = outcome
            && request.id == 0
            && reply.id > 0
        {
            self.chosen.push(reply.id);
            reply.id = self.common(reply.id);
        }
    }

    fn normalise(&self, reply: &mut Reply) {
        match reply {
            Reply::LeaseTimeToLive(reply) => {
                reply.id = self.common(reply.id);
                // Two clocks.
                if (0..=TTL_PASSED_MAX).contains(&(reply.granted_ttl - reply.ttl)) {
                    reply.ttl = reply.granted_ttl;
                }
                // In no order.
                reply.keys.sort_unstable();
            }
            Reply::LeaseKeepAlive(reply) => reply.id = self.common(reply.id),
            Reply::LeaseLeases(reply) => {
                reply.leases.iter_mut().for_each(|lease| lease.id = self.common(lease.id));
                // By two clocks.
                reply.leases.sort_unstable_by_key(|lease| lease.id);
            }
            _ => {}
        }
    }
}
