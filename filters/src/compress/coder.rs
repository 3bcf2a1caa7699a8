//! The encoders of the libraries, each as a stream that a response is sent through.

use std::fmt;
use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::write::GzEncoder;
use ringway_engine::exchange::Coder;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::{Coding, Levels};

/// Binary logarithm of how far back brotli looks, in bytes (RFC 7932 §9.1): 64 KiB.
const BROTLI_WINDOW: i32 = 16;

/// The same for zstd (RFC 8878 §3.1.1.1.2): 128 KiB.
const ZSTD_WINDOW: u32 = 17;

/// What a brotli stream collects before it hands on what is ready.
const BROTLI_BUFFER: usize = 4 * 1024;

/// A stream of this coding, which tries as hard as `levels` says.
///
/// # Errors
/// When there is no memory for it.
pub(super) fn start(coding: Coding, levels: Levels) -> io::Result<Box<dyn Coder>> {
    Ok(match coding {
        Coding::Gzip => {
            let level = flate2::Compression::new(levels.gzip);
            Box::new(Stream(GzEncoder::new(Vec::new(), level)))
        }
        Coding::Brotli => {
            let quality = i32::try_from(levels.brotli).unwrap_or_default();
            let params =
                BrotliEncoderParams { quality, lgwin: BROTLI_WINDOW, ..Default::default() };
            let writer = CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER, &params);
            Box::new(Stream(Brotli { writer: Some(writer), rest: Vec::new() }))
        }
        Coding::Zstd => {
            let level = i32::try_from(levels.zstd).unwrap_or_default();
            let mut encoder = ZstdEncoder::new(Vec::new(), level)?;
            encoder.window_log(ZSTD_WINDOW)?;
            Box::new(Stream(encoder))
        }
    })
}

/// An encoder that writes to memory.
struct Stream<W>(W);

/// What the libraries' encoders have in common.
trait Encoder: Write {
    /// What has been written so far and not yet been taken.
    fn written(&mut self) -> &mut Vec<u8>;

    fn end(&mut self) -> io::Result<()>;
}

impl<W: Encoder> Stream<W> {
    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.0.written());
    }
}

impl<W: Encoder> fmt::Debug for Stream<W> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a compressor")
    }
}

impl<W: Encoder> Coder for Stream<W> {
    fn code(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.write_all(data)?;
        self.take(out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.flush()?;
        self.take(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.end()?;
        self.take(out);
        Ok(())
    }
}

impl Encoder for GzEncoder<Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

impl Encoder for ZstdEncoder<'static, Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.do_finish()
    }
}

/// Brotli ends where its writer does.
struct Brotli {
    writer: Option<CompressorWriter<Vec<u8>>>,
    /// What is written once the writer has ended.
    rest: Vec<u8>,
}

impl Write for Brotli {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Ok(0), |writer| writer.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), CompressorWriter::flush)
    }
}

impl Encoder for Brotli {
    fn written(&mut self) -> &mut Vec<u8> {
        match &mut self.writer {
            Some(writer) => writer.get_mut(),
            None => &mut self.rest,
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            self.rest = writer.into_inner();
        }
        Ok(())
    }
}
