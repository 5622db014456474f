//! The command that trains the same model again, as its card tells it.

use std::ffi::OsString;
use std::path::Path;

/// Options that say where something goes, and nothing of the model; those in the first list take a value.
const LEFT_OUT: [&str; 4] = ["--repository", "--report", "--as-version", "--threads"];
const LEFT_OUT_ALONE: &str = "--force";

/// `line`, the program's name included, as it can be given on another machine: without where the model went, and with the file
/// name alone where the data's path began at the root. None where it holds what is no text.
pub(super) fn again(line: &[OsString]) -> Option<String> {
    let mut kept = vec!["millrace".to_owned()];
    let mut arguments = line.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let argument = argument.to_str()?;
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (argument, None),
        };
        if LEFT_OUT.contains(&option) {
            if value.is_none() {
                arguments.next();
            }
            continue;
        }
        match (option, value) {
            (LEFT_OUT_ALONE, None) => {}
            ("--data", None) => {
                kept.push(option.to_owned());
                kept.extend(
                    arguments
                        .next()
                        .map(|path| path.to_str().map(portable))
                        .unwrap_or_default(),
                );
            }
            ("--data", Some(path)) => kept.push(format!("--data={}", portable(path))),
            _ => kept.push(argument.to_owned()),
        }
    }
    let quoted: Vec<String> = kept.iter().map(|argument| quoted(argument)).collect();
    Some(quoted.join(" "))
}

fn portable(path: &str) -> String {
    let path = Path::new(path);
    let shown = match path.file_name() {
        Some(name) if path.is_absolute() => Path::new(name),
        _ => path,
    };
    shown.display().to_string()
}

/// As a shell takes it for one argument.
fn quoted(argument: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_=,./:+%@".contains(character);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> String {
        again(&line.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_says_nothing_of_the_model_is_left_out() {
        let line = [
            "/usr/bin/millrace",
            "train",
            "linear-regression",
            "--data",
            "data/d.csv",
            "--repository",
            "/tmp/x",
            "--force",
            "--as-version=3",
            "--threads",
            "2",
            "--report",
            "r.json",
            "--model",
            "m",
            "--ridge=2",
        ];
        assert_eq!(
            of(&line),
            "millrace train linear-regression --data data/d.csv --model m --ridge=2"
        );
    }

    #[test]
    fn a_path_from_the_root_is_the_file_alone() {
        assert_eq!(
            of(&["m", "train", "--data", "/home/me/d.csv"]),
            "millrace train --data d.csv"
        );
        assert_eq!(
            of(&["m", "train", "--data=/home/me/d.csv"]),
            "millrace train --data=d.csv"
        );
        assert_eq!(of(&["m", "train", "--data"]), "millrace train --data");
    }

    #[test]
    fn a_shell_takes_each_argument_for_one() {
        let line = ["m", "--description", "It's a (test) of $HOME", ""];
        assert_eq!(
            of(&line),
            r"millrace --description 'It'\''s a (test) of $HOME' ''"
        );
    }
}
