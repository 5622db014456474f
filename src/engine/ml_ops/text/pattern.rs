//! Patterns as RE2 reads them, with the longest of the matches that begin first: that is how ONNX Runtime looks for tokens.

use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};

/// Bytes that the states of a pattern may take: a pattern of a few bytes can ask for gigabytes.
const MAX_BYTES: usize = 8 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Finds where a match begins.
    begin: Regex,
    /// Finds where the longest one ends.
    end: DFA,
}

/// What searches of one [`Pattern`] learn on their way.
#[derive(Debug)]
pub(super) struct Memory(Cache);

impl Pattern {
    /// Compiles a pattern of RE2's syntax; or says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let pattern = unicode_but_for_classes(pattern);
        let limits = thompson::Config::new().nfa_size_limit(Some(MAX_BYTES));
        let begin = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(MAX_BYTES)))
            .build(&pattern)
            .map_err(|error| described(&error))?;
        let end = DFA::builder()
            .configure(Config::new().match_kind(MatchKind::All))
            .thompson(limits)
            .build(&pattern)
            .map_err(|error| described(&error))?;
        Ok(Self { begin, end })
    }

    pub(super) fn memory(&self) -> Memory {
        Memory(self.end.create_cache())
    }

    /// The longest of the matches in `text` that begin first at or after `from`.
    pub(super) fn find(&self, text: &str, from: usize, memory: &mut Memory) -> Option<(usize, usize)> {
        if from > text.len() {
            return None;
        }
        let first = self.begin.search(&Input::new(text).range(from..))?;
        let anchored = Input::new(text).range(first.start()..).anchored(Anchored::Yes);
        // Where the automaton gives up, the match that was found first is a match still.
        let longest = self.end.try_search_fwd(&mut memory.0, &anchored).ok().flatten();
        Some((first.start(), longest.map_or(first.end(), |end| end.offset())))
    }
}

fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In RE2 `\w`, `\d`, `\s` and `\b` know ASCII only while all else is Unicode, and `[` inside of a class is a bracket.
fn unicode_but_for_classes(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut letters = pattern.chars().peekable();
    let mut is_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let escaped = letters.next();
                match escaped {
                    Some('d') => written.push_str("[0-9]"),
                    Some('D') => written.push_str("[^0-9]"),
                    Some('w') => written.push_str("[0-9A-Za-z_]"),
                    Some('W') => written.push_str("[^0-9A-Za-z_]"),
                    Some('s') => written.push_str(r"[\t\n\x0C\r ]"),
                    Some('S') => written.push_str(r"[^\t\n\x0C\r ]"),
                    Some('b') if !is_class => written.push_str(r"(?-u:\b)"),
                    Some(other) => written.extend(['\\', other]),
                    None => written.push('\\'),
                }
            }
            '[' if is_class && letters.peek() == Some(&':') => {
                written.push('[');
                while let Some(named) = letters.next_if(|&letter| letter != ']') {
                    written.push(named);
                }
                written.extend(letters.next());
            }
            '[' if is_class => written.push_str(r"\["),
            '&' | '~' if is_class => written.extend(['\\', letter]),
            '[' => {
                is_class = true;
                written.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    written.push('^');
                }
                if letters.next_if_eq(&']').is_some() {
                    written.push_str(r"\]");
                }
            }
            ']' => {
                is_class = false;
                written.push(']');
            }
            other => written.push(other),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let pattern = Pattern::new(pattern).unwrap();
        let (mut memory, mut from, mut found) = (pattern.memory(), 0, Vec::new());
        while let Some((begin, end)) = pattern.find(text, from, &mut memory) {
            found.push(&text[begin..end]);
            from = end.max(begin + 1);
        }
        found
    }

    #[test]
    fn the_longest_match_counts() {
        assert_eq!(all("a|ab|abc", "xabcx"), ["abc"]);
        assert_eq!(all("a+?", "aaa"), ["aaa"]);
    }

    #[test]
    fn words_are_of_ascii_and_all_else_is_unicode() {
        assert_eq!(all(r"\w+", "née 12"), ["n", "e", "12"]);
        assert_eq!(all(r"\b\w\w+\b", "a née bcd"), ["bcd"]);
        assert_eq!(all(".", "né"), ["n", "é"]);
        assert_eq!(all(r"[^\w\s]+", "a-é b"), ["-é"]);
        assert_eq!(all(r"\p{L}+", "née 12"), ["née"]);
    }

    #[test]
    fn brackets_stand_in_classes_as_they_are() {
        assert_eq!(all("[[.]", "a[.b"), ["[", "."]);
        assert_eq!(all("[]&&a]+", "]&a"), ["]&a"]);
        assert_eq!(all("[[:alpha:]:]+[a:]", "a:b1"), ["a:"]);
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for pattern in ["(", "[a", r"\", r"\Cx"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
        assert!(Pattern::new(r"(\pL{1000}){1000}").is_err());
    }
}
