//! Owns the live view: the office's clock, what is being said, whose mail lies how deep, what it costs, and the keys.

use crate::drive::{Thing, Times, Wish, now};
use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, List, Paragraph};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use worksite_simulation::office::{Office, Pace, Planning, Progress};

/// Lines of the feed that are kept.
const FEED_MAX: usize = 200;

/// So often a second it is drawn at most: drawing is the bottleneck of who draws every tick.
const DRAWN_EVERY: Duration = Duration::from_millis(40);

/// An inbox of so many unread mails is drawn full.
const DEEP: usize = 20;

pub struct Screen {
    terminal: DefaultTerminal,
    feed: VecDeque<String>,
    drawn: Option<Instant>,
    is_paused: bool,
    /// How long it has been paused since it was last asked.
    waited: Duration,
    factor: Option<f64>,
    changed: bool,
}

/// What one picture shows.
struct Picture<'a> {
    office: &'a Office,
    tick: u64,
    planning: &'a Planning,
    pace: (Pace, f64),
    times: &'a Times,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        Ok(Self {
            terminal,
            feed: VecDeque::new(),
            drawn: None,
            is_paused: false,
            waited: Duration::ZERO,
            factor: None,
            changed: false,
        })
    }

    pub fn close(self) {
        ratatui::restore();
    }

    /// The speed who watches has chosen since it was last asked; nothing in it is as fast as it goes.
    pub fn take_speed(&mut self) -> Option<Option<f64>> {
        std::mem::take(&mut self.changed).then_some(self.factor)
    }

    /// How long it was paused since this was last asked.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Writes down what a tick brought.
    pub fn note(&mut self, office: &Office, progress: &Progress) {
        let clock = office.almanac().clock(progress.tick);
        let time = &clock[clock.len() - 5..];
        for happening in &progress.fired {
            self.feed.push_back(format!("{time} ! {}", happening.summary()));
        }
        for outgoing in &progress.outgoing {
            let mail = &outgoing.mail;
            let name = |id: &i64| office.ledger().people.get(id).map_or("?", |colleague| &colleague.name).to_string();
            let to: Vec<_> = outgoing.recipients.iter().map(name).collect();
            let to = mail.room.clone().map_or(to.join(", "), |room| format!("#{room}"));
            let said = if mail.subject.is_empty() { &mail.body } else { &mail.subject };
            self.feed.push_back(format!("{time} {} → {to} ({}): {said}", mail.from_name, mail.channel.name()));
        }
        let surplus = self.feed.len().saturating_sub(FEED_MAX);
        self.feed.drain(..surplus);
    }

    /// Draws, if it is time to, and listens to keys; while it is paused it does nothing else.
    pub fn show(
        &mut self,
        office: &Office,
        progress: &Progress,
        planning: &Planning,
        pace: (Pace, f64),
        times: &Times,
        steps: bool,
    ) -> io::Result<Option<Wish>> {
        self.is_paused |= steps;
        let picture = Picture { office, tick: progress.tick, planning, pace, times };
        if self.is_paused || self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWN_EVERY) {
            self.draw(&picture)?;
            self.drawn = Some(now());
        }
        loop {
            let patience = if self.is_paused { Duration::from_millis(200) } else { Duration::ZERO };
            let before = now();
            let is_silent = !event::poll(patience)?;
            self.waited += before.elapsed();
            if is_silent {
                if self.is_paused {
                    continue;
                }
                return Ok(None);
            }
            let Event::Key(key) = event::read()? else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(Some(Wish::Quit)),
                KeyCode::Char('b') => return Ok(Some(Wish::Inject(Thing::Blocker))),
                KeyCode::Char('m') => return Ok(Some(Wish::Inject(Thing::Meeting))),
                KeyCode::Char(' ') => self.is_paused = !self.is_paused,
                KeyCode::Char('s') | KeyCode::Enter => {
                    self.is_paused = true;
                    return Ok(None);
                }
                KeyCode::Char('+') => self.speed_up(10.0),
                KeyCode::Char('-') => self.speed_up(0.1),
                _ => {}
            }
            self.draw(&picture)?;
        }
    }

    fn speed_up(&mut self, by: f64) {
        // Below as fast as it goes there is ten thousand times as fast as life.
        let factor = self.factor.unwrap_or(100_000.0) * by;
        self.factor = (factor < 100_000.0).then_some(factor.max(1.0));
        self.changed = true;
    }

    fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        let (feed, is_paused) = (&self.feed, self.is_paused);
        self.terminal.draw(|frame| draw(frame, picture, feed, is_paused)).map(drop)
    }
}

fn draw(frame: &mut Frame, picture: &Picture, feed: &VecDeque<String>, is_paused: bool) {
    let rows =
        Layout::vertical([Constraint::Length(3), Constraint::Min(5), Constraint::Length(3), Constraint::Length(1)]);
    let [top, middle, meter, keys] = rows.areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Percentage(65), Constraint::Percentage(35)]).areas(middle);
    frame.render_widget(clock(picture, is_paused), top);
    let lines = usize::from(left.height.saturating_sub(2));
    let shown: Vec<_> =
        feed.iter().skip(feed.len().saturating_sub(lines)).map(|line| Line::from(line.as_str())).collect();
    frame.render_widget(List::new(shown).block(Block::bordered().title("what is written")), left);
    frame.render_widget(List::new(inboxes(picture)).block(Block::bordered().title("unread")), right);
    frame.render_widget(cost(picture), meter);
    frame.render_widget("space pause · s step · + - speed · b blocker · m meeting · q end".dark_gray(), keys);
}

fn clock<'a>(picture: &Picture, is_paused: bool) -> Paragraph<'a> {
    let (pace, reached) = picture.pace;
    let asked = pace.ticks_per_second.map_or("max".to_string(), |asked| format!("{asked:.1}"));
    let behind = pace.ticks_per_second.is_none_or(|asked| reached < 0.9 * asked);
    let why = if behind { format!(", held up by {}", picture.times.slow_because()) } else { String::new() };
    let state = if is_paused { "paused" } else { "running" };
    let text = format!(
        "{}   tick {}   {state}   ticks a second: asked {asked}, reached {reached:.1}{why}",
        picture.office.almanac().clock(picture.tick),
        picture.tick
    );
    Paragraph::new(text).bold().block(Block::bordered().title("the office"))
}

fn inboxes<'a>(picture: &Picture) -> Vec<Line<'a>> {
    let (office, tick) = (picture.office, picture.tick);
    let colleague = |(id, desk): (&i64, &worksite_simulation::office::Desk)| {
        let person = office.ledger().people.get(id)?;
        let depth = desk.tray.len();
        let here = office.ledger().is_at_work(office.almanac(), person, tick);
        // Green, yellow and red as in the flow tools people know.
        let color = match depth * 100 / DEEP {
            0..60 => Color::Green,
            60..85 => Color::Yellow,
            _ => Color::Red,
        };
        let bar = "█".repeat(depth.min(DEEP));
        let line = format!("{} {:<8} {depth:>3} {bar}", if here { "●" } else { "○" }, person.name);
        Some(Line::styled(line, Style::new().fg(if here { color } else { Color::DarkGray })))
    };
    office.desks().iter().filter_map(colleague).collect()
}

fn cost<'a>(picture: &Picture) -> Gauge<'a> {
    let spent = picture.office.spent_micros();
    let budget = picture.planning.budget_micros;
    let share = budget.map_or(0.0, |budget| if budget > 0 { spent as f64 / budget as f64 } else { 1.0 });
    let bound = budget.map_or("no bound".to_string(), |budget| format!("of {budget}"));
    let label = format!("{spent} {bound}, {} calls of {}", picture.office.calls(), picture.planning.planner.name());
    Gauge::default().block(Block::bordered().title("cost, in millionths")).ratio(share.clamp(0.0, 1.0)).label(label)
}
