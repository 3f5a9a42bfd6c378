//! What leaves a city's site: the service that shows it, and takes somebody's word that it may.

use std::sync::Arc;

use liandong_proto::pb::node::v1 as pb;
use pb::outbound_server::{Outbound, OutboundServer};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES, blocking};
use crate::site::Site;

/// The service of a site, beside those that the hub has as well.
pub fn outbound(site: Arc<Site>) -> OutboundServer<impl Outbound> {
    OutboundServer::new(Service { site }).max_encoding_message_size(MESSAGE_BYTES)
}

struct Service {
    site: Arc<Site>,
}

#[tonic::async_trait]
impl Outbound for Service {
    async fn preview(
        &self,
        request: Request<pb::PreviewRequest>,
    ) -> Result<Response<pb::PreviewResponse>, Status> {
        let (site, rows) = (Arc::clone(&self.site), request.into_inner().rows as usize);
        Ok(Response::new(blocking(move || site.preview_outbound(rows)).await?))
    }

    async fn accept(
        &self,
        request: Request<pb::AcceptRequest>,
    ) -> Result<Response<pb::AcceptResponse>, Status> {
        let (site, asked) = (Arc::clone(&self.site), request.into_inner());
        blocking(move || site.accept_outbound(&asked.fingerprint, &asked.author, false)).await?;
        Ok(Response::new(pb::AcceptResponse {}))
    }
}
