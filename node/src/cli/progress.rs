//! Progress bars: drawn on a terminal only, and only once the work has taken a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::now::now_ms;
use crate::site::Progress;

/// Work shorter than this shows no bar.
const PATIENCE_MS: u64 = 1_000;

/// A bar that stays hidden until it is worth looking at.
#[derive(Debug, Clone)]
pub struct Bar {
    bar: ProgressBar,
    started_ms: u64,
    may_show: bool,
}

impl Bar {
    pub(super) fn new(what: &str, may_show: bool, color: bool) -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let body = if color { "{bar:32.green}" } else { "{bar:32}" };
        let template = format!("{{msg}} {body} {{percent:>3}}% {{elapsed}} / {{duration}}");
        let style = ProgressStyle::with_template(&template).expect("the template is well formed");
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_message(what.to_owned());
        Bar { bar, started_ms: now_ms(), may_show }
    }

    /// So much is done; a total of 0 means that it is not known.
    pub fn at(&self, done: u64, total: u64) {
        if self.may_show && self.bar.is_hidden() && now_ms() >= self.started_ms + PATIENCE_MS {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if total > 0 {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    /// As [`Bar::at`], from what a site reports.
    pub fn on(&self, progress: Progress) {
        self.at(progress.done, progress.total);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
