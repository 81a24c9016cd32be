//! What dom0's programs ask libxl, as owned values.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};
use std::slice;

use crate::bindings as c;

unsafe extern "C" {
    /// The C library's standard error stream, which the logger writes to.
    static stderr: *mut c::FILE;
}

/// What libxl refused to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibxlError {
    /// No logger: out of memory.
    #[error("libxl's logger could not be made")]
    Logger,
    /// No context: this is no dom0, or xenstored does not answer.
    #[error("libxl could not be opened (error {0}): is this dom0, and does xenstored run?")]
    Open(c_int),
    /// A question got no answer.
    #[error("{question} failed")]
    Ask {
        /// The C function.
        question: &'static str,
    },
}

/// Which hypervisor runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenVersion {
    /// `4.20.4-pre`: major, minor and the rest.
    pub version: String,
    /// Who compiled it, `user@domain`.
    pub compiled_by: String,
    /// Compiler and its version.
    pub compiler: String,
    /// The linker's build id, by which its debug symbols are found.
    pub build_id: String,
    /// The source that it was compiled from.
    pub changeset: String,
    /// The options that it was started with.
    pub command_line: String,
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory that Xen manages.
    pub total_memory: u64,
    /// Bytes that no domain has.
    pub free_memory: u64,
    /// Processors that Xen runs on.
    pub cpus: u32,
    /// Guests may have hardware page tables (HAP).
    pub hap: bool,
}

/// A domain as Xen sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number; 0 is dom0.
    pub id: u32,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Bytes of memory that it has.
    pub memory: u64,
    /// Virtual processors that are on.
    pub cpus: u32,
}

/// An open connection to libxl.
pub struct Libxl {
    context: NonNull<c::libxl_ctx>,
    logger: NonNull<c::xentoollog_logger>,
}

impl Libxl {
    /// Opens libxl. Its own words go to standard error, and only if they are critical: errors are returned.
    ///
    /// # Errors
    /// [`LibxlError::Open`] outside dom0 and while xenstored is down.
    pub fn open() -> Result<Self, LibxlError> {
        // SAFETY: `stderr` is a stream that the C library keeps open for the life of the process; it is only read.
        let logger = unsafe { c::xtl_createlogger_stdiostream(stderr, c::XTL_CRITICAL, 0) };
        // A logger "of the stdio kind" starts with the general logger (xentoollog.h), so the pointer serves as both.
        let logger = NonNull::new(logger.cast::<c::xentoollog_logger>()).ok_or(LibxlError::Logger)?;
        let mut context = ptr::null_mut();
        let version = c_int::try_from(c::LIBXL_VERSION).expect("libxl's interface version is 0");
        // SAFETY: `context` is a place for one pointer; the logger outlives the context (see Drop).
        let error = unsafe { c::libxl_ctx_alloc(&raw mut context, version, 0, logger.as_ptr()) };
        match NonNull::new(context).filter(|_| error == 0) {
            Some(context) => Ok(Self { context, logger }),
            None => {
                // SAFETY: the logger was made above, and libxl keeps no context that could use it.
                unsafe { c::xtl_logger_destroy(logger.as_ptr()) };
                Err(LibxlError::Open(error))
            }
        }
    }

    /// Which hypervisor runs.
    ///
    /// # Errors
    /// [`LibxlError::Ask`] if Xen does not answer.
    pub fn version(&self) -> Result<XenVersion, LibxlError> {
        // SAFETY: the context is open; what is returned belongs to it and lives as long as it does.
        let info = unsafe { c::libxl_get_version_info(self.context.as_ptr()).as_ref() };
        let info = info.ok_or(LibxlError::Ask { question: "libxl_get_version_info" })?;
        let (by, domain) = (text(info.compile_by), text(info.compile_domain));
        Ok(XenVersion {
            version: format!(
                "{}.{}{}",
                info.xen_version_major,
                info.xen_version_minor,
                text(info.xen_version_extra)
            ),
            compiled_by: if domain.is_empty() { by } else { format!("{by}@{domain}") },
            compiler: text(info.compiler),
            build_id: text(info.build_id),
            changeset: text(info.changeset),
            command_line: text(info.commandline).trim().to_owned(),
        })
    }

    /// What the machine has.
    ///
    /// # Errors
    /// [`LibxlError::Ask`] if Xen does not answer.
    pub fn machine(&self) -> Result<Machine, LibxlError> {
        const PAGE: u64 = 4096;
        let mut info = std::mem::MaybeUninit::<c::libxl_physinfo>::uninit();
        // SAFETY: init writes every field of the structure that it is given.
        unsafe { c::libxl_physinfo_init(info.as_mut_ptr()) };
        // SAFETY: the context is open, the structure was initialised on the line above.
        let error = unsafe { c::libxl_get_physinfo(self.context.as_ptr(), info.as_mut_ptr()) };
        // SAFETY: initialised by libxl_physinfo_init, whatever libxl_get_physinfo did. It holds no pointers.
        let mut info = unsafe { info.assume_init() };
        let machine = Machine {
            total_memory: info.total_pages.saturating_mul(PAGE),
            free_memory: info.free_pages.saturating_mul(PAGE),
            cpus: info.nr_cpus,
            hap: info.cap_hap,
        };
        // SAFETY: initialised, and not used after this.
        unsafe { c::libxl_physinfo_dispose(&raw mut info) };
        if error == 0 { Ok(machine) } else { Err(LibxlError::Ask { question: "libxl_get_physinfo" }) }
    }

    /// All domains, dom0 among them.
    ///
    /// # Errors
    /// [`LibxlError::Ask`] if Xen does not answer.
    pub fn domains(&self) -> Result<Vec<Domain>, LibxlError> {
        let mut count: c_int = 0;
        // SAFETY: the context is open and `count` is a place for the length of the list.
        let list = unsafe { c::libxl_list_domain(self.context.as_ptr(), &raw mut count) };
        let list = NonNull::new(list).ok_or(LibxlError::Ask { question: "libxl_list_domain" })?;
        // SAFETY: libxl returns `count` initialised elements, which stay until the list is freed below.
        let infos = unsafe { slice::from_raw_parts(list.as_ptr(), usize::try_from(count).unwrap_or(0)) };
        let domains = infos
            .iter()
            .map(|info| Domain {
                id: info.domid,
                uuid: info.uuid.uuid,
                memory: info.current_memkb.saturating_mul(1024),
                cpus: info.vcpu_online,
            })
            .collect();
        // SAFETY: the list came from libxl_list_domain with this length; `infos` is not used any more.
        unsafe { c::libxl_dominfo_list_free(list.as_ptr(), count) };
        Ok(domains)
    }
}

impl Drop for Libxl {
    fn drop(&mut self) {
        // SAFETY: both were made in `open` and are let go once, the context first because it uses the logger.
        unsafe {
            c::libxl_ctx_free(self.context.as_ptr());
            c::xtl_logger_destroy(self.logger.as_ptr());
        }
    }
}

/// A C string of a structure that is still alive; empty if there is none.
fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: libxl's strings end with a NUL, and the caller holds a reference to the structure that owns this one.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
