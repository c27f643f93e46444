//! Lines that a newcomer can follow.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressStyle};

/// Numbers the steps and indents what is said in them.
pub(crate) struct Narrator {
    steps: usize,
    step: Cell<usize>,
}

impl Narrator {
    /// A story of so many steps.
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            steps,
            step: Cell::new(0),
        }
    }

    /// Begins the next step.
    pub(crate) fn step(&self, title: &str) {
        self.step.set(self.step.get() + 1);
        println!("\n[{}/{}] {title}", self.step.get(), self.steps);
    }

    /// A line within a step.
    #[expect(clippy::unused_self, reason = "said by the narrator")]
    pub(crate) fn say(&self, text: &str) {
        println!("      {text}");
    }

    /// A progress bar; nothing where there is no terminal.
    #[expect(clippy::unused_self, reason = "said by the narrator")]
    pub(crate) fn bar(&self, unit: &str, length: usize) -> ProgressBar {
        let template = format!("      {{bar:40}} {{pos}} of {{len}} {unit}");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length as u64).with_style(style)
    }
}
