//! Values on the command line: `--set VAR=VALUE` and bytes in hexadecimal.

use loader::btf::{IntInfo, Kind};
use loader::spec::ObjectSpec;
use loader::{Endian, Error, Result, ResultExt as _};

/// Bytes given in hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// `VAR=VALUE`.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    name: String,
    value: String,
}

/// Pairs of hexadecimal digits; blanks and colons between them do not count.
pub(crate) fn parse_hex(text: &str) -> std::result::Result<Bytes, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks_exact(2).map(byte).collect();
    bytes.map(Bytes).ok_or_else(|| "expected pairs of hexadecimal digits, such as `0a 1b`".to_owned())
}

/// Splits at the first `=`.
pub(crate) fn parse_assignment(text: &str) -> std::result::Result<Assignment, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Assignment { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected VAR=VALUE".to_owned()),
    }
}

impl Assignment {
    /// Sets the variable in `spec`, by the variable's type.
    pub(crate) fn apply(&self, spec: &mut ObjectSpec) -> Result<()> {
        let bytes = self.bytes(spec).with_context(|| format!("set variable `{}`", self.name))?;
        spec.set_global(&self.name, bytes.as_slice())
    }

    fn bytes(&self, spec: &ObjectSpec) -> Result<Vec<u8>> {
        let size = spec.global(&self.name)?.len();
        let value = self.value.as_str();
        if let Some(hex) = value.strip_prefix("hex:") {
            return parse_hex(hex).map(|bytes| bytes.0).map_err(Error::incompatible);
        }
        if let Some(text) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(bytes.len().max(size), 0);
            return Ok(bytes);
        }
        let number = match value {
            "true" | "y" => 1,
            "false" | "n" => 0,
            _ => parse_number(value)?,
        };
        number_bytes(number, size, is_signed(spec, &self.name), spec.endian)
    }
}

fn parse_number(text: &str) -> Result<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let number = number.map_err(|_| {
        Error::incompatible(format!("`{text}` is no number, true, false, \"text\" or hex:BYTES"))
    })?;
    Ok(i128::from(number) * sign)
}

fn is_signed(spec: &ObjectSpec, name: &str) -> bool {
    let global = spec.globals().iter().find(|global| global.name == name);
    let ty = global.and_then(|global| spec.btf.as_ref()?.strip(global.type_id?).ok());
    match ty.map(|ty| (ty.kind(), ty.int())) {
        Some((Kind::Int, int)) => int.is_some_and(IntInfo::is_signed),
        _ => true,
    }
}

fn number_bytes(number: i128, size: usize, signed: bool, endian: Endian) -> Result<Vec<u8>> {
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(Error::incompatible(format!("it has {size} bytes; give them as hex:BYTES")));
    }
    let bits = u32::try_from(size * 8).unwrap_or(64);
    let low = if signed { -(1_i128 << (bits - 1)) } else { 0 };
    if number < low || number >= 1_i128 << bits {
        return Err(Error::incompatible(format!("{number} does not fit {size} bytes")));
    }
    let mut bytes: Vec<u8> = number.to_le_bytes().into_iter().take(size).collect();
    if endian == Endian::Big {
        bytes.reverse();
    }
    Ok(bytes)
}
