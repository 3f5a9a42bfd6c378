//! Publishing releases, and making one again to see whether it comes out the same.

use std::pin::Pin;
use std::sync::Arc;

use liandong_node::audit::{self, Note, What};
use liandong_node::now::now_ms;
use liandong_node::site::{Progress, Records as _};
use liandong_proto::pb::hub::v1 as pb;
use pb::releases_server::Releases;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::hub::Hub;
use crate::release::ReleaseError;

type Steps = Pin<Box<dyn Stream<Item = Result<pb::ReleaseProgress, Status>> + Send>>;

/// The service.
pub(super) struct Service {
    pub hub: Arc<Hub>,
}

#[tonic::async_trait]
impl Releases for Service {
    type PublishStream = Steps;
    type RemakeStream = Steps;

    async fn publish(&self, request: Request<pb::PublishRequest>) -> Result<Response<Steps>, Status> {
        let (who, peer) = audit::who(&request.get_ref().author, &request);
        let (hub, asked) = (Arc::clone(&self.hub), request.into_inner());
        Ok(Response::new(steps(move |progress| {
            let made = hub.shared.publish_release(&who, &asked.note, now_ms(), progress)?;
            let (count, detail) =
                (made.tables.iter().map(|table| table.rows).sum(), format!("release {}", made.release));
            let (what, purpose) = (What::Exported, asked.purpose);
            hub.audit().note_behind(Note { what, who, peer, purpose, count, detail, ..Note::default() });
            Ok(pb::ReleaseProgress { release: made.release, ..pb::ReleaseProgress::default() })
        })))
    }

    async fn remake(&self, request: Request<pb::RemakeRequest>) -> Result<Response<Steps>, Status> {
        let (who, peer) = audit::who(&request.get_ref().author, &request);
        let (hub, asked) = (Arc::clone(&self.hub), request.into_inner());
        Ok(Response::new(steps(move |progress| {
            let otherwise = hub.remake_release(asked.release, progress)?;
            let (what, detail) = (What::Verified, format!("release {}", asked.release));
            hub.audit().note_behind(Note { what, who, peer, detail, ..Note::default() });
            let otherwise = otherwise.into_iter().map(|(table, _)| table.path()).collect();
            Ok(pb::ReleaseProgress { release: asked.release, otherwise, ..pb::ReleaseProgress::default() })
        })))
    }
}

/// Runs work beside the runtime, and sends its steps.
fn steps(
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<pb::ReleaseProgress, ReleaseError> + Send + 'static,
) -> Steps {
    let (sender, receiver) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let ended = work(&mut |Progress { done, total, .. }| {
            // A step that finds no room is one of many.
            let _ =
                sender.try_send(Ok(pb::ReleaseProgress { done, total, ..pb::ReleaseProgress::default() }));
        });
        let ended = ended.map(|last| pb::ReleaseProgress { finished: true, ..last });
        let _ = sender.blocking_send(ended.map_err(status));
    });
    Box::pin(ReceiverStream::new(receiver))
}

fn status(error: ReleaseError) -> Status {
    match error {
        ReleaseError::None(_) => Status::not_found(error.to_string()),
        ReleaseError::Withdrawn(_) | ReleaseError::Busy | ReleaseError::TooLong { .. } => {
            Status::failed_precondition(error.to_string())
        }
        other => liandong_node::api::status(&other.into()),
    }
}
