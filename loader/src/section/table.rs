//! The table of section names.
//!
//! In: nothing. Out: [`ROWS`], and the kernel's numbers for program and attach types. How a row is
//! applied is in [`crate::section`]. Numbers: `enum bpf_prog_type` and `enum bpf_attach_type` of
//! `include/uapi/linux/bpf.h`; a test compares them with the running kernel's BTF.

/// Loaded as a program that may sleep.
pub(super) const SLEEPABLE: u8 = 1;
/// The attach type may be left out on a kernel that does not know it.
pub(super) const OPTIONAL: u8 = 2;
/// The program handles multi-buffer XDP frames.
pub(super) const FRAGS: u8 = 4;

/// How the part of a section name after the slash is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    None,
    Tracepoint,
    RawTracepoint,
    BtfTracepoint,
    Function,
    Functions,
    ProgramFunction,
    Lsm,
    Iterator,
    Kprobe { at_return: bool },
    KprobeMulti { at_return: bool },
    Syscall { at_return: bool },
    Uprobe { at_return: bool },
    UprobeMulti { at_return: bool },
    Usdt,
    StructOps,
}

/// One section name, or family of names when the pattern ends in `+`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) pattern: &'static str,
    pub(super) program_type: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u8,
    pub(super) shape: Shape,
}

impl Row {
    /// Whether the row is for this section, and what follows the slash if there is one.
    pub(super) fn matches<'a>(&self, section: &'a str) -> Option<Option<&'a str>> {
        match self.pattern.strip_suffix('+') {
            None => (section == self.pattern).then_some(None),
            Some(name) => match section.strip_prefix(name)? {
                "" => Some(None),
                rest => rest.strip_prefix('/').map(Some),
            },
        }
    }
}

macro_rules! numbers {
    ($(#[$doc:meta])* $module:ident: $prefix:literal { $($name:ident = $value:literal,)* }) => {
        $(#[$doc])*
        pub mod $module {
            #![allow(missing_docs, reason = "the names of include/uapi/linux/bpf.h")]
            $(pub const $name: u32 = $value;)*

            /// Every number with the kernel's name for it, without its prefix.
            pub const ALL: &[(&str, u32)] = &[$((stringify!($name), $value),)*];
            /// What the kernel puts before each name.
            pub const PREFIX: &str = $prefix;
        }
    };
}

numbers! {
    /// `enum bpf_prog_type`.
    program_type: "BPF_PROG_TYPE_" {
        UNSPEC = 0, SOCKET_FILTER = 1, KPROBE = 2, SCHED_CLS = 3, SCHED_ACT = 4, TRACEPOINT = 5, XDP = 6,
        PERF_EVENT = 7, CGROUP_SKB = 8, CGROUP_SOCK = 9, LWT_IN = 10, LWT_OUT = 11, LWT_XMIT = 12,
        SOCK_OPS = 13, SK_SKB = 14, CGROUP_DEVICE = 15, SK_MSG = 16, RAW_TRACEPOINT = 17,
        CGROUP_SOCK_ADDR = 18, LWT_SEG6LOCAL = 19, LIRC_MODE2 = 20, SK_REUSEPORT = 21,
        FLOW_DISSECTOR = 22, CGROUP_SYSCTL = 23, RAW_TRACEPOINT_WRITABLE = 24, CGROUP_SOCKOPT = 25,
        TRACING = 26, STRUCT_OPS = 27, EXT = 28, LSM = 29, SK_LOOKUP = 30, SYSCALL = 31, NETFILTER = 32,
    }
}

numbers! {
    /// `enum bpf_attach_type`.
    attach_type: "BPF_" {
        CGROUP_INET_INGRESS = 0, CGROUP_INET_EGRESS = 1, CGROUP_INET_SOCK_CREATE = 2, CGROUP_SOCK_OPS = 3,
        SK_SKB_STREAM_PARSER = 4, SK_SKB_STREAM_VERDICT = 5, CGROUP_DEVICE = 6, SK_MSG_VERDICT = 7,
        CGROUP_INET4_BIND = 8, CGROUP_INET6_BIND = 9, CGROUP_INET4_CONNECT = 10,
        CGROUP_INET6_CONNECT = 11, CGROUP_INET4_POST_BIND = 12, CGROUP_INET6_POST_BIND = 13,
        CGROUP_UDP4_SENDMSG = 14, CGROUP_UDP6_SENDMSG = 15, LIRC_MODE2 = 16, FLOW_DISSECTOR = 17,
        CGROUP_SYSCTL = 18, CGROUP_UDP4_RECVMSG = 19, CGROUP_UDP6_RECVMSG = 20, CGROUP_GETSOCKOPT = 21,
        CGROUP_SETSOCKOPT = 22, TRACE_RAW_TP = 23, TRACE_FENTRY = 24, TRACE_FEXIT = 25,
        MODIFY_RETURN = 26, LSM_MAC = 27, TRACE_ITER = 28, CGROUP_INET4_GETPEERNAME = 29,
        CGROUP_INET6_GETPEERNAME = 30, CGROUP_INET4_GETSOCKNAME = 31, CGROUP_INET6_GETSOCKNAME = 32,
        XDP_DEVMAP = 33, CGROUP_INET_SOCK_RELEASE = 34, XDP_CPUMAP = 35, SK_LOOKUP = 36, XDP = 37,
        SK_SKB_VERDICT = 38, SK_REUSEPORT_SELECT = 39, SK_REUSEPORT_SELECT_OR_MIGRATE = 40,
        PERF_EVENT = 41, TRACE_KPROBE_MULTI = 42, LSM_CGROUP = 43, STRUCT_OPS = 44, NETFILTER = 45,
        TCX_INGRESS = 46, TCX_EGRESS = 47, TRACE_UPROBE_MULTI = 48, CGROUP_UNIX_CONNECT = 49,
        CGROUP_UNIX_SENDMSG = 50, CGROUP_UNIX_RECVMSG = 51, CGROUP_UNIX_GETPEERNAME = 52,
        CGROUP_UNIX_GETSOCKNAME = 53, NETKIT_PRIMARY = 54, NETKIT_PEER = 55, TRACE_KPROBE_SESSION = 56,
        TRACE_UPROBE_SESSION = 57, TRACE_FSESSION = 58, TRACE_FENTRY_MULTI = 59, TRACE_FEXIT_MULTI = 60,
        TRACE_FSESSION_MULTI = 61,
    }
}

use attach_type as at;
use program_type as pt;

const fn row(pattern: &'static str, program_type: u32, attach_type: u32, flags: u8, shape: Shape) -> Row {
    Row { pattern, program_type, attach_type, flags, shape }
}

const fn plain(pattern: &'static str, program_type: u32, attach_type: u32, flags: u8) -> Row {
    row(pattern, program_type, attach_type, flags, Shape::None)
}

const KPROBE: Shape = Shape::Kprobe { at_return: false };
const KRETPROBE: Shape = Shape::Kprobe { at_return: true };
const KPROBES: Shape = Shape::KprobeMulti { at_return: false };
const KRETPROBES: Shape = Shape::KprobeMulti { at_return: true };
const UPROBE: Shape = Shape::Uprobe { at_return: false };
const URETPROBE: Shape = Shape::Uprobe { at_return: true };
const UPROBES: Shape = Shape::UprobeMulti { at_return: false };
const URETPROBES: Shape = Shape::UprobeMulti { at_return: true };

/// All names; the first row that matches wins.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Tracing.
    row("tracepoint+", pt::TRACEPOINT, 0, 0, Shape::Tracepoint),
    row("tracepoint.s+", pt::TRACEPOINT, 0, SLEEPABLE, Shape::Tracepoint),
    row("tp+", pt::TRACEPOINT, 0, 0, Shape::Tracepoint),
    row("tp.s+", pt::TRACEPOINT, 0, SLEEPABLE, Shape::Tracepoint),
    row("raw_tracepoint+", pt::RAW_TRACEPOINT, 0, 0, Shape::RawTracepoint),
    row("raw_tracepoint.s+", pt::RAW_TRACEPOINT, 0, SLEEPABLE, Shape::RawTracepoint),
    row("raw_tp+", pt::RAW_TRACEPOINT, 0, 0, Shape::RawTracepoint),
    row("raw_tp.s+", pt::RAW_TRACEPOINT, 0, SLEEPABLE, Shape::RawTracepoint),
    row("raw_tracepoint.w+", pt::RAW_TRACEPOINT_WRITABLE, 0, 0, Shape::RawTracepoint),
    row("raw_tp.w+", pt::RAW_TRACEPOINT_WRITABLE, 0, 0, Shape::RawTracepoint),
    row("tp_btf+", pt::TRACING, at::TRACE_RAW_TP, 0, Shape::BtfTracepoint),
    row("tp_btf.s+", pt::TRACING, at::TRACE_RAW_TP, SLEEPABLE, Shape::BtfTracepoint),
    row("fentry+", pt::TRACING, at::TRACE_FENTRY, 0, Shape::Function),
    row("fentry.s+", pt::TRACING, at::TRACE_FENTRY, SLEEPABLE, Shape::Function),
    row("fexit+", pt::TRACING, at::TRACE_FEXIT, 0, Shape::Function),
    row("fexit.s+", pt::TRACING, at::TRACE_FEXIT, SLEEPABLE, Shape::Function),
    row("fmod_ret+", pt::TRACING, at::MODIFY_RETURN, 0, Shape::Function),
    row("fmod_ret.s+", pt::TRACING, at::MODIFY_RETURN, SLEEPABLE, Shape::Function),
    row("fsession+", pt::TRACING, at::TRACE_FSESSION, 0, Shape::Function),
    row("fsession.s+", pt::TRACING, at::TRACE_FSESSION, SLEEPABLE, Shape::Function),
    row("fentry.multi+", pt::TRACING, at::TRACE_FENTRY_MULTI, 0, Shape::Functions),
    row("fentry.multi.s+", pt::TRACING, at::TRACE_FENTRY_MULTI, SLEEPABLE, Shape::Functions),
    row("fexit.multi+", pt::TRACING, at::TRACE_FEXIT_MULTI, 0, Shape::Functions),
    row("fexit.multi.s+", pt::TRACING, at::TRACE_FEXIT_MULTI, SLEEPABLE, Shape::Functions),
    row("fsession.multi+", pt::TRACING, at::TRACE_FSESSION_MULTI, 0, Shape::Functions),
    row("fsession.multi.s+", pt::TRACING, at::TRACE_FSESSION_MULTI, SLEEPABLE, Shape::Functions),
    row("freplace+", pt::EXT, 0, 0, Shape::ProgramFunction),
    row("lsm+", pt::LSM, at::LSM_MAC, 0, Shape::Lsm),
    row("lsm.s+", pt::LSM, at::LSM_MAC, SLEEPABLE, Shape::Lsm),
    row("lsm_cgroup+", pt::LSM, at::LSM_CGROUP, 0, Shape::Lsm),
    row("iter+", pt::TRACING, at::TRACE_ITER, 0, Shape::Iterator),
    row("iter.s+", pt::TRACING, at::TRACE_ITER, SLEEPABLE, Shape::Iterator),
    row("kprobe+", pt::KPROBE, 0, 0, KPROBE),
    row("kretprobe+", pt::KPROBE, 0, 0, KRETPROBE),
    row("kprobe.multi+", pt::KPROBE, at::TRACE_KPROBE_MULTI, 0, KPROBES),
    row("kretprobe.multi+", pt::KPROBE, at::TRACE_KPROBE_MULTI, 0, KRETPROBES),
    row("kprobe.session+", pt::KPROBE, at::TRACE_KPROBE_SESSION, 0, KPROBES),
    row("ksyscall+", pt::KPROBE, 0, 0, Shape::Syscall { at_return: false }),
    row("kretsyscall+", pt::KPROBE, 0, 0, Shape::Syscall { at_return: true }),
    row("uprobe+", pt::KPROBE, 0, 0, UPROBE),
    row("uprobe.s+", pt::KPROBE, 0, SLEEPABLE, UPROBE),
    row("uretprobe+", pt::KPROBE, 0, 0, URETPROBE),
    row("uretprobe.s+", pt::KPROBE, 0, SLEEPABLE, URETPROBE),
    row("uprobe.multi+", pt::KPROBE, at::TRACE_UPROBE_MULTI, 0, UPROBES),
    row("uprobe.multi.s+", pt::KPROBE, at::TRACE_UPROBE_MULTI, SLEEPABLE, UPROBES),
    row("uretprobe.multi+", pt::KPROBE, at::TRACE_UPROBE_MULTI, 0, URETPROBES),
    row("uretprobe.multi.s+", pt::KPROBE, at::TRACE_UPROBE_MULTI, SLEEPABLE, URETPROBES),
    row("uprobe.session+", pt::KPROBE, at::TRACE_UPROBE_SESSION, 0, UPROBES),
    row("uprobe.session.s+", pt::KPROBE, at::TRACE_UPROBE_SESSION, SLEEPABLE, UPROBES),
    row("usdt+", pt::KPROBE, 0, 0, Shape::Usdt),
    row("usdt.s+", pt::KPROBE, 0, SLEEPABLE, Shape::Usdt),
    plain("perf_event", pt::PERF_EVENT, 0, 0),
    plain("syscall", pt::SYSCALL, 0, SLEEPABLE),
    row("struct_ops+", pt::STRUCT_OPS, 0, 0, Shape::StructOps),
    row("struct_ops.s+", pt::STRUCT_OPS, 0, SLEEPABLE, Shape::StructOps),

    // Packets.
    plain("socket", pt::SOCKET_FILTER, 0, 0),
    plain("sk_reuseport/migrate", pt::SK_REUSEPORT, at::SK_REUSEPORT_SELECT_OR_MIGRATE, 0),
    plain("sk_reuseport", pt::SK_REUSEPORT, at::SK_REUSEPORT_SELECT, 0),
    plain("tc/ingress", pt::SCHED_CLS, at::TCX_INGRESS, 0),
    plain("tc/egress", pt::SCHED_CLS, at::TCX_EGRESS, 0),
    plain("tcx/ingress", pt::SCHED_CLS, at::TCX_INGRESS, 0),
    plain("tcx/egress", pt::SCHED_CLS, at::TCX_EGRESS, 0),
    plain("tc", pt::SCHED_CLS, 0, 0),
    plain("classifier", pt::SCHED_CLS, 0, 0),
    plain("action", pt::SCHED_ACT, 0, 0),
    plain("netkit/primary", pt::SCHED_CLS, at::NETKIT_PRIMARY, 0),
    plain("netkit/peer", pt::SCHED_CLS, at::NETKIT_PEER, 0),
    plain("xdp.frags/devmap", pt::XDP, at::XDP_DEVMAP, FRAGS),
    plain("xdp/devmap", pt::XDP, at::XDP_DEVMAP, 0),
    plain("xdp.frags/cpumap", pt::XDP, at::XDP_CPUMAP, FRAGS),
    plain("xdp/cpumap", pt::XDP, at::XDP_CPUMAP, 0),
    plain("xdp.frags", pt::XDP, at::XDP, FRAGS),
    plain("xdp", pt::XDP, at::XDP, OPTIONAL),
    plain("lwt_in", pt::LWT_IN, 0, 0),
    plain("lwt_out", pt::LWT_OUT, 0, 0),
    plain("lwt_xmit", pt::LWT_XMIT, 0, 0),
    plain("lwt_seg6local", pt::LWT_SEG6LOCAL, 0, 0),
    plain("sockops", pt::SOCK_OPS, at::CGROUP_SOCK_OPS, OPTIONAL),
    plain("sk_skb/stream_parser", pt::SK_SKB, at::SK_SKB_STREAM_PARSER, OPTIONAL),
    plain("sk_skb/stream_verdict", pt::SK_SKB, at::SK_SKB_STREAM_VERDICT, OPTIONAL),
    plain("sk_skb/verdict", pt::SK_SKB, at::SK_SKB_VERDICT, 0),
    plain("sk_skb", pt::SK_SKB, 0, 0),
    plain("sk_msg", pt::SK_MSG, at::SK_MSG_VERDICT, OPTIONAL),
    plain("lirc_mode2", pt::LIRC_MODE2, at::LIRC_MODE2, OPTIONAL),
    plain("flow_dissector", pt::FLOW_DISSECTOR, at::FLOW_DISSECTOR, OPTIONAL),
    plain("sk_lookup", pt::SK_LOOKUP, at::SK_LOOKUP, 0),
    plain("netfilter", pt::NETFILTER, at::NETFILTER, 0),

    // Cgroups.
    plain("cgroup_skb/ingress", pt::CGROUP_SKB, at::CGROUP_INET_INGRESS, OPTIONAL),
    plain("cgroup_skb/egress", pt::CGROUP_SKB, at::CGROUP_INET_EGRESS, OPTIONAL),
    plain("cgroup/skb", pt::CGROUP_SKB, 0, 0),
    plain("cgroup/sock_create", pt::CGROUP_SOCK, at::CGROUP_INET_SOCK_CREATE, 0),
    plain("cgroup/sock_release", pt::CGROUP_SOCK, at::CGROUP_INET_SOCK_RELEASE, 0),
    plain("cgroup/sock", pt::CGROUP_SOCK, at::CGROUP_INET_SOCK_CREATE, OPTIONAL),
    plain("cgroup/post_bind4", pt::CGROUP_SOCK, at::CGROUP_INET4_POST_BIND, 0),
    plain("cgroup/post_bind6", pt::CGROUP_SOCK, at::CGROUP_INET6_POST_BIND, 0),
    plain("cgroup/bind4", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET4_BIND, 0),
    plain("cgroup/bind6", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET6_BIND, 0),
    plain("cgroup/connect4", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET4_CONNECT, 0),
    plain("cgroup/connect6", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET6_CONNECT, 0),
    plain("cgroup/connect_unix", pt::CGROUP_SOCK_ADDR, at::CGROUP_UNIX_CONNECT, 0),
    plain("cgroup/sendmsg4", pt::CGROUP_SOCK_ADDR, at::CGROUP_UDP4_SENDMSG, 0),
    plain("cgroup/sendmsg6", pt::CGROUP_SOCK_ADDR, at::CGROUP_UDP6_SENDMSG, 0),
    plain("cgroup/sendmsg_unix", pt::CGROUP_SOCK_ADDR, at::CGROUP_UNIX_SENDMSG, 0),
    plain("cgroup/recvmsg4", pt::CGROUP_SOCK_ADDR, at::CGROUP_UDP4_RECVMSG, 0),
    plain("cgroup/recvmsg6", pt::CGROUP_SOCK_ADDR, at::CGROUP_UDP6_RECVMSG, 0),
    plain("cgroup/recvmsg_unix", pt::CGROUP_SOCK_ADDR, at::CGROUP_UNIX_RECVMSG, 0),
    plain("cgroup/getpeername4", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET4_GETPEERNAME, 0),
    plain("cgroup/getpeername6", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET6_GETPEERNAME, 0),
    plain("cgroup/getpeername_unix", pt::CGROUP_SOCK_ADDR, at::CGROUP_UNIX_GETPEERNAME, 0),
    plain("cgroup/getsockname4", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET4_GETSOCKNAME, 0),
    plain("cgroup/getsockname6", pt::CGROUP_SOCK_ADDR, at::CGROUP_INET6_GETSOCKNAME, 0),
    plain("cgroup/getsockname_unix", pt::CGROUP_SOCK_ADDR, at::CGROUP_UNIX_GETSOCKNAME, 0),
    plain("cgroup/sysctl", pt::CGROUP_SYSCTL, at::CGROUP_SYSCTL, 0),
    plain("cgroup/getsockopt", pt::CGROUP_SOCKOPT, at::CGROUP_GETSOCKOPT, 0),
    plain("cgroup/setsockopt", pt::CGROUP_SOCKOPT, at::CGROUP_SETSOCKOPT, 0),
    plain("cgroup/dev", pt::CGROUP_DEVICE, at::CGROUP_DEVICE, OPTIONAL),
];
