//! The command line of `simulate`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use liandong_node::now::now_ms;
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use super::planted::Planted;
use super::{Counts, Failure, run, run_with};

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
    #[arg(long, conflicts_with = "planted")]
    trace: bool,
    /// 结果以 JSON 输出 · Give the result as JSON
    #[arg(long)]
    json: bool,
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
    let (mut all, mut failures) = (Counts::default(), Vec::new());
    for seed in args.from..args.from + args.seeds {
        match run_with(seed, None, args.trace) {
            Ok(counts) => all.add(&counts),
            Err(failure) => {
                if !args.json {
                    bar.suspend(|| println!("{failure}"));
                }
                failures.push(failure);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let took_ms = now_ms().saturating_sub(started_ms).max(1);
    match args.json {
        true => println!("{}", as_json(&all, args.seeds, took_ms, &failures)),
        false => summary(&all, args.seeds, took_ms),
    }
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !args.json {
        println!("{} 个种子失败 · seeds failed", failures.len());
    }
    ExitCode::FAILURE
}

fn as_json(all: &Counts, seeds: u64, took_ms: u64, failures: &[Box<Failure>]) -> serde_json::Value {
    let failures: Vec<_> = failures
        .iter()
        .map(|it| json!({ "seed": it.seed, "step": it.step, "invariant": it.broken.invariant.to_string(), "what": it.broken.what }))
        .collect();
    json!({
        "seeds": seeds, "steps": all.steps, "took_ms": took_ms, "simulated_ms": all.simulated_ms,
        "entries": all.entries, "puts_refused": all.refused, "sessions": all.sessions,
        "messages": all.messages, "deliveries": all.deliveries, "commits": all.commits,
        "receipts": all.receipts, "comparisons_equal": all.equal, "faults": all.faults, "failures": failures,
    })
}

fn summary(all: &Counts, seeds: u64, took_ms: u64) {
    let line = |zh: &str, en: &str, n: u64| {
        println!("{zh}{} {en:<24} {n:>12}", " ".repeat(12usize.saturating_sub(zh.width())));
    };
    line("种子", "seeds", seeds);
    line("秒", "seconds", took_ms / 1_000);
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
    line("故障合计", "faults in all", all.faults.values().sum());
}

/// The table of planted bugs.
fn planted(args: &Args) -> ExitCode {
    let (mut all_found, mut rows) = (true, Vec::new());
    if !args.json {
        println!("{:<32} {:<44} {:>6}", "预埋 · planted", "发现者 · found by", "种子 · seeds");
    }
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
        let by = found.as_ref().map(|failure| failure.broken.invariant.to_string());
        let needed = found.map(|failure| failure.seed - args.from + 1);
        if args.json {
            rows.push(json!({ "planted": planted.to_string(), "found_by": by, "seeds": needed }));
            continue;
        }
        let by = by.unwrap_or_else(|| "没有发现 · not found".into());
        let needed = needed.map_or("–".into(), |needed| needed.to_string());
        println!("{:<32} {by:<44} {needed:>6}", planted.to_string());
    }
    if args.json {
        println!("{}", json!({ "planted": rows }));
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
