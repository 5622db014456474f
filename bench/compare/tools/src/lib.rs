//! What the programs of `bench/compare` share: reading `--name value` from the command line.

use std::env;
use std::error::Error;
use std::str::FromStr;

/// What went wrong, for the one line that a program ends with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The command line, as pairs of `--name value` and flags.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(env::args().skip(1).collect())
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    /// The value after a name, where there is one.
    ///
    /// # Errors
    ///
    /// The value is none of this type.
    pub fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: Error + Send + Sync + 'static,
    {
        let place = self.0.iter().position(|argument| argument == name);
        let Some(text) = place.and_then(|place| self.0.get(place + 1)) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error| format!("{name} {text}: {error}").into())
    }

    /// The value after a name.
    ///
    /// # Errors
    ///
    /// There is none, or it is none of this type.
    pub fn required<T: FromStr>(&self, name: &str) -> Result<T, Failure>
    where
        T::Err: Error + Send + Sync + 'static,
    {
        self.optional(name)?
            .ok_or_else(|| format!("{name} is missing").into())
    }
}
