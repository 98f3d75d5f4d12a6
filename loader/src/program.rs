//! Programs: loading one into the kernel, and running it on test data.
//!
//! In: a [`ProgramConfig`], with every relocation done and every fd filled in. Out: a [`Program`], which owns
//! its fd, or an error that tells the verifier's reason in one line and holds its whole log.
//! Programs that are loaded already are opened in `existing`.
//! Which program of an object is loaded, and when, is in [`crate::load`]; hooks are in [`crate::attach`].

mod existing;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::attach::usdt;
use crate::error::{Error, Result};
use crate::insn::Insn;
use crate::kernel::privilege::{self, Need};
use crate::map::{name_of, object_name};
use crate::section::{ProgramKind, attach_type, program_type};
use crate::sys::bpf::{self, ProgLoadBuffers};
use crate::sys::{SysError, attr, uapi};
use crate::{Endian, verifier_log};

/// What `BPF_PROG_LOAD` is asked for.
#[derive(Clone, Debug)]
pub struct ProgramConfig<'a> {
    /// Name; the kernel sees its first 15 bytes.
    pub name: &'a str,
    /// Type, attach type and target, as the section name said.
    pub kind: &'a ProgramKind,
    /// Instructions, final.
    pub insns: &'a [Insn],
    /// Licence; GPL-only helpers look at it.
    pub license: &'a str,
    /// BTF id of the attach target, for tracing programs; else 0. In vmlinux, or in what `attach_target` is.
    pub attach_btf_id: u32,
    /// The BTF object of a module, or the program that is extended; none for vmlinux.
    pub attach_target: Option<BorrowedFd<'a>>,
    /// BTF objects of modules whose functions are called, in the order of the numbers in `call` instructions, which
    /// count from 1.
    pub modules: &'a [BorrowedFd<'a>],
    /// The number of section `version`; looked at by kernels before 5.0 only.
    pub kernel_version: u32,
    /// The object's BTF with the function and line records, when it could be loaded.
    pub debug_info: Option<ProgramBtf<'a>>,
    /// A token that stands for the privilege (6.9).
    pub token: Option<BorrowedFd<'a>>,
}

impl<'a> ProgramConfig<'a> {
    /// A program of that kind with nothing in it, to be filled in.
    pub fn new(kind: &'a ProgramKind) -> Self {
        ProgramConfig {
            name: "",
            kind,
            insns: &[],
            license: "",
            attach_btf_id: 0,
            attach_target: None,
            modules: &[],
            kernel_version: 0,
            debug_info: None,
            token: None,
        }
    }
}

/// BTF that belongs to a program; the record bytes are in the kernel's form and host byte order.
#[derive(Clone, Copy, Debug)]
pub struct ProgramBtf<'a> {
    /// The BTF object.
    pub fd: BorrowedFd<'a>,
    /// `bpf_func_info` records of 8 bytes.
    pub func_info: &'a [u8],
    /// `bpf_line_info` records of 16 bytes.
    pub line_info: &'a [u8],
}

/// A program in the kernel.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    name: String,
    kind: ProgramKind,
    /// Where a program on a static probe finds its arguments.
    usdt: Option<Arc<usdt::Tables>>,
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The largest log buffer that every kernel takes (up to 5.1 it was 16 MiB - 1).
const LOG_SIZE: usize = (16 << 20) - 1;

/// The verifier gives up with `EAGAIN` when a signal is pending; a tracer's own timer may send many.
const EAGAIN_TRIES: usize = 30;

impl Program {
    /// Loads a program: once without a log, and when that fails, again with one to learn why.
    ///
    /// # Errors
    /// `Verifier` with the log; `Permission`, naming what is missing; `Limit` when it is too large; the errno
    /// otherwise.
    pub fn load(config: &ProgramConfig<'_>) -> Result<Self> {
        let request = Request::new(config)?;
        let loaded = |fd| Self { fd, name: config.name.to_owned(), kind: config.kind.clone(), usdt: None };
        let mut numbers = numbers(config);
        let mut result = request.send_permitted(numbers);
        // A kernel that does not know the attach type yet loads the program just as well without it.
        if matches!(result, Err(SysError { errno: libc::EINVAL | libc::E2BIG, .. }))
            && config.kind.attach_type_optional
        {
            let without = attr::ProgLoad { expected_attach_type: 0, ..numbers };
            result = request.send(without, &mut []).or(result);
        }
        let first = match result {
            Ok(fd) => return Ok(loaded(fd)),
            Err(error) => error,
        };
        // Zeroed memory of this size is mapped, not touched: it costs what the log really needs.
        let mut log = vec![0; LOG_SIZE];
        numbers.log_level = 1;
        match request.send(numbers, &mut log) {
            Ok(fd) => Ok(loaded(fd)),
            // Kernels before 6.4 keep the beginning of a log that is too long, later ones its end.
            Err(SysError { errno: libc::ENOSPC, .. }) if first.errno != libc::ENOSPC => {
                let text = verifier_log::text(&log);
                let why = "why, is not in the 16 MiB of log that this kernel gives";
                Err(Error::verifier(first.errno, why.to_owned(), text))
            }
            Err(_) => Err(rejected(first, &log, config.kind)),
        }
    }

    /// Asks whether a program like this is refused whatever is in it, without a log, which would stay empty.
    ///
    /// # Errors
    /// `Permission`; all else is for [`Program::load`] to tell.
    pub(crate) fn permitted(config: &ProgramConfig<'_>) -> Result<()> {
        match Request::new(config)?.send_permitted(numbers(config)) {
            Err(error) if error.errno == libc::EPERM => Err(privilege::explain(error.into(), Need::Tracing)),
            _ => Ok(()),
        }
    }

    pub(crate) fn with_usdt_tables(self, tables: Arc<usdt::Tables>) -> Self {
        Self { usdt: Some(tables), ..self }
    }

    pub(crate) fn usdt_tables(&self) -> Option<&usdt::Tables> {
        self.usdt.as_deref()
    }

    /// The program's name in the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type, attach type and target.
    pub fn kind(&self) -> &ProgramKind {
        &self.kind
    }

    /// What the kernel says of the program.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn info(&self) -> Result<ProgramInfo> {
        let info = bpf::prog_info(self.fd.as_fd())?;
        Ok(ProgramInfo {
            id: info.id,
            name: name_of(&info.name),
            btf_id: info.btf_id,
            recursion_misses: info.recursion_misses,
            instructions: info.xlated_prog_len / 8, // sizeof(struct bpf_insn)
            verified: info.verified_insns,
        })
    }

    /// Keeps `map` alive as long as the program (5.10), and lets other tools find it by the program, even if no
    /// instruction refers to it. Kernels that cannot do without.
    ///
    /// # Errors
    /// `Io` with `EINVAL` before 5.10.
    pub fn bind_map(&self, map: &crate::map::Map) -> Result<()> {
        Ok(bpf::prog_bind_map(self.fd.as_fd(), map.as_fd())?)
    }

    /// Runs the program once on `data` (`BPF_PROG_TEST_RUN`) and returns its return value.
    ///
    /// # Errors
    /// As for [`Program::test_run_with`].
    pub fn test_run(&self, data: &[u8]) -> Result<u32> {
        self.test_run_with(TestInput { data, context: &[] })
    }

    /// As [`Program::test_run`], with a context for the types that take one: system call programs and raw tracepoints.
    ///
    /// # Errors
    /// `NotSupported` for types that cannot be run that way; `Io` with `EINVAL` for input that the type does not take.
    pub fn test_run_with(&self, input: TestInput<'_>) -> Result<u32> {
        Ok(bpf::prog_test_run(self.fd.as_fd(), input.data, &mut [], input.context)?.retval)
    }

    /// Pins the program at `path` on a bpffs.
    ///
    /// # Errors
    /// As for [`crate::Map::pin`].
    pub fn pin(&self, path: &std::path::Path) -> Result<()> {
        Ok(bpf::obj_pin(self.fd.as_fd(), &crate::map::c_path(path)?)?)
    }
}

/// What a program is run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestInput<'a> {
    /// A packet, at least 14 bytes for most types.
    pub data: &'a [u8],
    /// The context, in the form that user space sees.
    pub context: &'a [u8],
}

/// What the kernel says of a program (`struct bpf_prog_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Id, unique while the program exists.
    pub id: u32,
    /// At most 15 bytes.
    pub name: String,
    /// Id of the BTF object that describes it; 0 if none.
    pub btf_id: u32,
    /// Runs that were skipped because the program was already running on that CPU (5.12; 0 before).
    pub recursion_misses: u64,
    /// Instructions after the kernel has rewritten the program, before it is translated for the processor.
    pub instructions: u32,
    /// Instructions that the verifier walked through, each as often as it had to (5.16; 0 before).
    pub verified: u32,
}

fn numbers(config: &ProgramConfig<'_>) -> attr::ProgLoad {
    attr::ProgLoad {
        prog_type: config.kind.program_type,
        kern_version: config.kernel_version,
        prog_flags: flag(config.kind.sleepable, uapi::F_SLEEPABLE)
            | flag(config.kind.xdp_frags, uapi::F_XDP_HAS_FRAGS)
            | flag(config.token.is_some(), uapi::F_TOKEN_FD),
        prog_name: object_name(config.name),
        expected_attach_type: config.kind.attach_type,
        prog_btf_fd: config.debug_info.map_or(0, |info| bpf::fd_u32(info.fd)),
        attach_btf_id: config.attach_btf_id,
        attach_btf_obj_fd: config.attach_target.map_or(0, bpf::fd_u32),
        prog_token_fd: config.token.map_or(0, bpf::fd_u32),
        ..Default::default()
    }
}

/// Attach types that a kernel may be too old for, which it says by `EINVAL` and nothing else. Old ones are not listed: there it
/// means something else.
fn late_attach_type(kind: &ProgramKind) -> Option<(&'static str, &'static str)> {
    match (kind.program_type, kind.attach_type) {
        (program_type::TRACING, attach_type::TRACE_FSESSION) => Some(("fsession programs", "7.0")),
        (
            program_type::TRACING,
            attach_type::TRACE_FENTRY_MULTI
            | attach_type::TRACE_FEXIT_MULTI
            | attach_type::TRACE_FSESSION_MULTI,
        ) => Some(("tracing of many functions by one program", "7.2")),
        (program_type::LSM, attach_type::LSM_CGROUP) => Some(("security hooks of cgroups", "6.0")),
        _ => None,
    }
}

fn flag(on: bool, bit: u32) -> u32 {
    if on { bit } else { 0 }
}

/// All that goes with the numbers of `BPF_PROG_LOAD`.
struct Request<'a> {
    insns: Vec<u8>,
    license: CString,
    debug_info: Option<ProgramBtf<'a>>,
    /// As instructions count them; empty if there are none.
    modules: Vec<i32>,
}

impl<'a> Request<'a> {
    fn new(config: &ProgramConfig<'a>) -> Result<Self> {
        let license = CString::new(config.license).map_err(|_| Error::invalid("licence with a NUL byte"))?;
        let modules = config.modules.iter().map(AsRawFd::as_raw_fd);
        let modules =
            if config.modules.is_empty() { Vec::new() } else { std::iter::once(0).chain(modules).collect() };
        let insns = config.insns.iter().flat_map(|insn| insn.encode(Endian::NATIVE)).collect();
        Ok(Self { insns, license, debug_info: config.debug_info, modules })
    }

    fn send(&self, numbers: attr::ProgLoad, log: &mut [u8]) -> Result<OwnedFd, SysError> {
        retry_again(|| {
            let buffers = ProgLoadBuffers {
                insns: &self.insns,
                license: &self.license,
                func_info: self.debug_info.map_or(&[], |info| info.func_info),
                line_info: self.debug_info.map_or(&[], |info| info.line_info),
                fd_array: &self.modules,
                log: &mut *log,
            };
            bpf::prog_load(numbers, buffers)
        })
    }

    /// Without a log; once more with the limit on locked memory raised, if that may be what forbids it.
    fn send_permitted(&self, numbers: attr::ProgLoad) -> Result<OwnedFd, SysError> {
        match self.send(numbers, &mut []) {
            Err(SysError { errno: libc::EPERM, .. }) if privilege::raise_memlock() => {
                self.send(numbers, &mut [])
            }
            result => result,
        }
    }
}

fn retry_again(mut call: impl FnMut() -> Result<OwnedFd, SysError>) -> Result<OwnedFd, SysError> {
    let mut result = call();
    for _ in 0..EAGAIN_TRIES {
        if !matches!(result, Err(SysError { errno: libc::EAGAIN, .. })) {
            break;
        }
        result = call();
    }
    result
}

/// The verifier has spoken if there is a log; without one the kernel refused before it looked at the code.
fn rejected(error: SysError, log: &[u8], kind: &ProgramKind) -> Error {
    let text = verifier_log::text(log);
    // An attach type that it does not know is one without a target to the verifier.
    let unseen = verifier_log::summary(&text).is_empty() || text.contains("must provide btf_id");
    if let (true, libc::EINVAL | libc::E2BIG, Some((feature, since))) =
        (unseen, error.errno, late_attach_type(kind))
    {
        return Error::not_supported(feature, since);
    }
    if verifier_log::summary(&text).is_empty() {
        return privilege::explain(error.into(), Need::Tracing);
    }
    if let Some(error) = privilege::withheld_helper(&text) {
        return error;
    }
    let mut why = verifier_log::summary(&text);
    if error.errno == libc::EFAULT {
        why += " (which is a bug of the verifier)";
    }
    Error::verifier(error.errno, why, text)
}
