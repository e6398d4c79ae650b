//! How a run stands, and the one table of what may become of it: [`RunStatus`]. Terminal is final.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for a runner.
    Pending,
    /// A runner has it, and has not begun.
    Claimed,
    /// A runner is at it.
    Running,
    /// It is to stop; its runner has not said yet that it has.
    Stopping,
    /// It is done.
    Completed,
    /// It was given up, with a reason.
    Failed,
    /// It was stopped.
    Stopped,
}

impl RunStatus {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Claimed, Self::Running, Self::Stopping, Self::Completed, Self::Failed, Self::Stopped];

    /// The word in files, as in seed 002.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// The status of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether nothing more becomes of it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }

    /// Whether a runner has it.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Claimed | Self::Running | Self::Stopping)
    }

    /// Whether this may become that. Seed 002 has no such table: there, what has completed can run again.
    ///
    /// ```
    /// use worksite_model::RunStatus::{Claimed, Completed, Pending, Running};
    ///
    /// assert!(Pending.may_become(Claimed) && Claimed.may_become(Running) && Running.may_become(Completed));
    /// assert!(!Completed.may_become(Running) && !Pending.may_become(Completed));
    /// ```
    pub const fn may_become(self, next: Self) -> bool {
        use RunStatus::{Claimed, Completed, Failed, Pending, Running, Stopped, Stopping};
        match (self, next) {
            (Pending, Claimed | Failed | Stopped) => true,
            // Back to pending: given back, or its runner was lost.
            (Claimed, Pending | Running | Stopping | Completed | Failed | Stopped) => true,
            (Running, Pending | Stopping | Completed | Failed | Stopped) => true,
            (Stopping, Completed | Failed | Stopped) => true,
            _ => false,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_is_final_and_only_held_runs_complete() {
        for from in RunStatus::ALL {
            for to in RunStatus::ALL {
                assert!(!from.is_terminal() || !from.may_become(to), "{from} became {to}");
                assert!(to != RunStatus::Completed || from.is_held() || !from.may_become(to), "{from} became {to}");
                assert!(from != to || !from.may_become(to));
            }
            assert_eq!(RunStatus::from_name(from.name()), Some(from));
        }
        let ways = RunStatus::ALL.map(|from| RunStatus::ALL.iter().filter(|to| from.may_become(**to)).count());
        assert_eq!(ways, [3, 6, 5, 3, 0, 0, 0]);
    }
}
