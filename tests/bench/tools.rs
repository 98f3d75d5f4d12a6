//! What is compared: our tracers, and what a user would pick instead.
//!
//! To add a peer, add it to [`execsnoop`] or [`opensnoop`]. One that is not installed stays in the report, with the reason.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool, ready to be started any number of times.
#[derive(Clone)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    /// What its first line of output holds, once it is attached.
    pub(crate) mark: &'static str,
}

impl Tool {
    pub(crate) fn ours(bin: &Path, name: &'static str) -> Self {
        Self { name: "ours", program: bin.join(name), args: Vec::new(), mark: "PID" }
    }

    fn peer(name: &'static str, program: &str) -> Self {
        Self { name, program: program.into(), args: Vec::new(), mark: "PID" }
    }

    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }

    pub(crate) fn installed(&self) -> bool {
        self.program.is_file()
    }

    pub(crate) fn size(&self) -> Option<f64> {
        Some(std::fs::metadata(&self.program).ok()?.len() as f64)
    }
}

/// Debian installs the libbpf-tools under the names of BCC's, and those with a suffix.
pub(crate) fn libbpf(name: &'static str) -> Tool {
    Tool::peer("libbpf-tools", &format!("/usr/sbin/{name}"))
}

fn bpftrace(program: &str) -> Tool {
    Tool::peer("bpftrace", "/usr/bin/bpftrace").with(&["-e", program])
}

fn bcc(name: &str) -> Tool {
    Tool::peer("BCC", &format!("/usr/sbin/{name}-bpfcc"))
}

pub(crate) fn execsnoop() -> Vec<Tool> {
    let script = r#"BEGIN { printf("PID COMM ARGS\n"); }
        tracepoint:syscalls:sys_enter_execve { printf("%d %s ", pid, comm); join(args->argv); }"#;
    vec![libbpf("execsnoop"), bpftrace(script), bcc("execsnoop")]
}

pub(crate) fn opensnoop() -> Vec<Tool> {
    let script = r#"BEGIN { printf("PID COMM FD PATH\n"); }
        tracepoint:syscalls:sys_enter_openat { @name[tid] = args->filename; }
        tracepoint:syscalls:sys_exit_openat /@name[tid]/ {
            printf("%d %s %d %s\n", pid, comm, args->ret, str(@name[tid])); delete(@name[tid]); }"#;
    vec![libbpf("opensnoop"), bpftrace(script), bcc("opensnoop")]
}

/// The same with 32-bit callers, which have no tracepoints of their own; x86's numbers of openat, 64-bit and 32-bit.
pub(crate) fn opensnoop_of_all_callers() -> Tool {
    let script = r#"BEGIN { printf("PID COMM FD PATH\n"); }
        tracepoint:raw_syscalls:sys_enter /args->id == 257 || args->id == 295/ { @name[tid] = args->args[1]; }
        tracepoint:raw_syscalls:sys_exit /args->id == 257 || args->id == 295/ {
            printf("%d %s %d %s\n", pid, comm, args->ret, str(@name[tid])); delete(@name[tid]); }"#;
    bpftrace(script)
}

pub(crate) fn of(tracer: &str) -> Vec<Tool> {
    match tracer {
        "execsnoop" => execsnoop(),
        "opensnoop" => opensnoop(),
        _ => Vec::new(),
    }
}
