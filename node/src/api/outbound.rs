//! What leaves a city's site: the service that shows it, and takes somebody's word that it may.

use std::sync::Arc;

use liandong_proto::pb::node::v1 as pb;
use pb::outbound_server::{Outbound, OutboundServer};
use tonic::{Request, Response, Status};

use super::audited::Reading;
use super::{MESSAGE_BYTES, blocking};
use crate::site::{Records, Site};

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
        let asked = request.get_ref();
        let rows = asked.rows as usize;
        // Samples of all kinds; kind 0 stands for that.
        let reading = Reading::new("outbound preview", 0, &asked.reader, &asked.purpose, &request);
        let site = Arc::clone(&self.site);
        let records: Arc<dyn Records> = Arc::clone(&self.site) as Arc<dyn Records>;
        let service = super::Service { records };
        let preview = service.read(reading, move |_| {
            let preview = site.preview_outbound(rows)?;
            let shown = preview.kinds.iter().map(|kind| kind.rows.len() as u64).sum();
            Ok((Some(preview), shown))
        });
        Ok(Response::new(preview.await?))
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
