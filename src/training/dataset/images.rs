//! Folders of images: one folder for each class, named like it, with PNG and JPEG files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::{Dataset, DatasetError, ImageShape, MIN_ROWS, Target, unreadable};
use crate::model::preprocessing::image::{Budget, Channels, ImageError, MAX_PIXELS, Raster};

/// What is predicted: the folder that an image is in.
pub const TARGET: &str = "folder";
/// The value of the brightest pixel in files of images.
pub const LARGEST: f64 = 255.0;
/// Endings of the names of images.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// A file beyond this is no image to learn from: it would be read whole.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Values of all images together: 2 GiB as they are held.
const MAX_VALUES: usize = 1 << 28;

/// Reads every image below `folder`, resized to `shape`, in the order of classes and names. Values are 0 to 255, as in the
/// files. What begins with a dot is passed over; any other file that is no image is an error, which names it.
pub fn read(folder: &Path, shape: ImageShape) -> Result<Dataset, DatasetError> {
    let channels = u8::try_from(shape.channels)
        .map_err(|_| ())
        .and_then(|count| Channels::try_from(count).map_err(|_| ()));
    let Ok(channels) = channels else {
        return Err(unreadable(
            folder,
            &format!("files of images have 1 or 3 channels, not {}", shape.channels),
        ));
    };
    let mut images = Vec::new();
    let mut classes = Vec::new();
    for class in entries(folder)? {
        if !class.is_dir() {
            return Err(unreadable(
                &class,
                &"expected folders of images here, one for each class",
            ));
        }
        let files = entries(&class)?;
        if files.is_empty() {
            return Err(unreadable(&class, &"the folder has no image"));
        }
        let name = class
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        classes.extend(std::iter::repeat_n(name, files.len()));
        images.extend(files);
    }
    if images.len() < MIN_ROWS {
        return Err(DatasetError::TooFewRows { found: images.len() });
    }
    let target = Target::classes(&classes, TARGET)?;
    if images.len().saturating_mul(shape.values()) > MAX_VALUES {
        let what = format!(
            "{} images of {shape} are more than {MAX_VALUES} values",
            images.len()
        );
        return Err(unreadable(folder, &what));
    }
    let mut rows = Array2::zeros((images.len(), shape.values()));
    for (path, mut row) in images.iter().zip(rows.outer_iter_mut()) {
        let image = image(path, channels)?;
        // A side is at most as many values as fit above.
        let resized = image.resized(shape.width as u32, shape.height as u32);
        let values = (0..shape.channels)
            .flat_map(|channel| resized.values.iter().skip(channel).step_by(shape.channels));
        row.iter_mut()
            .zip(values)
            .for_each(|(to, &value)| *to = f64::from(value));
    }
    Ok(Dataset::of_numbers(&shape.names(), &rows, target))
}

/// What a folder holds, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let listed = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn image(path: &Path, channels: Channels) -> Result<Raster, DatasetError> {
    let ending = path.extension().unwrap_or_default();
    if !ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
        return Err(unreadable(path, &"expected a file named *.png, *.jpg or *.jpeg"));
    }
    let bytes = bytes(path)?;
    Raster::read(&bytes, channels, &mut Budget::new(MAX_PIXELS)).map_err(|error| match error {
        ImageError::Unknown(_) => unreadable(path, &"it is neither a PNG nor a JPEG image"),
        ImageError::TooLarge {
            width, height, limit, ..
        } => unreadable(
            path,
            &format!("it has {width} x {height} pixels, and an image may have {limit}"),
        ),
        other => unreadable(path, &format!("it {other}")),
    })
}

/// A regular file, if it is not too large.
fn bytes(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(unreadable(path, &"it is not a regular file"));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(
            path,
            &format!("it has more than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn grey(value: u8) -> DynamicImage {
        GrayImage::from_pixel(4, 2, Luma([value])).into()
    }

    /// Two classes of three images.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, first) in [("cat", 10), ("dog", 200)] {
            std::fs::create_dir(folder.path().join(class)).unwrap();
            for number in 0..3 {
                let path = folder.path().join(class).join(format!("{number}.png"));
                grey(first + number).save(path).unwrap();
            }
        }
        folder
    }

    fn shape(text: &str) -> ImageShape {
        text.parse().unwrap()
    }

    fn refusal(folder: &tempfile::TempDir) -> String {
        let told = read(folder.path(), shape("2x4")).unwrap_err().to_string();
        let place = folder.path().display().to_string();
        assert!(told.starts_with(&format!("cannot read {place}")), "{told}");
        told.replace(&place, "")
    }

    #[test]
    fn the_folder_of_an_image_is_its_class() {
        let folder = folder();
        std::fs::write(folder.path().join(".DS_Store"), "").unwrap();
        std::fs::write(folder.path().join("cat/.hidden"), "").unwrap();
        let data = read(folder.path(), shape("2x4")).unwrap();
        let rows = data.matrix().unwrap();
        assert_eq!(rows.dim(), (6, 8));
        assert_eq!(rows.column(5).to_vec(), [10.0, 11.0, 12.0, 200.0, 201.0, 202.0]);
        let Target::Classes { names, labels } = data.target else {
            panic!("classes")
        };
        assert_eq!(
            (names, labels),
            (vec!["cat".to_owned(), "dog".to_owned()], vec![0, 0, 0, 1, 1, 1])
        );
        assert_eq!(data.columns[5].name, "pixel_1_1");
    }

    #[test]
    fn images_are_resized_and_channels_stand_in_front() {
        let folder = folder();
        let image = RgbImage::from_pixel(8, 8, Rgb([30, 60, 90]));
        image.save(folder.path().join("cat/0.png")).unwrap();
        let data = read(folder.path(), shape("3x2x2")).unwrap();
        let rows = data.matrix().unwrap();
        let first = rows.row(0).to_vec();
        assert_eq!(
            first,
            [
                30.0, 30.0, 30.0, 30.0, 60.0, 60.0, 60.0, 60.0, 90.0, 90.0, 90.0, 90.0
            ]
        );
        assert_eq!(rows.row(3).to_vec(), [200.0; 12]);
        assert_eq!(data.columns[6].name, "pixel_1_1_0");
    }

    #[test]
    fn every_fault_names_its_file() {
        let lonely = folder();
        std::fs::write(lonely.path().join("readme.txt"), "").unwrap();
        assert!(
            refusal(&lonely).contains("/readme.txt: expected folders of images"),
            "{}",
            refusal(&lonely)
        );
        for (name, content, told) in [
            (
                "cat/notes.txt",
                &b"x"[..],
                "/cat/notes.txt: expected a file named *.png",
            ),
            (
                "cat/3.png",
                b"no image",
                "/cat/3.png: it is neither a PNG nor a JPEG",
            ),
            (
                "dog/0.png",
                b"\x89PNG\r\n\x1a\n",
                "/dog/0.png: it is a PNG image that is cut off",
            ),
            ("dog/1.jpg", b"GIF89a\x01\0", "/dog/1.jpg: it is a GIF image"),
        ] {
            let folder = folder();
            std::fs::write(folder.path().join(name), content).unwrap();
            assert!(refusal(&folder).contains(told), "{}", refusal(&folder));
        }
        let empty = folder();
        std::fs::create_dir(empty.path().join("eel")).unwrap();
        assert!(refusal(&empty).contains("/eel: the folder has no image"));
        let deep = folder();
        std::fs::create_dir(deep.path().join("dog/more.png")).unwrap();
        assert!(refusal(&deep).contains("/dog/more.png: it is not a regular file"));
    }

    #[test]
    fn what_cannot_be_learnt_from_is_told() {
        let one = folder();
        std::fs::remove_dir_all(one.path().join("cat")).unwrap();
        assert_eq!(
            read(one.path(), shape("2x4")).unwrap_err(),
            DatasetError::TooFewRows { found: 3 }
        );
        let lone = folder();
        std::fs::create_dir(lone.path().join("eel")).unwrap();
        grey(1).save(lone.path().join("eel/1.png")).unwrap();
        let told = read(lone.path(), shape("2x4")).unwrap_err().to_string();
        assert!(told.contains("\"eel\""), "{told}");
        for (asked, expected) in [
            ("2x8x8", "1 or 3 channels, not 2"),
            ("9999x9999", "more than 268435456 values"),
        ] {
            let told = read(folder().path(), shape(asked)).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
