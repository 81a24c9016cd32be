//! Decompression with a bound on what comes out and on the memory it takes.

use std::io::{self, BufRead, BufReader, Read};

use super::{LimitHit, Limits};

/// Small archives of tar blocks compress better than any honest ratio: this much is always granted.
const FREE: u64 = 1 << 20;
const READ_BUFFER: usize = 64 << 10;
const OUT_BUFFER: usize = 128 << 10;

/// How a tar archive in a package is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// From what follows `data.tar`.
    pub(super) fn from_suffix(suffix: &[u8]) -> Option<Self> {
        Some(match suffix {
            b"" => Self::None,
            b".gz" => Self::Gzip,
            b".xz" => Self::Xz,
            b".zst" => Self::Zstd,
            _ => return None,
        })
    }

    /// The decompressed bytes of `input`, which is `size` bytes long. Beyond `most` bytes, or beyond the ratio, the
    /// reader fails with a [`LimitHit`] inside its error.
    pub(super) fn decode<'a>(
        self,
        input: &'a mut dyn Read,
        size: u64,
        most: u64,
        limits: &Limits,
    ) -> io::Result<Box<dyn BufRead + 'a>> {
        let by_ratio = size.saturating_mul(limits.ratio).max(FREE);
        let hit = if by_ratio < most { LimitHit::Ratio(limits.ratio) } else { LimitHit::Size(most) };
        let left = by_ratio.min(most);
        let input = BufReader::with_capacity(READ_BUFFER, input);
        Ok(match self {
            Self::None => capped(input, left, hit),
            Self::Gzip => capped(flate2::bufread::MultiGzDecoder::new(input), left, hit),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    limits.decoder,
                    liblzma::stream::CONCATENATED,
                )?;
                capped(liblzma::bufread::XzDecoder::new_stream(input, stream), left, hit)
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(limits.decoder.max(1 << 10).ilog2())?;
                capped(decoder, left, hit)
            }
        })
    }
}

fn capped<'a>(decoder: impl Read + 'a, left: u64, hit: LimitHit) -> Box<dyn BufRead + 'a> {
    Box::new(BufReader::with_capacity(OUT_BUFFER, Capped { decoder, left, hit }))
}

struct Capped<R> {
    decoder: R,
    left: u64,
    hit: LimitHit,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        let length = u64::try_from(read).expect("a usize fits into 64 bits");
        self.left = self.left.checked_sub(length).ok_or_else(|| io::Error::other(self.hit))?;
        Ok(read)
    }
}
