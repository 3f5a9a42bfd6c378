//! `backup …` at a node.

use std::sync::Arc;

use super::backup::{self, BackupCommand, Program, Reopened};
use super::exit::{Exit, Failure};
use super::global::Global;
use super::screen::Screen;
use super::{PROGRAM, Setup, audit};
use crate::config::NODE_KEYS;
use crate::site::{OwnChain, Records as _, Site, SiteOptions};

fn program() -> Program {
    Program {
        name: PROGRAM,
        is_hub: false,
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
            let door = setup.door().await?;
            let made = backup::create(&door, args, &setup.data_dir, &setup.screen).await;
            let closed = door.close().await;
            let exit = made?;
            closed?;
            Ok(exit)
        }
        BackupCommand::Verify(args) => backup::verify(args, &program(), screen).await,
        BackupCommand::Restore(args) => {
            let settings = global.settings(NODE_KEYS, Vec::new(), screen)?;
            let dir = settings.path("data_dir");
            backup::restore(args, dir, &program(), None, &global.caller(), screen).await
        }
    }
}
