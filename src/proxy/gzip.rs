//! Packs a body as it comes.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A body on its way into gzip.
#[derive(Debug)]
pub(super) struct Packer {
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Packer {
    /// Packs this hard, 1 to 9.
    pub(super) fn new(level: u8) -> Self {
        let level = Compression::new(u32::from(level));
        Self { encoder: Some(GzEncoder::new(Vec::new(), level)) }
    }

    /// What can be sent once `piece` has come; it may be nothing yet.
    pub(super) fn pack(&mut self, piece: &[u8]) -> Bytes {
        let Some(encoder) = &mut self.encoder else { return Bytes::new() };
        // Writing into a Vec cannot fail.
        let _ = encoder.write_all(piece);
        Bytes::from(std::mem::take(encoder.get_mut()))
    }

    /// The same, and all that has come can be read from what was sent.
    pub(super) fn pack_and_flush(&mut self, piece: &[u8]) -> Bytes {
        let Some(encoder) = &mut self.encoder else { return Bytes::new() };
        let _ = encoder.write_all(piece);
        let _ = encoder.flush();
        Bytes::from(std::mem::take(encoder.get_mut()))
    }

    /// What is left. Nothing more can be packed.
    pub(super) fn finish(&mut self) -> Bytes {
        let end = self.encoder.take().and_then(|encoder| encoder.finish().ok());
        end.map(Bytes::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_packed_in_pieces_unpacks_to_the_whole() {
        let mut packer = Packer::new(1);
        let mut packed = packer.pack(b"a piece, ").to_vec();
        let flushed = packer.pack_and_flush(b"another piece, ");
        assert!(!flushed.is_empty());
        packed.extend_from_slice(&flushed);
        packed.extend_from_slice(&packer.pack(b"the last"));
        packed.extend_from_slice(&packer.finish());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("it unpacks");
        assert_eq!(text, "a piece, another piece, the last");
    }
}
