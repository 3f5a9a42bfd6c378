//! `backup …` and `doctor` at a node.

use std::path::Path;
use std::sync::Arc;

use super::backup::{self, BackupCommand, Program, Reopened};
use super::doctor::{self, DoctorArgs, Patient, Report};
use super::door::Door;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::screen::Screen;
use super::{PROGRAM, Setup, audit};
use crate::config::NODE_KEYS;
use crate::site::{OwnChain, Records as _, Site, SiteOptions};
use crate::store::{NODE_FREE_BYTES, WRITTEN_PER_BYTE};

/// What has to be free beside so many bytes of a site, so that it opens.
pub fn room(bytes: u64) -> u64 {
    let SiteOptions { segment_bytes, overlay_bytes, .. } = SiteOptions::new(Path::new(""));
    backup::room(bytes, segment_bytes, NODE_FREE_BYTES, WRITTEN_PER_BYTE, overlay_bytes)
}

fn program() -> Program {
    Program {
        name: PROGRAM,
        is_hub: false,
        room,
        chain: || Box::new(OwnChain::default()),
        reopen: Arc::new(|put_back, progress| {
            let site = Site::open(&SiteOptions::new(&put_back.dir), progress)?;
            let mut opened = Reopened::default();
            if put_back.is_rehearsal {
                opened.faults = site.verify(&[], progress)?.faults;
            } else {
                audit::put_back(site.audit(), &put_back.caller, put_back.made_at_ms);
                site.try_erasures();
            }
            opened.records = site.status()?.counts.iter().map(|count| count.records).sum();
            site.close()?;
            Ok(opened)
        }),
    }
}

/// Carries one of them out.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: BackupCommand, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    match command {
        BackupCommand::Create(args) => {
            let setup = Setup::load(global, Vec::new(), screen)?;
            backup::create(setup.door().await?, args, &setup.data_dir, &setup.screen).await
        }
        BackupCommand::Verify(args) => backup::verify(args, &program(), screen).await,
        BackupCommand::Restore(args) => {
            let settings = global.settings(NODE_KEYS, Vec::new(), screen)?;
            let dir = settings.path("data_dir");
            backup::restore(args, dir, &program(), None, &global.caller(), screen).await
        }
    }
}

/// Looks at all of the site.
///
/// # Errors
/// [`Failure`].
pub async fn examine(args: DoctorArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let setup = Setup::load(global, Vec::new(), screen)?;
    let patient = Patient {
        dir: &setup.data_dir,
        is_hub: false,
        mirrored: false,
        chain: || Box::new(OwnChain::default()),
    };
    let door = setup.door().await;
    let looked = async {
        let mut report = Report::default();
        doctor::common(args, &patient, door.as_ref(), &mut report, &setup.screen).await?;
        doctor::answer(&report, door.as_ref().is_ok_and(Door::is_elsewhere), &setup.screen)
    };
    let looked = looked.await;
    if let Ok(door) = door {
        door.close().await?;
    }
    looked
}
