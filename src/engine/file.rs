//! A graph's file on its way into memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use prost::Message;
use tract_onnx::pb::ModelProto;

use super::EngineError;

/// Bytes that one call to the system reads. A kernel that is not preempted copies all of a large file in one go, and
/// whatever else should run on that core, such as requests, waits for it: 40 ms for 100 MB.
const PIECE: u64 = 256 << 10;

/// All bytes of the file at `path`. Read, not mapped: a mapped file that someone cuts off kills the process.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length.saturating_add(1))?;
    while file.by_ref().take(PIECE).read_to_end(&mut bytes)? > 0 {}
    Ok(bytes)
}

/// The graph that a file's bytes hold.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, EngineError> {
    ModelProto::decode(bytes).map_err(|error| EngineError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_pieces_is_read_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..PIECE as u32 * 2 + 7).map(|at| (at % 251) as u8).collect();
        io::Write::write_all(&mut file, &bytes).unwrap();
        assert!(read(file.path()).unwrap() == bytes);
    }
}
