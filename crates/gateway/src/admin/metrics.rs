//! Metrics of the member, and behind them those of the traffic, written in pieces.

use bytes::Bytes;
use tidegate_api::{BoxFuture, Error};
use tidegate_base::{Budget, Holder};

use super::{AdminResponse, Body, Chunk, Chunks, service::Admin};

struct Pieces {
    first: Option<Bytes>,
    traffic: Box<dyn Iterator<Item = String> + Send>,
    budget: Budget,
}

impl Chunks for Pieces {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, Error>>> {
        Box::pin(async move {
            let bytes = self.first.take().or_else(|| self.traffic.next().map(Bytes::from))?;
            let lease = self.budget.try_lease(Holder::Gateway, bytes.len() as u64);
            Some(lease.ok_or(Error::TooManyRequests).map(|lease| Chunk { bytes, lease: Some(lease) }))
        })
    }
}

impl Admin {
    pub(super) fn metrics(&self) -> AdminResponse {
        let answer = self.reports.metrics();
        let Body::Whole(Chunk { bytes, .. }) = answer.body else { return answer };
        let options = &self.node.options;
        let traffic = self.plane.metrics(&[
            ("clusterName", &options.cluster_name),
            ("clusterRole", &options.cluster_role),
            ("instanceName", &options.name),
        ]);
        let first = (!bytes.is_empty()).then_some(bytes);
        let body = Body::Chunks(Box::new(Pieces { first, traffic, budget: self.budget.clone() }));
        AdminResponse { body, ..answer }
    }
}
