//! The one table of fields per tool: header, row, JSON and help all come from it.
//!
//! A field has a JSON key, a line of help, a getter, and a column if the table can show it. The order of the table is the
//! order of the columns and of the JSON keys. To add a field to a tool, add an entry to its table; no other place knows.

use std::io::Write as _;

use nix::errno::Errno;
use nsmap::container::Namer;

use crate::event::until_nul;
use crate::format::address::Address;
use crate::format::args::CommandLine;
use crate::format::escape::push_text;
use crate::format::number::{push_i64, push_millis, push_octal, push_u64};
use crate::format::path::PathText;
use crate::format::time::Clock;
use crate::output::json::{Object, prepare_key};
use crate::output::table::{Align, Line};
use crate::tracer::Tracer;

/// A field of the events of `T`.
pub struct Field<T: Tracer> {
    /// JSON key; stable, described in `docs/events.md`.
    pub key: &'static str,
    /// One line for the help.
    pub help: &'static str,
    /// Its place in the table; None for fields that only JSON has.
    pub column: Option<Column<T>>,
    /// Takes it out of an event.
    pub value: Getter<T>,
}

impl<T: Tracer> Field<T> {
    /// A field that only JSON has.
    pub const fn new(key: &'static str, help: &'static str, value: Getter<T>) -> Self {
        Self { key, help, column: None, value }
    }

    /// Gives it a column.
    #[must_use]
    pub const fn column(
        self,
        header: &'static str,
        width: usize,
        align: Align,
        shown: fn(&T) -> bool,
    ) -> Self {
        Self {
            key: self.key,
            help: self.help,
            column: Some(Column { header, width, wide: 0, align, shown }),
            value: self.value,
        }
    }

    /// Lets its column become so wide, or wider, when a value needs that.
    #[must_use]
    pub const fn widening(mut self, wide: usize) -> Self {
        if let Some(column) = &mut self.column {
            column.wide = wide;
        }
        self
    }
}

/// The fields that every tool has, from the header of its events.
impl<T: Tracer> Field<T> {
    /// Wall time.
    pub const fn time() -> Self {
        Self::new("time", "when it happened", |event| Value::Time(T::header(event).time_ns)).column(
            "TIME",
            8,
            Align::Left,
            |tool| tool.common().time,
        )
    }

    /// Boot-clock time, as seconds since the start of the tool in the table.
    pub const fn boot_ns() -> Self {
        let help = "the same in nanoseconds since boot; in the column seconds since the start";
        Self::new("boot_ns", help, |event| Value::SinceStart(T::header(event).time_ns, T::TIMESTAMP.1))
            .column("TIME(s)", T::TIMESTAMP.0, Align::Left, |tool| tool.common().timestamp)
            .widening(T::TIMESTAMP.0 + 3)
    }

    /// User id.
    pub const fn uid() -> Self {
        Self::new("uid", "real user id", |event| Value::Unsigned(T::header(event).uid.into()))
            .column("UID", 6, Align::Left, |tool| tool.common().print_uid)
            .widening(WIDEST_ID)
    }

    /// Group id.
    pub const fn gid() -> Self {
        Self::new("gid", "real group id", |event| Value::Unsigned(T::header(event).gid.into()))
    }

    /// Name of the thread.
    pub const fn comm(header: &'static str, help: &'static str) -> Self {
        Self::new("comm", help, |event| Value::Text(until_nul(&T::header(event).comm))).column(
            header,
            16,
            Align::Left,
            |_| true,
        )
    }

    /// Process id.
    pub const fn pid() -> Self {
        Self::new("pid", "process id", |event| Value::Unsigned(T::header(event).pid.into()))
            .column("PID", 6, Align::Left, |_| true)
            .widening(WIDEST_PID)
    }

    /// Thread id.
    pub const fn tid() -> Self {
        Self::new("tid", "thread id", |event| Value::Unsigned(T::header(event).tid.into()))
    }

    /// Process id of the parent.
    pub const fn ppid() -> Self {
        Self::new("ppid", "process id of the parent", |event| Value::Unsigned(T::header(event).ppid.into()))
            .column("PPID", 6, Align::Left, |_| true)
            .widening(WIDEST_PID)
    }

    /// CPU.
    pub const fn cpu(shown: fn(&T) -> bool) -> Self {
        Self::new("cpu", "CPU it happened on", |event| Value::Unsigned(T::header(event).cpu.into())).column(
            "CPU",
            4,
            Align::Left,
            shown,
        )
    }

    /// Cgroup.
    pub const fn cgroup_id() -> Self {
        Self::new("cgroup_id", "id of the cgroup, v2", |event| Value::Known(T::header(event).cgroup_id))
    }

    /// Mount namespace, by inode number.
    pub const fn mntns() -> Self {
        let help = "inode number of the mount namespace";
        Self::new("mntns", help, |event| Value::Known(T::header(event).mntns.into()))
    }

    /// Mount namespace, by the id that is not used twice.
    pub const fn mntns_id() -> Self {
        let help = "id of the mount namespace that is never used again";
        Self::new("mntns_id", help, |event| Value::Known(T::header(event).mntns_seq))
    }

    /// Container.
    pub const fn container() -> Self {
        Self::new("container", "container or unit, with --containers", |event| {
            let header = T::header(event);
            Value::Container { cgroup_id: header.cgroup_id, pid: header.pid }
        })
        .column("CONTAINER", 20, Align::Left, |tool| tool.common().containers)
        .widening(40)
    }
}

/// Takes a value out of an event.
pub type Getter<T> = for<'a, 'r> fn(&'a <T as Tracer>::Event<'r>) -> Value<'a>;

/// How the table shows a field.
pub struct Column<T> {
    /// Text of the header.
    pub header: &'static str,
    /// Terminal columns; 0 for the last column, which is as long as its values.
    pub width: usize,
    /// Terminal columns from the first value on that does not fit, or as many as it needs; 0: it stays as it is, and such
    /// a value moves its row.
    pub wide: usize,
    /// Left or right.
    pub align: Align,
    /// Whether the user's options show it.
    pub shown: fn(&T) -> bool,
}

/// A value, not yet formatted.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An id or an amount.
    Unsigned(u64),
    /// An id or an amount of which 0 says that it is not known.
    Known(u64),
    /// A return value.
    Signed(i64),
    /// Bits, shown in octal with at least so many digits; raw in JSON. None: there are none (`n/a`).
    Octal(Option<u32>, usize),
    /// A truth value.
    Bool(bool),
    /// Text from a traced process or the kernel, of unknown encoding.
    Text(&'a [u8]),
    /// A path, with marks where it is not complete.
    Path(PathText<'a>),
    /// Nothing is known.
    Unknown,
    /// A word of our own.
    Word(&'static str),
    /// The name of an error (`ENOENT`) for a negative return value; nothing for others.
    ErrorName(i32),
    /// Boot-clock nanoseconds of an event, shown as wall time.
    Time(u64),
    /// Boot-clock nanoseconds of an event: seconds since the start in the table, with so many decimals; raw in JSON.
    SinceStart(u64, usize),
    /// An internet address; in the table with its link, where one is needed to reach it.
    Address(Address),
    /// A name that is safe for a terminal, of so many nanoseconds ago, which only the table shows and only if it is long.
    Name(&'a str, u64),
    /// Text of our own in the table; nothing in JSON.
    Remark(&'static str),
    /// A span of nanoseconds: milliseconds in the table, raw in JSON.
    Span(u64),
    /// The container of a task, looked up when it is shown.
    Container {
        /// Id of its cgroup.
        cgroup_id: u64,
        /// Process id.
        pid: u32,
    },
    /// A command line: as typed in the table, the arguments as a list in JSON.
    Command(&'a CommandLine<'a>),
}

/// What formatting needs besides the value.
pub struct Context {
    /// Turns event times into text.
    pub clock: Clock,
    /// Turns tasks into containers; None unless the user asked for them.
    pub containers: Option<Namer>,
    /// Whether the header comes again when columns become wider: a person wants it above them, a program reads one header.
    pub repeat_header: bool,
}

impl Context {
    fn container(&mut self, cgroup_id: u64, pid: u32) -> Option<String> {
        self.containers.as_mut().and_then(|namer| namer.describe(cgroup_id, pid))
    }
}

impl Value<'_> {
    /// Appends the text for a cell of the table, safe for a terminal.
    pub fn push_text(&self, out: &mut Vec<u8>, context: &mut Context) {
        match *self {
            Value::Unsigned(value) | Value::Known(value) => push_u64(out, value),
            Value::Signed(value) => push_i64(out, value),
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Octal(Some(bits), digits) => push_octal(out, bits, digits),
            Value::Octal(None, _) => out.extend_from_slice(b"n/a"),
            Value::Text(text) => push_text(out, text, false),
            Value::Path(path) => path.push(out),
            Value::Unknown => out.push(b'-'),
            Value::Word(word) => out.extend_from_slice(word.as_bytes()),
            Value::ErrorName(ret) => push_error_name(out, ret),
            Value::Time(at) => context.clock.push_local(out, at),
            Value::SinceStart(at, decimals) => context.clock.push_since_start(out, at, decimals),
            Value::Container { cgroup_id, pid } => match context.container(cgroup_id, pid) {
                Some(name) => push_text(out, name.as_bytes(), false),
                None => out.push(b'-'),
            },
            Value::Address(address) => address.push_with_scope(out),
            Value::Span(nanos) => push_millis(out, nanos),
            Value::Name(name, age) => push_name(out, name, age),
            Value::Remark(text) => out.extend_from_slice(text.as_bytes()),
            Value::Command(command) => command.push_row(out),
        }
    }

    /// Adds the value under `key` to an object.
    pub fn push_json(&self, object: &mut Object<'_>, key: &str, context: &mut Context) {
        match *self {
            Value::Unknown | Value::Known(0) | Value::Octal(None, _) | Value::Remark(_) => object.null(key),
            Value::Octal(Some(bits), _) => object.u64(key, bits.into()),
            Value::Path(path) if path.fault || path.stand_in => object.null(key),
            Value::Path(path) => object.text(key, path.text),
            Value::Unsigned(value)
            | Value::Known(value)
            | Value::SinceStart(value, _)
            | Value::Span(value) => {
                object.u64(key, value);
            }
            Value::Address(address) => quoted(object.key(key), |out| address.push(out)),
            Value::Signed(value) => object.i64(key, value),
            Value::Bool(value) => object.bool(key, value),
            Value::Text(text) => object.text(key, text),
            Value::Name(name, _) => object.text(key, name.as_bytes()),
            Value::Word(word) => object.text(key, word.as_bytes()),
            Value::ErrorName(ret) if ret >= 0 => object.null(key),
            Value::ErrorName(ret) => quoted(object.key(key), |out| push_error_name(out, ret)),
            Value::Time(at) => quoted(object.key(key), |out| context.clock.push_rfc3339(out, at)),
            Value::Container { cgroup_id, pid } => match context.container(cgroup_id, pid) {
                Some(name) => object.text(key, name.as_bytes()),
                None => object.null(key),
            },
            Value::Command(command) => object.texts(key, command.all()),
        }
    }
}

/// For values that need no escape.
fn quoted(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    push(out);
    out.push(b'"');
}

/// An errno without a name is shown by its number, as `E524`.
fn push_error_name(out: &mut Vec<u8>, ret: i32) {
    if ret >= 0 {
        return;
    }
    // Writing to memory cannot fail.
    let _ = match Errno::from_raw(ret.saturating_neg()) {
        Errno::UnknownErrno => write!(out, "E{}", ret.unsigned_abs()),
        errno => write!(out, "{errno:?}"),
    };
}

/// From which age on a name is shown with it, as BCC's tcpconnect does.
const LONG_AGO: u64 = 100_000_000;

fn push_name(out: &mut Vec<u8>, name: &str, age: u64) {
    out.extend_from_slice(name.as_bytes());
    if age > LONG_AGO {
        out.extend_from_slice(b" (");
        push_millis(out, age);
        out.extend_from_slice(b"ms)");
    }
}

/// Terminal columns of the largest id of 32 bits.
pub const WIDEST_ID: usize = 10;
/// Terminal columns of the largest process id that the kernel gives (`PID_MAX_LIMIT`).
pub const WIDEST_PID: usize = 7;
/// No column widens beyond this, however long its values are.
const WIDEST: usize = 64;

/// The columns that the user's options show, in order.
pub struct Columns<T: Tracer> {
    shown: Vec<Shown<T>>,
}

struct Shown<T: Tracer> {
    field: &'static Field<T>,
    column: &'static Column<T>,
    width: usize,
}

impl<T: Tracer> Shown<T> {
    /// Widens the column for a value of this width, if it can.
    fn widen(&mut self, used: usize) -> bool {
        let wide = used.max(self.column.wide).min(WIDEST);
        let widens = self.column.wide > 0 && used > self.width && wide > self.width;
        if widens {
            self.width = wide;
        }
        widens
    }
}

impl<T: Tracer> Columns<T> {
    /// Chooses the columns.
    pub fn choose(tracer: &T) -> Self {
        let all = T::fields().iter().filter_map(|field| field.column.as_ref().map(|column| (field, column)));
        let shown = all.filter(|(_, column)| (column.shown)(tracer));
        Self { shown: shown.map(|(field, column)| Shown { field, column, width: column.width }).collect() }
    }

    /// Appends the header line.
    pub fn push_header(&self, out: &mut Vec<u8>) {
        let mut line = Line::begin(out);
        for Shown { column, width, .. } in &self.shown {
            line.cell(*width, column.align, |out| out.extend_from_slice(column.header.as_bytes()));
        }
        line.end();
    }

    /// Appends the row of an event. If a column has to widen for it, the header comes once more before it, for a person.
    pub fn push_row(&mut self, out: &mut Vec<u8>, event: &T::Event<'_>, context: &mut Context) {
        let start = out.len();
        if self.push_cells(out, event, context) {
            out.truncate(start);
            if context.repeat_header {
                self.push_header(out);
            }
            self.push_cells(out, event, context);
        }
    }

    /// True if a column has become wider, so that the row is not aligned.
    fn push_cells(&mut self, out: &mut Vec<u8>, event: &T::Event<'_>, context: &mut Context) -> bool {
        let mut widened = false;
        let mut line = Line::begin(out);
        for shown in &mut self.shown {
            let value = (shown.field.value)(event);
            let used = line.cell(shown.width, shown.column.align, |out| value.push_text(out, context));
            widened |= shown.widen(used);
        }
        line.end();
        widened
    }
}

/// The keys of all fields, as JSON text made once.
pub struct Keys<T: Tracer> {
    keys: Vec<(&'static Field<T>, Box<[u8]>)>,
}

impl<T: Tracer> Keys<T> {
    /// The keys of the tool's table.
    pub fn prepare() -> Self {
        Self { keys: T::fields().iter().map(|field| (field, prepare_key(field.key))).collect() }
    }

    /// Appends the JSON line of an event.
    pub fn push_line(&self, out: &mut Vec<u8>, event: &T::Event<'_>, context: &mut Context) {
        let mut object = Object::begin(out);
        quoted(object.key("type"), |out| out.extend_from_slice(T::record_type(event).as_bytes()));
        for (field, key) in &self.keys {
            object.prepared(key);
            (field.value)(event).push_json(&mut object, field.key, context);
        }
        object.end_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_with_its_age_if_that_is_long() {
        for (age, expected) in [(0, "a"), (100_000_000, "a"), (1_234_567_890, "a (1234.567ms)")] {
            let mut out = Vec::new();
            push_name(&mut out, "a", age);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_negative_return_value_has_the_name_of_its_error() {
        for (ret, expected) in
            [(-2, "ENOENT"), (-13, "EACCES"), (-524, "E524"), (0, ""), (i32::MIN, "E2147483648")]
        {
            let mut out = Vec::new();
            push_error_name(&mut out, ret);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
