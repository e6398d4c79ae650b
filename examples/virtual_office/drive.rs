//! Owns the run: it lets tick after tick pass at the speed that is asked for, shows them, and does what who watches wants.

use crate::arguments::Arguments;
use crate::house::Open;
use crate::program::{Done, chaos};
use crate::screen::Screen;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use worksite_simulation::office::{Happening, HappeningKind, Input, Office, Pace, Planning, Progress, RunEnd};

/// What who watches wants.
#[derive(Clone, Copy, PartialEq)]
pub enum Wish {
    Quit,
    Inject(Thing),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Thing {
    Blocker,
    Meeting,
}

/// Where the time goes.
#[derive(Default)]
pub struct Times {
    pub planner: Duration,
    pub drawing: Duration,
    pub waiting: Duration,
    pub total: Duration,
}

impl Times {
    /// What a run that is behind is busy with.
    pub fn slow_because(&self) -> &'static str {
        let house = self.total.saturating_sub(self.planner + self.drawing + self.waiting);
        let most = [(self.planner, "the planner"), (self.drawing, "drawing"), (house, "commits")];
        most.iter().max_by_key(|(time, _)| *time).map_or("", |(_, what)| what)
    }
}

/// How a run went.
pub struct Driven {
    pub end: Option<RunEnd>,
    /// Ticks that came and those in which anything happened, in this life.
    pub ticks: u64,
    pub active: u64,
    pub times: Times,
}

enum View {
    Nothing,
    Bar(ProgressBar),
    Screen(Box<Screen>),
}

/// Runs to the last tick, or to where somebody or the budget stops it.
pub async fn drive(open: &mut Open, planning: &Planning, arguments: &Arguments) -> Done<Driven> {
    let office = &mut open.office;
    let mut view = view(arguments)?;
    let pace = arguments.speed.map_or(Pace::default(), Pace::times_real);
    let (began, first) = (now(), office.tick());
    let mut driver = Driver { pace, began, since: (began, first), wish: None, active: 0, times: Times::default() };
    let end = loop {
        let watch =
            |office: &Office, progress: &Progress| driver.watch(office, progress, &mut view, planning, arguments);
        match office.run_to(arguments.ticks, planning, watch).await? {
            RunEnd::Paused => match driver.wish.take() {
                Some(Wish::Quit) | None => break None,
                Some(Wish::Inject(thing)) => drop(office.enter(happening(thing, office)).await?),
            },
            end => break Some(end),
        }
    };
    match view {
        View::Bar(bar) => bar.finish_and_clear(),
        View::Screen(screen) => screen.close(),
        View::Nothing => {}
    }
    let mut times = driver.times;
    times.total = driver.began.elapsed();
    Ok(Driven { end, ticks: office.tick() - first, active: driver.active, times })
}

fn view(arguments: &Arguments) -> Done<View> {
    if arguments.flags.quiet {
        return Ok(View::Nothing);
    }
    if std::io::stdout().is_terminal() && !arguments.plain {
        return Ok(View::Screen(Box::new(Screen::open()?)));
    }
    let bar = ProgressBar::with_draw_target(Some(arguments.ticks), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{msg} [{bar:40}] tick {pos}/{len}, {per_sec}, {eta} left")?);
    Ok(View::Bar(bar))
}

fn happening(thing: Thing, office: &Office) -> Input {
    let everybody: Vec<i64> = office.ledger().people.keys().copied().collect();
    let kind = match thing {
        Thing::Blocker => HappeningKind::Blocker,
        Thing::Meeting => HappeningKind::Meeting,
    };
    Input::Inject(Happening::new(kind, everybody, office.tick()).with("topic", "what was just injected"))
}

struct Driver {
    pace: Pace,
    began: Instant,
    /// Since when the present speed is kept, and from which tick on.
    since: (Instant, u64),
    wish: Option<Wish>,
    active: u64,
    times: Times,
}

impl Driver {
    fn watch(
        &mut self,
        office: &Office,
        progress: &Progress,
        view: &mut View,
        planning: &Planning,
        arguments: &Arguments,
    ) -> bool {
        self.active += 1;
        let slowest = progress.answers.iter().map(|row| row.took_ms).max().unwrap_or(0);
        self.times.planner += Duration::from_millis(slowest);
        self.times.total = self.began.elapsed();
        chaos::tell(&arguments.flags, progress.tick, arguments.ticks);
        let passed = progress.tick + 1 - self.since.1;
        let before = now();
        match view {
            View::Nothing => {}
            View::Bar(bar) => {
                bar.set_position(progress.tick + 1);
                bar.set_message(office.almanac().clock(progress.tick));
            }
            View::Screen(screen) => {
                let reached = Pace::reached(passed, self.since.0.elapsed());
                screen.note(office, progress);
                let shown = screen.show(office, progress, planning, (self.pace, reached), &self.times, arguments.step);
                self.wish = shown.unwrap_or(Some(Wish::Quit));
                if let Some(factor) = screen.take_speed() {
                    // The clock of the pace begins again, or a change would make up for the past.
                    let pace = factor.map_or(Pace::default(), Pace::times_real);
                    (self.pace, self.since) = (pace, (now(), progress.tick + 1));
                }
            }
        }
        let waited = if let View::Screen(screen) = view { screen.take_waited() } else { Duration::ZERO };
        self.times.waiting += waited;
        self.times.drawing += before.elapsed().saturating_sub(waited);
        self.wait(progress.tick + 1 - self.since.1, arguments, view);
        self.wish.is_none()
    }

    fn wait(&mut self, passed: u64, arguments: &Arguments, view: &View) {
        let before = now();
        if arguments.step && !matches!(view, View::Screen(_)) {
            let _end_of_input = std::io::stdin().read_line(&mut String::new());
        }
        std::thread::park_timeout(self.pace.wait(passed, self.since.0.elapsed()));
        self.times.waiting += before.elapsed();
    }
}

#[expect(clippy::disallowed_methods, reason = "the speed is kept and shown for a person")]
pub fn now() -> Instant {
    Instant::now()
}
