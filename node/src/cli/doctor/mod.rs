//! `doctor`: looks at everything that can go wrong with a site, and says what to do. The same at node and hub, but for
//! what each adds.
//!
//! Checks, each with an outcome: fine, found, or not done and why. A site that does not open is looked at as files.
//!
//! Does not check: whether a backup can be read (`backup verify` does) or put back (`backup restore --rehearse`), nor the
//! machine beyond its disk and clock.

pub mod codes;
mod files;
mod report;
mod standing;

use std::path::Path;

use liandong_proto::pb::node::v1::{StatusRequest, StatusResponse, UpkeepProgress, UpkeepRequest};
use liandong_proto::schema::Text;

use super::door::{Door, blocking};
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::backup::Chain;
use crate::say;
use crate::site::Paths;
use crate::text::Said;

pub use files::mirror_disk;
pub use report::{CHECKS, Report};
pub use standing::{DAY_MS, ENDING_DAYS};

/// Flags of `doctor`.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct DoctorArgs {
    /// 不通读日志和索引，几秒内答复 · Do not read all of log and index; answers within seconds
    #[arg(long)]
    quick: bool,
}

/// What is looked at.
pub struct Patient<'a> {
    /// Its directory.
    pub dir: &'a Path,
    /// Whether it is the hub's.
    pub is_hub: bool,
    /// Whether its settings name a mirror of its log.
    pub mirrored: bool,
    /// What holds its log together.
    pub chain: fn() -> Box<dyn Chain>,
}

/// Looks at what every site has. `Ok` has the status of a site that could be asked.
///
/// # Errors
/// [`Failure`] when there is no site, or a check was cut short.
pub async fn common(
    args: DoctorArgs,
    patient: &Patient<'_>,
    door: Result<&Door, &Failure>,
    report: &mut Report,
    screen: &Screen,
) -> Result<Option<StatusResponse>, Failure> {
    files::disk(patient.dir, report);
    let door = match door {
        Ok(door) => door,
        Err(failure) if !Paths::new(patient.dir).log().exists() => return Err(failure.clone()),
        Err(failure) => {
            standing::backup(patient.dir, patient.is_hub, patient.mirrored, report);
            closed(args, patient, failure, report, screen).await?;
            return Ok(None);
        }
    };
    let status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    standing::backup(patient.dir, patient.is_hub, status.mirror.is_some(), report);
    let is_running = door.is_elsewhere();
    report.fine("site", if is_running { say!("在运行", "it runs") } else { say!("能打开", "it opens") });
    standing::clock(&status, is_running, report);
    if patient.is_hub {
        report.not_done("sync", say!("枢纽不向别处同步", "a hub syncs to nowhere"));
        report.not_done("certificate", say!("枢纽自己就是颁发机构", "a hub is the authority itself"));
    } else {
        standing::sync(&status, is_running, report);
        standing::certificate(&status, report);
    }
    standing::held(&status, report);
    standing::health(&status, report);
    if args.quick {
        let quick = || say!("用了 --quick", "--quick was given");
        ["log", "audit", "index"].into_iter().for_each(|check| report.not_done(check, quick()));
    } else {
        let found = verified(door, screen).await?;
        told(&found, report);
    }
    Ok(Some(status))
}

/// Gives the answer.
///
/// # Errors
/// [`Failure`] when nobody reads it.
pub fn answer(report: &Report, is_running: bool, screen: &Screen) -> Result<Exit, Failure> {
    screen.answer(&report.json(is_running), || report.text(is_running, screen))?;
    Ok(if report.is_sound() { Exit::Done } else { Exit::Internal })
}

/// Looks at the files of a site that does not open.
async fn closed(
    args: DoctorArgs,
    patient: &Patient<'_>,
    failure: &Failure,
    report: &mut Report,
    screen: &Screen,
) -> Result<(), Failure> {
    report.found("site", &codes::SITE_NOT_OPEN, failure.said.clone());
    files::certificate(patient.dir, patient.is_hub, report);
    for check in ["clock", "index", "held", if patient.is_hub { "cities" } else { "sync" }] {
        report.not_done(check, say!("站点打不开", "the site does not open"));
    }
    if args.quick {
        report.not_done("log", say!("用了 --quick", "--quick was given"));
        return Ok(());
    }
    let (dir, chain) = (patient.dir.to_path_buf(), patient.chain);
    let bar = screen.bar(Text { zh: "检查日志", en: "checking the log" });
    let shown = bar.clone();
    let read = blocking(move || {
        let mut report = Report::default();
        files::logs(&dir, chain, &mut report, &mut |done, total| shown.at(done, total));
        report
    });
    let read = read.await;
    bar.finish();
    report.append(read?);
    Ok(())
}

async fn verified(door: &Door, screen: &Screen) -> Result<UpkeepProgress, Failure> {
    let bar = screen.bar(Text { zh: "检查日志和索引", en: "checking log and index" });
    let request = UpkeepRequest { author: door.caller().author.clone(), pins: Vec::new() };
    let mut progress = door.upkeep().verify(request).await?.into_inner();
    let mut last = None;
    while let Some(step) = progress.message().await? {
        bar.at(step.done, step.total);
        last = Some(step).filter(|step| step.finished);
    }
    bar.finish();
    last.ok_or_else(|| {
        Failure::internal(say!("检查没有做完，请重试", "the check was not finished; try again"))
    })
}

/// The faults of the log come first, then those of the audit log, then the index's.
fn told(found: &UpkeepProgress, report: &mut Report) {
    let faults: Vec<Said> =
        found.zh.iter().zip(&found.en).map(|(zh, en)| Said::new(zh.clone(), en.clone())).collect();
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(faults.len());
    let (index, audit) = (count(found.index_faults), count(found.audit_faults));
    let in_log = faults.len().saturating_sub(index + audit);
    let (of_log, rest) = faults.split_at(in_log);
    let (of_audit, of_index) = rest.split_at(audit.min(rest.len()));
    let (entries, rows, digest) = (found.total, found.records, &found.digest);
    let parts = [
        (
            "log",
            &codes::LOG_DAMAGED,
            of_log,
            say!("{entries} 条，链完整", "{entries} records, the chain holds"),
        ),
        ("audit", &codes::AUDIT_DAMAGED, of_audit, say!("链完整", "the chain holds")),
        (
            "index",
            &codes::INDEX_DAMAGED,
            of_index,
            say!("{rows} 行，摘要 {digest}", "{rows} rows, digest {digest}"),
        ),
    ];
    for (check, code, faults, fine) in parts {
        match faults {
            [] => report.fine(check, fine),
            [first, rest @ ..] => {
                let more = rest.len();
                let Said { zh, en } = first;
                let said = if rest.is_empty() {
                    first.clone()
                } else {
                    say!("{zh}（另有 {more} 处，见 verify）", "{en} (and {more} more, see verify)")
                };
                report.found(check, code, said);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_of_the_part_that_it_is_in() {
        let lines = ["log 1", "log 2", "audit", "index"];
        let found = UpkeepProgress {
            zh: lines.map(String::from).to_vec(),
            en: lines.map(String::from).to_vec(),
            audit_faults: 1,
            index_faults: 1,
            ..UpkeepProgress::default()
        };
        let mut report = Report::default();
        told(&found, &mut report);
        let json = report.json(true);
        let of =
            |at: usize| (json["findings"][at]["code"].clone(), json["findings"][at]["detail"]["en"].clone());
        assert_eq!(of(0), ("LOG_DAMAGED".into(), "log 1 (and 1 more, see verify)".into()));
        assert_eq!(of(1), ("AUDIT_DAMAGED".into(), "audit".into()));
        assert_eq!(of(2), ("INDEX_DAMAGED".into(), "index".into()));
        let mut report = Report::default();
        told(&UpkeepProgress::default(), &mut report);
        assert!(report.is_sound());
    }
}
