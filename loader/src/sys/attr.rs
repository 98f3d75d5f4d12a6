//! The attribute structs of `bpf(2)`: one per command, readable names, plain integers, explicit padding.
//!
//! The kernel declares one union, `union bpf_attr`; each struct here is the part of one command. All
//! pointers are `u64` and made in [`super::bpf`] from slices that outlive the call. A field of zero means
//! "not given". A test compares every size and offset with the running kernel's own BTF.
//!
//! What crosses: nothing by itself; [`Attr`] is the promise that these bytes may be handed over.

#![expect(unsafe_code, reason = "implements the trait that vouches for attribute structs")]

/// A struct that may be passed to `bpf(2)`.
///
/// # Safety
/// The type must be `repr(C)`, consist of integers (and arrays of them) only, and have no implicit padding,
/// so that all of its bytes are initialised and every bit pattern is valid.
pub unsafe trait Attr: Copy + Default {}

macro_rules! attrs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        #[allow(missing_docs, reason = "field names are those of union bpf_attr")]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)+ }

        // SAFETY: `repr(C)`, integers only; the assertion below refuses implicit padding.
        unsafe impl Attr for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())+, "implicit padding");

        impl $name {
            /// Name, byte offset and byte size of each field, for the comparison with the kernel's BTF.
            pub const FIELDS: &'static [(&'static str, usize, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$type>())),+];
        }
    )+};
}

attrs! {
    /// `BPF_MAP_CREATE`.
    MapCreate {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
        inner_map_fd: u32, numa_node: u32, map_name: [u8; 16], map_ifindex: u32, btf_fd: u32,
        btf_key_type_id: u32, btf_value_type_id: u32, btf_vmlinux_value_type_id: u32, map_extra: u64,
        value_type_btf_obj_fd: u32, map_token_fd: u32,
    }
    /// What goes beside the attributes of a command (`struct bpf_common_attr`, 7.x): where the kernel may write why it refused.
    CommonAttr { log_buf: u64, log_size: u32, log_level: u32, log_true_size: u32, pad: u32, }
    /// `BPF_MAP_*_ELEM` and `BPF_MAP_GET_NEXT_KEY` (where `value` is `next_key`).
    MapElem { map_fd: u32, pad: u32, key: u64, value: u64, flags: u64, }
    /// `BPF_MAP_FREEZE`, and other commands that take one fd.
    MapFd { map_fd: u32, }
    /// `BPF_MAP_*_BATCH`.
    MapBatch {
        in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map_fd: u32, elem_flags: u64,
        flags: u64,
    }
    /// `BPF_PROG_LOAD`.
    ProgLoad {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log_buf: u64,
        kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32, expected_attach_type: u32,
        prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64, func_info_cnt: u32,
        line_info_rec_size: u32, line_info: u64, line_info_cnt: u32, attach_btf_id: u32,
        attach_btf_obj_fd: u32, core_relo_cnt: u32, fd_array: u64, core_relos: u64, core_relo_rec_size: u32,
        log_true_size: u32, prog_token_fd: u32, pad: u32,
    }
    /// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
    Obj { pathname: u64, bpf_fd: u32, file_flags: u32, }
    /// `BPF_OBJ_GET_INFO_BY_FD`; the kernel writes the used length back.
    ObjInfo { bpf_fd: u32, info_len: u32, info: u64, }
    /// `BPF_RAW_TRACEPOINT_OPEN`.
    RawTracepointOpen { name: u64, prog_fd: u32, pad: u32, cookie: u64, }
    /// `BPF_BTF_LOAD`.
    BtfLoad {
        btf: u64, btf_log_buf: u64, btf_size: u32, btf_log_size: u32, btf_log_level: u32,
        btf_log_true_size: u32, btf_flags: u32, btf_token_fd: u32,
    }
    /// `BPF_TOKEN_CREATE`.
    TokenCreate { flags: u32, bpffs_fd: u32, }
    /// `BPF_LINK_CREATE` of a struct_ops map (6.4).
    LinkCreateMap { map_fd: u32, target_fd: u32, attach_type: u32, flags: u32, }
    /// `BPF_LINK_CREATE` for tracing programs.
    LinkCreate { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, target_btf_id: u32, pad: u32, cookie: u64, }
    /// `BPF_LINK_CREATE` for perf events.
    LinkCreatePerf { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, cookie: u64, }
    /// `BPF_LINK_CREATE` for kprobe.multi (5.18): `syms` and `cookies` are arrays of `cnt` u64.
    LinkCreateKprobeMulti {
        prog_fd: u32, target_fd: u32, attach_type: u32, link_flags: u32, flags: u32, cnt: u32, syms: u64,
        addrs: u64, cookies: u64,
    }
    /// `BPF_LINK_CREATE` for uprobe.multi (6.6): `offsets`, `ref_ctr_offsets` and `cookies` are arrays of `cnt` u64.
    LinkCreateUprobeMulti {
        prog_fd: u32, target_fd: u32, attach_type: u32, link_flags: u32, path: u64, offsets: u64,
        ref_ctr_offsets: u64, cookies: u64, cnt: u32, flags: u32, pid: u32, pad: u32,
    }
    /// `BPF_LINK_CREATE` for fentry.multi and the like (7.x): `ids` is an array of `cnt` u32, `cookies` one of `cnt` u64.
    LinkCreateTracingMulti {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, ids: u64, cookies: u64, cnt: u32, pad: u32,
    }
    /// `BPF_LINK_CREATE` for iterators (5.8).
    LinkCreateIter {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, iter_info: u64, iter_info_len: u32, pad: u32,
    }
    /// `BPF_ITER_CREATE`.
    IterCreate { link_fd: u32, flags: u32, }
    /// `BPF_PROG_BIND_MAP`.
    ProgBindMap { prog_fd: u32, map_fd: u32, flags: u32, }
    /// `BPF_PROG_TEST_RUN`.
    TestRun {
        prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64, data_out: u64,
        repeat: u32, duration: u32, ctx_size_in: u32, ctx_size_out: u32, ctx_in: u64, ctx_out: u64,
        flags: u32, cpu: u32, batch_size: u32, pad: u32,
    }
    /// `BPF_*_GET_NEXT_ID` and `BPF_*_GET_FD_BY_ID`: `id` is where to start, or which one.
    GetId { id: u32, next_id: u32, open_flags: u32, }
    /// What the kernel tells of a BTF object (`struct bpf_btf_info`); it copies the types to `btf`.
    BpfBtfInfo { btf: u64, btf_size: u32, id: u32, name: u64, name_len: u32, kernel_btf: u32, }
    /// What the kernel tells of a map (`struct bpf_map_info`, the part that exists since 5.8).
    BpfMapInfo {
        map_type: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
        name: [u8; 16], ifindex: u32, btf_vmlinux_value_type_id: u32, netns_dev: u64, netns_ino: u64,
        btf_id: u32, btf_key_type_id: u32, btf_value_type_id: u32, btf_vmlinux_id: u32, map_extra: u64,
    }
    /// What the kernel tells of a program (`struct bpf_prog_info`, up to 5.18's `attach_btf_id`).
    BpfProgInfo {
        prog_type: u32, id: u32, tag: [u8; 8], jited_prog_len: u32, xlated_prog_len: u32,
        jited_prog_insns: u64, xlated_prog_insns: u64, load_time: u64, created_by_uid: u32, nr_map_ids: u32,
        map_ids: u64, name: [u8; 16], ifindex: u32, gpl_compatible: u32, netns_dev: u64, netns_ino: u64,
        nr_jited_ksyms: u32, nr_jited_func_lens: u32, jited_ksyms: u64, jited_func_lens: u64, btf_id: u32,
        func_info_rec_size: u32, func_info: u64, nr_func_info: u32, nr_line_info: u32, line_info: u64,
        jited_line_info: u64, nr_jited_line_info: u32, line_info_rec_size: u32,
        jited_line_info_rec_size: u32, nr_prog_tags: u32, prog_tags: u64, run_time_ns: u64, run_cnt: u64,
        recursion_misses: u64, verified_insns: u32, attach_btf_obj_id: u32, attach_btf_id: u32, pad: u32,
    }
}
