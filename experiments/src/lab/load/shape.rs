//! The shape of a load, written `CONNECTIONSxDEPTHxSIZE`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::cli;

/// How many connections, how many requests in flight on each, and the payload of a request in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) depth: u32,
    pub(crate) size: usize,
}

/// What servers take, unless told otherwise.
pub(super) const LARGEST: u64 = 16 << 20;

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no shape, such as 100x1x1K: connections, depth, bytes (at most 16M)");
        let parts: Vec<&str> = text.split('x').collect();
        let [connections, depth, size] = parts[..] else { return Err(wrong()) };
        let number = |text: &str, most| text.parse().ok().filter(|number| (1..=most).contains(number));
        Ok(Self {
            connections: number(connections, 1 << 20).ok_or_else(wrong)?,
            depth: number(depth, 1 << 16).ok_or_else(wrong)?,
            size: cli::bytes(size)
                .ok()
                .filter(|size| *size <= LARGEST)
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, depth, size } = self;
        write!(f, "{connections}x{depth}x{}", cli::in_units(*size as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_as_it_is_written() {
        for text in ["1x1x0", "100x1x1K", "16x16x1000", "3x65536x16M"] {
            assert_eq!(text.parse::<Shape>().unwrap().to_string(), text);
        }
        let shape = Shape { connections: 7, depth: 2, size: 256 << 10 };
        assert_eq!("7x2x256K".parse(), Ok(shape));
        for wrong in ["", "1", "1x1", "0x1x1", "1x0x1", "1x65537x1", "1x1x17M", "1x1x1x1", "1x1x-1", "axbxc"]
        {
            let refusal = wrong.parse::<Shape>().unwrap_err();
            assert!(refusal.contains("is no shape"), "{wrong}: {refusal}");
        }
    }
}
