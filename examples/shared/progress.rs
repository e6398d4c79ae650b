//! Owns the bar that a person watches, and the rate that is said at its end.

use crate::program::Done;
use crate::program::flags::Flags;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Instant;

/// A run on its way.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// Shows how many of the whole are done, and what they are.
    #[expect(clippy::disallowed_methods, reason = "the rate is shown to a person")]
    pub fn begin(flags: &Flags, (done, whole): (usize, usize), what: &'static str) -> Done<Self> {
        let target = if flags.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(whole as u64), target).with_prefix(what);
        bar.set_style(ProgressStyle::with_template("[{bar:30}] {pos}/{len} {prefix}, {per_sec}, {eta} left  {msg}")?);
        bar.set_position(done as u64);
        bar.reset_eta();
        Ok(Self { bar, start: Instant::now() })
    }

    pub fn show(&self, done: usize, message: impl Into<String>) {
        self.bar.set_position(done as u64);
        self.bar.set_message(message.into());
    }

    /// Says how many of what were dealt with, and how fast.
    pub fn end(self, count: u64, what: &str) {
        self.bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        println!("{count} {what} in {seconds:.1} s: {:.0} a second, each durable", count as f64 / seconds);
    }
}
