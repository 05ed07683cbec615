//! A dataset file as a forward reader: plain or gzip, with data skipped rather than read wherever the file allows it.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

use super::error::Trouble;

/// No dataset inflates to more; what claims to is a decompression bomb.
const MAX_INFLATED: u64 = 64 << 30;

/// The first bytes of a gzip member.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A plain or gzip-compressed file, read forward.
pub(super) struct Source<R: Read + Seek> {
    /// Bytes that were looked at and not yet read.
    ahead: Vec<u8>,
    body: Body<R>,
}

enum Body<R> {
    Plain(R),
    Gzip(Box<io::Take<MultiGzDecoder<R>>>),
}

impl<R: Read + Seek> Source<R> {
    /// Looks at the first two bytes for the gzip magic, as astropy does: names say nothing about compression.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        input.rewind()?;
        let mut magic = [0; 2];
        let gzip = read_up_to(&mut input, &mut magic)? == magic.len() && magic == GZIP_MAGIC;
        input.rewind()?;
        let body = if gzip {
            Body::Gzip(Box::new(MultiGzDecoder::new(input).take(MAX_INFLATED)))
        } else {
            Body::Plain(input)
        };
        let ahead = Vec::new();
        Ok(Self { ahead, body })
    }

    /// Whether the file is gzip-compressed.
    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.body, Body::Gzip(_))
    }

    /// The file itself, to be read anywhere, if it is not compressed. What was read ahead is forgotten.
    pub(super) fn plain(&mut self) -> Option<&mut R> {
        self.ahead.clear();
        match &mut self.body {
            Body::Plain(input) => Some(input),
            Body::Gzip(_) => None,
        }
    }

    /// The next `count` bytes, fewer at the end of the file, without consuming them.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if let Some(missing) = count.checked_sub(self.ahead.len()) {
            let mut more = vec![0; missing];
            let got = read_up_to(&mut self.body, &mut more)?;
            self.ahead.extend(more.into_iter().take(got));
        }
        Ok(self.ahead.get(..count).unwrap_or(&self.ahead))
    }

    /// Fills `buffer` as far as the file goes; how many bytes that were.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_up_to(self, buffer)
    }

    /// Everything that is left, as long as it is at most `limit` bytes.
    pub(super) fn rest(&mut self, limit: u64) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Trouble::malformed(format!("it is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Passes over `count` bytes, or to the end of the file where that comes first. Plain files are not read.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        let known = self.ahead.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        self.ahead.drain(..known);
        let count = count - known as u64;
        match &mut self.body {
            Body::Plain(_) if count == 0 => {}
            Body::Plain(input) => {
                let beyond = i64::try_from(count).ok().map(SeekFrom::Current);
                // An offset that the system cannot express is past the end of any file.
                if beyond.is_none_or(|to| input.seek(to).is_err()) {
                    input.seek(SeekFrom::End(0))?;
                }
            }
            Body::Gzip(decoder) => {
                io::copy(&mut decoder.by_ref().take(count), &mut io::sink())?;
            }
        }
        Ok(())
    }
}

impl<R: Read + Seek> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return self.body.read(buffer);
        }
        let known = self.ahead.len().min(buffer.len());
        let (to, _) = buffer.split_at_mut(known);
        to.copy_from_slice(&self.ahead[..known]);
        self.ahead.drain(..known);
        Ok(known)
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

pub(super) fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match input.read(free) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn bytes() -> Vec<u8> {
        (0..1000_u32).flat_map(u32::to_be_bytes).collect()
    }

    fn gzipped() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        for (stored, gzip) in [(bytes(), false), (gzipped(), true)] {
            let mut source = Source::new(Cursor::new(stored)).unwrap();
            assert_eq!(source.is_gzip(), gzip);
            assert_eq!(source.peek(6).unwrap(), [0, 0, 0, 0, 0, 0]);
            source.skip(4).unwrap();
            let mut word = [0; 4];
            assert_eq!(source.fill(&mut word).unwrap(), 4);
            assert_eq!(word, 1_u32.to_be_bytes());
            source.skip(397 * 4 + 2).unwrap();
            assert_eq!(source.peek(2).unwrap(), 399_u16.to_be_bytes());
            source.skip(u64::MAX).unwrap();
            assert_eq!(source.fill(&mut word).unwrap(), 0);
        }
    }

    #[test]
    fn the_rest_is_bounded() {
        let mut source = Source::new(Cursor::new(bytes())).unwrap();
        assert!(source.rest(3999).is_err());
        let mut source = Source::new(Cursor::new(bytes())).unwrap();
        assert_eq!(source.rest(4000).unwrap(), bytes());
    }
}
