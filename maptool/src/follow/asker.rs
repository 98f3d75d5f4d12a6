//! Engines that are asked for names beside the work: following goes on meanwhile, whatever they do.
//!
//! In: sockets, and for which engines somebody waits for a name. Out: what was told last; problems, once each. A question
//! ends by itself ([`sockets::PATIENCE`]), so that at most one is under way for each socket.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::container::Engine;
use crate::container::inventory::host_root;
use crate::container::sockets::{self, Answer, Socket};

/// How soon an engine is asked again while somebody waits for a name.
const INTERVAL: Duration = Duration::from_millis(100);
/// The same for one that did not answer as it should.
const AFTER_PROBLEM: Duration = Duration::from_secs(2);
/// How often it is looked which sockets there are.
const LOOK: Duration = Duration::from_secs(1);

/// The engines of this host.
#[derive(Debug)]
pub(super) struct Asker {
    engines: Vec<Asked>,
    looked: Option<Instant>,
    sender: Sender<(Socket, Answer)>,
    answers: Receiver<(Socket, Answer)>,
}

#[derive(Debug)]
struct Asked {
    socket: Socket,
    is_under_way: bool,
    next: Instant,
    last: Answer,
}

impl Asker {
    pub(super) fn new() -> Self {
        let (sender, answers) = channel();
        Self { engines: Vec::new(), looked: None, sender, answers }
    }

    /// Asks the sockets that may know containers of these engines, if it is time.
    pub(super) fn ask(&mut self, engines: &[Engine], now: Instant) {
        if self.looked.is_none_or(|looked| now - looked > LOOK) {
            self.looked = Some(now);
            self.look(now);
        }
        let is_wanted = |socket: &Socket| engines.iter().any(|&engine| socket.may_have(Some(engine)));
        for asked in &mut self.engines {
            if asked.is_under_way || asked.next > now || !is_wanted(&asked.socket) {
                continue;
            }
            let (sender, socket) = (self.sender.clone(), asked.socket.clone());
            let question = move || {
                let answer = sockets::ask(std::slice::from_ref(&socket), |_| false);
                let _ = sender.send((socket, answer));
            };
            asked.is_under_way = std::thread::Builder::new().spawn(question).is_ok();
        }
    }

    /// An engine may be started after us, or end.
    fn look(&mut self, now: Instant) {
        let found = sockets::find(&host_root());
        self.engines.retain(|asked| asked.is_under_way || found.contains(&asked.socket));
        for socket in found {
            if !self.engines.iter().any(|asked| asked.socket == socket) {
                self.engines.push(Asked { socket, is_under_way: false, next: now, last: Answer::default() });
            }
        }
    }

    /// Takes in the answers that have come; problems that were not told yet.
    pub(super) fn take_in(&mut self, now: Instant) -> Vec<String> {
        let mut problems = Vec::new();
        for (socket, answer) in self.answers.try_iter() {
            let Some(asked) = self.engines.iter_mut().find(|asked| asked.socket == socket) else { continue };
            asked.is_under_way = false;
            asked.next = now + if answer.problems.is_empty() { INTERVAL } else { AFTER_PROBLEM };
            problems.extend(answer.problems.iter().filter(|one| !asked.last.problems.contains(one)).cloned());
            asked.last = answer;
        }
        problems
    }

    /// What was told last.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.engines.iter().map(|asked| &asked.last)
    }
}
