//! Whether a JPEG file is there as a whole. Its reader makes up what is missing, in grey.

/// First byte of every marker.
const MARKER: u8 = 0xff;
/// The end of the image.
const END: u8 = 0xd9;
/// The start of a scan, with its compressed data behind it.
const SCAN: u8 = 0xda;

/// Whether the end of the image is there. Thumbnails within it have ends of their own, so its segments are followed
/// from the first on (ITU-T T.81, annex B).
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    // The first two bytes are the marker of the start.
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some((marker, behind)) = next_marker(rest) {
        rest = match marker {
            END => return true,
            _ if stands_alone(marker) => behind,
            _ => match segment_end(behind) {
                Some(end) if marker == SCAN => skip_scan(&behind[end..]),
                Some(end) => &behind[end..],
                None => return false,
            },
        };
    }
    false
}

/// The next marker and what is behind it. Bytes between segments say nothing.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let start = bytes.iter().position(|&byte| byte == MARKER)?;
    let code = start + bytes[start..].iter().position(|&byte| byte != MARKER)?;
    Some((bytes[code], &bytes[code + 1..]))
}

/// Whether a marker has no segment: a stuffed zero, a restart, the start of an image.
const fn stands_alone(marker: u8) -> bool {
    matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8)
}

/// Where the segment ends that `bytes` begin with; none where they end sooner.
fn segment_end(bytes: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    (2..=bytes.len()).contains(&length).then_some(length)
}

/// What is behind compressed data: from the first marker on that is neither a stuffed zero nor a restart.
fn skip_scan(bytes: &[u8]) -> &[u8] {
    let is_end = |pair: &[u8]| pair[0] == MARKER && pair[1] != MARKER && !stands_alone(pair[1]);
    let end = bytes.windows(2).position(is_end).unwrap_or(bytes.len());
    &bytes[end..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::preprocessing::image::raster::testing::jpeg;

    #[test]
    fn no_beginning_of_a_file_is_whole() {
        let file = jpeg(40, 30);
        assert!(is_whole(&file));
        for end in 0..file.len() {
            assert!(!is_whole(&file[..end]), "{end} of {}", file.len());
        }
        let followed = [&file[..], b"what cameras put behind"].concat();
        assert!(is_whole(&followed));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let file = jpeg(40, 30);
        let thumbnail = jpeg(8, 8);
        let length = u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes();
        let with_thumbnail = [&file[..2], &[0xff, 0xe1], &length, &thumbnail, &file[2..]].concat();
        assert!(is_whole(&with_thumbnail));
        assert!(!is_whole(&with_thumbnail[..with_thumbnail.len() - 20]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(
            prop_oneof![Just(0xff_u8), Just(0xda), Just(0xd9), any::<u8>()], 0..80)) {
            let _ = is_whole(&bytes);
        }
    }
}
