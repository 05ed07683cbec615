//! All that an example found to be wrong.

use super::Fallible;

#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem, and prints it at once.
    pub(crate) fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("WRONG: {what}");
        self.0.push(what);
    }

    /// Runs a check, whose failure is a problem.
    pub(crate) fn check(&mut self, what: &str, check: impl FnOnce() -> Fallible<()>) {
        if let Err(error) = check() {
            self.add(format!("{what}: {error}"));
        }
    }

    /// Prints all problems, and tells whether there is none.
    pub(crate) fn verdict(&self) -> bool {
        if self.0.is_empty() {
            println!("all well");
        } else {
            println!("{} problems:", self.0.len());
            for problem in &self.0 {
                println!("  {problem}");
            }
        }
        self.0.is_empty()
    }
}
