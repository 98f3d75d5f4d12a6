//! The run arrow without a kernel: bytes of a record -> event -> row or JSON line, appended to one buffer.
//!
//! In: records, and news about the run (start, lost events, end). Out: text in [`Stream::buffer`], which the event loop
//! writes and clears. Nothing is allocated per event once the buffers have grown.

use loader::Error;
use loader::map::Entry;

use crate::cli::Common;
use crate::field::{Columns, Context, Keys};
use crate::format::time::{Clock, boot_now};
use crate::output::json::Object;
use crate::tracer::{ChosenHook, Tracer};

/// Version of the JSON records; it grows when a key changes its meaning or goes away.
const SCHEMA: u64 = 1;

/// Turns records into output.
pub struct Stream<T: Tracer> {
    tracer: T,
    scratch: T::Scratch,
    format: Format<T>,
    context: Context,
    out: Vec<u8>,
    counts: Counts,
    limit: u64,
}

enum Format<T: Tracer> {
    Table(Columns<T>),
    Json(Keys<T>),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events printed.
    pub events: u64,
    /// Events that the kernel could not hand over.
    pub lost: u64,
    /// Records that were not understood.
    pub malformed: u64,
}

impl<T: Tracer> Stream<T> {
    /// A stream in the format that the options ask for, with `clock` as the start of the run.
    pub fn new(tracer: T, common: &Common, clock: Clock) -> Self {
        let format =
            if common.json { Format::Json(Keys::prepare()) } else { Format::Table(Columns::choose(&tracer)) };
        let containers = common.containers.then(nsmap::container::Namer::new);
        Self {
            tracer,
            scratch: T::Scratch::default(),
            format,
            context: Context { clock, containers, repeat_header: false },
            out: Vec::new(),
            counts: Counts::default(),
            limit: common.max_events.unwrap_or(u64::MAX),
        }
    }

    /// From here on containers are named when they begin, also those that are gone when their events come.
    pub fn listen(&self) {
        if let Some(containers) = &self.context.containers {
            containers.listen();
        }
    }

    /// The output is a terminal's: from here on the header comes again where columns become wider.
    pub fn repeat_header(&mut self) {
        self.context.repeat_header = true;
    }

    /// What is to be written; the caller clears it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether as many events were printed as the user wants.
    pub fn is_full(&self) -> bool {
        self.counts.events >= self.limit
    }

    /// Follows changes of the wall clock; once in a second is enough.
    pub fn adjust_clock(&mut self) {
        self.context.clock.adjust();
    }

    /// The header, or the `start` record. To be called when everything is attached.
    pub fn start(&mut self, common: &Common, hooks: &[ChosenHook]) {
        if let Format::Table(columns) = &self.format {
            match self.tracer.summary() {
                Some(summary) => (summary.push_header)(&self.tracer, &mut self.out),
                None => columns.push_header(&mut self.out),
            }
            return;
        }
        let tracer = &self.tracer;
        let mut object = begin_record(&mut self.out, &mut self.context, "start");
        object.text("tool", T::NAME.as_bytes());
        object.text("version", env!("CARGO_PKG_VERSION").as_bytes());
        object.u64("schema", SCHEMA);
        object.objects("hooks", hooks.iter(), |object, hook| {
            object.text("observes", hook.observes.as_bytes());
            object.text("hook", hook.name.as_bytes());
            object.objects("refused", hook.refused.iter(), |object, refusal| {
                object.text("hook", refusal.name.as_bytes());
                object.text("reason", refusal.reason.to_string().as_bytes());
            });
        });
        object.object("filters", |object| {
            common.describe(object);
            tracer.describe(object);
        });
        object.end_line();
    }

    /// Takes one record. An error says what is wrong with its bytes; it is counted, and the stream goes on.
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self.tracer.decode(&mut self.scratch, bytes) {
            Ok(None) => {}
            Ok(Some(event)) => {
                match &mut self.format {
                    Format::Table(columns) => columns.push_row(&mut self.out, &event, &mut self.context),
                    Format::Json(keys) => keys.push_line(&mut self.out, &event, &mut self.context),
                }
                self.counts.events += 1;
            }
            Err(error) => {
                self.counts.malformed += 1;
                return Err(error.context(format!("record of {} bytes", bytes.len())));
            }
        }
        Ok(())
    }

    /// Takes the kernel's count of lost events since the start. Out: how many are new.
    pub fn lost(&mut self, total: u64) -> u64 {
        let new = total.saturating_sub(self.counts.lost);
        if new > 0 {
            self.counts.lost = total;
            if let Format::Json(_) = self.format {
                let mut object = begin_record(&mut self.out, &mut self.context, "lost");
                object.u64("count", new);
                object.u64("total", total);
                object.end_line();
            }
        }
        new
    }

    /// Prints the tool's table of counts, if it has one.
    pub fn summarize(&mut self, entries: Vec<Entry>) {
        if let Some(summary) = self.tracer.summary() {
            (summary.push_rows)(&self.tracer, entries, &self.context, &mut self.out);
        }
    }

    /// The `end` record of JSON; `reason` is one of the words in `docs/events.md`.
    pub fn end(&mut self, reason: &str) {
        if let Format::Json(_) = self.format {
            let counts = self.counts;
            let mut object = begin_record(&mut self.out, &mut self.context, "end");
            object.text("reason", reason.as_bytes());
            object.u64("events", counts.events);
            object.u64("lost", counts.lost);
            object.u64("malformed", counts.malformed);
            object.end_line();
        }
    }
}

/// Opens a record about the run itself: its type and the time now.
fn begin_record<'a>(out: &'a mut Vec<u8>, context: &mut Context, kind: &str) -> Object<'a> {
    let mut object = Object::begin(out);
    object.text("type", kind.as_bytes());
    let out = object.key("time");
    out.push(b'"');
    context.clock.push_rfc3339(out, boot_now());
    out.push(b'"');
    object
}
