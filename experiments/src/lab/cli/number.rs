//! Arguments that are numbers, refused with what is wanted instead.

use std::time::Duration;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("there is nothing to measure in no time".into()) } else { Ok(duration) }
}

/// A whole number from `least` to `most`.
pub(super) fn whole<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("not a whole number from {least} to {most}"))
}

/// A number of bytes, perhaps in KiB, MiB or GiB.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.into_iter().find_map(|(name, bits)| Some((text.strip_suffix(name)?, bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << bits))
        .ok_or_else(|| format!("`{text}` is no number of bytes, such as 65536, 64K, 64M or 1G"))
}

/// The same, up to a most.
pub(super) fn bytes_up_to<T: TryFrom<u64>>(text: &str, most: u64) -> Result<T, String> {
    let number = Some(bytes(text)?).filter(|number| *number <= most);
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("`{text}` is more than {}", in_units(most)))
}

/// A number of bytes as it may be written.
pub(crate) fn in_units(bytes: u64) -> String {
    match bytes {
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 30) => format!("{}G", bytes >> 30),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        bytes => bytes.to_string(),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("a rate is a number of requests per second above 0".into()),
    }
}
