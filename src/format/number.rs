//! Integers to decimal and hexadecimal digits, without an allocation: a record has a dozen of them.

/// Digits of `u64::MAX`.
const MAX_DIGITS: usize = 20;

/// Appends `value` in decimal.
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    push_padded(out, value, 1);
}

/// Appends `value` in decimal with its sign.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

/// Appends `value` in decimal, with zeros in front up to `digits` digits (at most 20).
pub fn push_padded(out: &mut Vec<u8>, value: u64, digits: usize) {
    push_digits(out, value, 10, digits);
}

#[inline]
fn push_digits(out: &mut Vec<u8>, mut value: u64, base: u64, digits: usize) {
    let mut text = [b'0'; MAX_DIGITS];
    let mut used = 0;
    for slot in text.iter_mut().rev() {
        *slot = b'0' + digit(value % base);
        value /= base;
        used += 1;
        if value == 0 {
            break;
        }
    }
    let start = MAX_DIGITS - used.max(digits.min(MAX_DIGITS));
    out.extend_from_slice(text.get(start..).unwrap_or_default());
}

/// Appends nanoseconds as milliseconds with three decimals, rounded down.
pub fn push_millis(out: &mut Vec<u8>, nanos: u64) {
    push_u64(out, nanos / 1_000_000);
    out.push(b'.');
    push_padded(out, nanos / 1_000 % 1_000, 3);
}

/// Appends `value` in octal, with zeros in front up to `digits` digits (at most 20).
pub fn push_octal(out: &mut Vec<u8>, value: u32, digits: usize) {
    push_digits(out, value.into(), 8, digits);
}

/// Appends each byte as two lower-case hexadecimal digits.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.push(hex_digit(byte >> 4));
        out.push(hex_digit(byte));
    }
}

/// The lower-case hexadecimal digit of the low four bits.
pub fn hex_digit(nibble: u8) -> u8 {
    match nibble & 15 {
        low @ 0..=9 => b'0' + low,
        high => b'a' + (high - 10),
    }
}

fn digit(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_milliseconds_down_to_the_microsecond() {
        for (nanos, expected) in
            [(0, "0.000"), (999, "0.000"), (1_042_999, "1.042"), (3_000_000_000, "3000.000")]
        {
            let mut out = Vec::new();
            push_millis(&mut out, nanos);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_power_of_ten_and_both_extremes_have_the_digits_of_std() {
        let mut power = 1u64;
        for _ in 0..20 {
            for value in [power, power - 1] {
                assert_eq!(text(|out| push_u64(out, value)), value.to_string());
            }
            power = power.wrapping_mul(10);
        }
        assert_eq!(text(|out| push_u64(out, u64::MAX)), u64::MAX.to_string());
        for value in [0, -1, -2, i64::MIN, i64::MAX] {
            assert_eq!(text(|out| push_i64(out, value)), value.to_string());
        }
    }

    #[test]
    fn padding_adds_zeros_and_never_cuts() {
        assert_eq!(text(|out| push_padded(out, 42, 9)), "000000042");
        assert_eq!(text(|out| push_padded(out, 1234, 2)), "1234");
        assert_eq!(text(|out| push_octal(out, 0o644, 4)), "0644");
        assert_eq!(text(|out| push_octal(out, u32::MAX, 4)), "37777777777");
        assert_eq!(text(|out| push_octal(out, 0, 8)), "00000000");
    }

    #[test]
    fn hex_is_two_lower_case_digits_a_byte() {
        assert_eq!(text(|out| push_hex(out, &[0, 0xa9, 0xff])), "00a9ff");
    }
}
