//! Which name a task has likely meant when it connected: the DNS answers that tasks have received, by address.
//!
//! In: records of `bpf-src/include/dns.h`. Out: for an address, a process and a time the name of the answer that fits best.
//! What is remembered is bounded, however many answers come: the oldest goes first. How long a name server wants an answer to
//! be kept does not matter here: what a process does with an address it has is its own business.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use loader::{Error, Result};

use super::{TcpEvent, kind};
use crate::dns::{self, Answer};
use crate::event::{Header, Wire, take};
use crate::record;

/// Pairs of address and answer that are remembered: 2 MiB, or 12 if all names are as long as they can be.
const MOST: usize = 10_007;
/// Answers for one address; popular ones have several names.
const MOST_EACH: usize = 17;
/// Answers with one name for one process: while a connect goes on, the process may ask once more.
const MOST_ALIKE: usize = 2;

record! {
    /// `struct dns_answer`, before its bytes.
    pub struct AnswerRecord {
        /// Who received it, and when.
        header: Header,
        /// Inode number of the network namespace.
        netns: u32,
        /// Bytes received.
        size: u32,
        /// Bytes in the record.
        len: u32,
        /// Not 0: a part of a stream.
        stream: u32,
    }
}

/// Answers of which the task has got one.
#[derive(Default)]
pub struct Names {
    /// Oldest first.
    by_address: HashMap<IpAddr, VecDeque<Known>>,
    /// Each answer's number and address, in the order in which they came; some may be forgotten already.
    order: VecDeque<(u64, IpAddr)>,
    next: u64,
}

/// An answer for one address.
#[derive(Clone, Debug)]
struct Known {
    number: u64,
    name: Rc<str>,
    pid: u32,
    netns: u32,
    time_ns: u64,
    cut: bool,
}

/// Who asked for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedBy {
    /// Somebody on this host.
    Host,
    /// Somebody in the same network namespace.
    Netns,
    /// The process that connects.
    Process,
}

impl AskedBy {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Netns => "netns",
            Self::Process => "process",
        }
    }
}

/// The name that was likely meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likely<'n> {
    /// As in [`Answer::name`]: safe for a terminal.
    pub name: &'n str,
    /// Whose answer it is.
    pub asked_by: AskedBy,
    /// From the answer to the connect, nanoseconds.
    pub age_ns: u64,
    /// Not all of the answer was seen.
    pub cut: bool,
}

impl Names {
    /// Remembers what a record says. A record that is damaged is an error; an answer that nobody can read is not.
    pub fn learn(&mut self, bytes: &[u8]) -> Result<()> {
        let record = AnswerRecord::read(bytes).ok_or_else(|| Error::invalid("too short for a DNS answer"))?;
        let mut rest = bytes.get(AnswerRecord::SIZE..).unwrap_or_default();
        let message = take(&mut rest, record.len, "DNS answer")?;
        if record.stream != 0 {
            dns::parse_stream(message).iter().for_each(|answer| self.add(answer, &record));
        } else if let Some(answer) = dns::parse(message, record.len < record.size) {
            self.add(&answer, &record);
        }
        Ok(())
    }

    fn add(&mut self, answer: &Answer, record: &AnswerRecord) {
        let name: Rc<str> = answer.name.as_str().into();
        for &address in &answer.addresses {
            let number = self.next;
            self.next += 1;
            let known = Known {
                number,
                name: Rc::clone(&name),
                pid: record.header.pid,
                netns: record.netns,
                time_ns: record.header.time_ns,
                cut: !answer.whole,
            };
            push(self.by_address.entry(address).or_default(), known);
            self.order.push_back((number, address));
        }
        while self.order.len() > MOST {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((number, address)) = self.order.pop_front() else { return };
        if let Some(answers) = self.by_address.get_mut(&address) {
            answers.retain(|known| known.number != number);
            if answers.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// The name for the remote end of a connect: of the answers that came before it, one of the same process, else of
    /// the same network namespace, else of anybody; of these the latest.
    pub fn likely(&self, event: &TcpEvent) -> Option<Likely<'_>> {
        let at = if event.start_ns == 0 { event.header.time_ns } else { event.start_ns };
        let asked_by = |known: &Known| {
            if known.pid == event.header.pid {
                AskedBy::Process
            } else if known.netns == event.netns {
                AskedBy::Netns
            } else {
                AskedBy::Host
            }
        };
        let answers = self.by_address.get(&event.remote().ip())?;
        let known = answers
            .iter()
            .filter(|known| known.time_ns <= at)
            .max_by_key(|known| (asked_by(known), known.time_ns, known.number))?;
        let age_ns = at.saturating_sub(known.time_ns);
        Some(Likely { name: &known.name, asked_by: asked_by(known), age_ns, cut: known.cut })
    }
}

/// Adds an answer to those for an address, and forgets what is then too much.
fn push(answers: &mut VecDeque<Known>, known: Known) {
    let alike =
        |other: &Known| other.pid == known.pid && other.netns == known.netns && other.name == known.name;
    if answers.iter().filter(|other| alike(other)).count() >= MOST_ALIKE
        && let Some(oldest) = answers.iter().position(alike)
    {
        answers.remove(oldest);
    }
    if answers.len() >= MOST_EACH {
        answers.pop_front();
    }
    answers.push_back(known);
}

/// Whether a record is one for [`Names`].
pub(super) fn is_answer(bytes: &[u8]) -> bool {
    Header::read(bytes).is_some_and(|header| header.kind == kind::ANSWER)
}

#[cfg(test)]
#[path = "names/tests.rs"]
mod tests;
