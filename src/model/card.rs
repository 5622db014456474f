//! The card of a version: what people should know of a model before they use it, `card.md` with pictures beside it.
//!
//! `millrace train` writes one; whoever brings a model from elsewhere may. Nothing that answers predictions depends on it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::name::is_model_name;

/// File name of the card inside a version's folder: Markdown.
pub const CARD_FILE: &str = "card.md";
/// The folder of its pictures inside a version's folder.
pub const PICTURE_FOLDER: &str = "card";
/// How the names of its pictures end.
const PICTURE_ENDING: &str = ".svg";
/// More of a file than this is not shown, in bytes.
pub const MAX_SIZE: u64 = 4 << 20;

/// Why a file of a card is not shown.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// There is none, or it is not a file of this repository.
    #[error("there is none")]
    Missing,
    /// It has more than [`MAX_SIZE`] bytes.
    #[error("it has more than {MAX_SIZE} bytes")]
    TooLarge,
    /// It is there, and cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
}

/// Whether `name` can name a picture of a card: as a model is named, with the ending of SVG. Such a name leads nowhere else
/// than into the folder that it is looked for in.
#[must_use]
pub fn is_picture_name(name: &str) -> bool {
    is_model_name(name) && name.ends_with(PICTURE_ENDING)
}

/// The path of a picture inside its version's folder, as links in a card have it.
#[must_use]
pub fn picture_path(name: &str) -> String {
    format!("{PICTURE_FOLDER}/{name}")
}

/// Whether a file belongs to the card, by the names on its path below the version's folder.
#[must_use]
pub fn is_of_card(path: &[&str]) -> bool {
    match path {
        [file] => *file == CARD_FILE,
        [folder, picture] => *folder == PICTURE_FOLDER && is_picture_name(picture),
        _ => false,
    }
}

/// Reads the card in `folder`, a version of the repository at `root`.
pub fn read_card(root: &Path, folder: &Path) -> Result<Vec<u8>, CardError> {
    read(root, &folder.join(CARD_FILE))
}

/// Reads the picture called `name` of the card in `folder`, a version of the repository at `root`.
pub fn read_picture(root: &Path, folder: &Path, name: &str) -> Result<Vec<u8>, CardError> {
    if !is_picture_name(name) {
        return Err(CardError::Missing);
    }
    read(root, &folder.join(PICTURE_FOLDER).join(name))
}

/// Links are followed as long as they stay inside the repository, as they are for graphs.
fn read(root: &Path, path: &Path) -> Result<Vec<u8>, CardError> {
    let path = path.canonicalize().map_err(not_read)?;
    // A pipe or a device could be read for ever.
    if !path.starts_with(root) || !path.is_file() {
        return Err(CardError::Missing);
    }
    let mut contents = Vec::new();
    let file = File::open(path).map_err(not_read)?;
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut contents)
        .map_err(not_read)?;
    if contents.len() as u64 > MAX_SIZE {
        return Err(CardError::TooLarge);
    }
    Ok(contents)
}

fn not_read(error: io::Error) -> CardError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CardError::Missing,
        _ => CardError::Unreadable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_no_pictures() {
        for name in [
            "",
            ".svg",
            "..",
            "../a.svg",
            "a/../b.svg",
            "/etc/a.svg",
            "a/b.svg",
            "a\\b.svg",
            "..%2fa.svg",
            "%2e%2e%2fa.svg",
            "a\0.svg",
            "a.svg\0",
            "a.svg/",
            "a.png",
            "card.md",
            "ä.svg",
        ] {
            assert!(!is_picture_name(name), "{name:?}");
        }
        assert!(is_picture_name("loss.svg") && is_picture_name("roc-2.svg"));
    }

    proptest! {
        /// Whatever a picture is called, its path has one part below the folder of pictures.
        #[test]
        fn a_picture_lies_in_its_folder(name in "[a-z./%0\\\\\u{0}]{0,12}(\\.svg)?") {
            if is_picture_name(&name) {
                let path = Path::new("/root/1/card").join(&name);
                prop_assert_eq!(path.parent(), Some(Path::new("/root/1/card")));
                prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
            } else {
                let read = read_picture(Path::new("/"), Path::new("/nowhere"), &name);
                prop_assert!(matches!(read, Err(CardError::Missing)));
            }
        }
    }

    #[test]
    fn only_whole_files_of_the_repository_are_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret.svg"), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let folder = root.join("m/1");
        fs::create_dir_all(folder.join("card/folder.svg")).unwrap();
        fs::write(folder.join("card/real.svg"), "<svg/>").unwrap();
        fs::write(folder.join("card/large.svg"), vec![b' '; (4 << 20) + 1]).unwrap();
        symlink(outside.path().join("secret.svg"), folder.join("card/stolen.svg")).unwrap();
        symlink("real.svg", folder.join("card/linked.svg")).unwrap();
        symlink("circle.svg", folder.join("card/circle.svg")).unwrap();
        let picture = |name| read_picture(&root, &folder, name);
        assert_eq!(picture("real.svg").unwrap(), b"<svg/>");
        assert_eq!(picture("linked.svg").unwrap(), b"<svg/>");
        for name in ["stolen.svg", "folder.svg", "none.svg", "../card/real.svg"] {
            assert!(matches!(picture(name), Err(CardError::Missing)), "{name}");
        }
        assert!(matches!(picture("large.svg"), Err(CardError::TooLarge)));
        assert!(matches!(picture("circle.svg"), Err(CardError::Unreadable(_))));
        assert!(matches!(read_card(&root, &folder), Err(CardError::Missing)));
        fs::write(folder.join(CARD_FILE), "# m").unwrap();
        assert_eq!(read_card(&root, &folder).unwrap(), b"# m");
    }

    #[test]
    fn a_card_and_its_pictures_are_known_by_their_places() {
        assert!(is_of_card(&["card.md"]) && is_of_card(&["card", "loss.svg"]));
        for path in [
            &["model.onnx"][..],
            &["card"],
            &["card", "weights.bin"],
            &["weights", "card.md"],
            &["card", "card", "loss.svg"],
        ] {
            assert!(!is_of_card(path), "{path:?}");
        }
    }
}
