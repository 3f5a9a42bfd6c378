//! The command line of `simulate`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use liandong_node::now::now_ms;
use unicode_width::UnicodeWidthStr as _;

use super::planted::Planted;
use super::{Counts, run, run_with};

/// 在内存中模拟整个联合体：节点、枢纽、线路与故障 · The federation simulated in memory: nodes, hub, links, faults
#[derive(Debug, clap::Parser)]
#[command(name = "simulate")]
struct Args {
    /// 模拟多少个种子 · How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// 从哪个种子开始 · The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// 预埋的错误各由哪条不变式、用多少个种子发现 · Which invariant finds each planted bug, within how many seeds
    #[arg(long)]
    planted: bool,
    /// 逐步打印一个种子中各机器的状态 · Print how the machines of each seed stand, step by step
    #[arg(long)]
    trace: bool,
}

/// Runs the command line.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    if args.planted { planted(&args) } else { seeds(&args) }
}

fn bar(total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:32} {pos}/{len} {elapsed} / {duration}").expect("a template");
    ProgressBar::new(total).with_style(style.progress_chars("━╸─"))
}

fn seeds(args: &Args) -> ExitCode {
    let (bar, started_ms) = (bar(args.seeds), now_ms());
    let (mut all, mut failures) = (Counts::default(), 0);
    for seed in args.from..args.from + args.seeds {
        match run_with(seed, None, args.trace) {
            Ok(counts) => all.add(&counts),
            Err(failure) => {
                failures += 1;
                bar.suspend(|| println!("{failure}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    summary(&all, args.seeds, now_ms().saturating_sub(started_ms).max(1));
    if failures == 0 {
        return ExitCode::SUCCESS;
    }
    println!("{failures} 个种子失败 · seeds failed");
    ExitCode::FAILURE
}

fn summary(all: &Counts, seeds: u64, took_ms: u64) {
    let line = |zh: &str, en: &str, n: u64| {
        println!("{zh}{} {en:<24} {n:>12}", " ".repeat(12usize.saturating_sub(zh.width())));
    };
    line("种子", "seeds", seeds);
    line("步骤", "steps", all.steps);
    line("每秒步骤", "steps/s", all.steps * 1_000 / took_ms);
    line("模拟秒数", "simulated seconds", all.simulated_ms / 1_000);
    line("条目", "entries", all.entries);
    line("被拒写入", "puts refused", all.refused);
    line("会话", "sessions", all.sessions);
    line("消息", "messages", all.messages);
    line("下发", "deliveries", all.deliveries);
    line("提交", "commits", all.commits);
    line("回执", "receipts", all.receipts);
    line("比对一致", "comparisons equal", all.equal);
    for (kind, n) in &all.faults {
        line("故障", kind, *n);
    }
}

fn planted(args: &Args) -> ExitCode {
    let mut all_found = true;
    for planted in Planted::ALL {
        let bar = bar(args.seeds);
        let mut found = None;
        for seed in args.from..args.from + args.seeds {
            bar.inc(1);
            if let Err(failure) = run(seed, Some(planted)) {
                found = Some(failure);
                break;
            }
        }
        bar.finish_and_clear();
        all_found &= found.is_some();
        match found {
            Some(failure) => {
                let (by, seeds) = (failure.broken.invariant.to_string(), failure.seed - args.from + 1);
                println!("{:<32} {by:<44} {seeds:>6}", planted.to_string());
            }
            None => println!("{:<32} {:<44} {:>6}", planted.to_string(), "没有发现 · not found", "–"),
        }
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
