//! Trace files of Windows: whatever comes is told, and what is missing is a gap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_core::kernel::winsock_afd::{Recorded, read};

fuzz_target!(|data: &[u8]| {
    if let Ok(Recorded { calls, .. }) = read(data) {
        // In the order in which they were over, and no more than the file has room for.
        assert!(calls.is_sorted_by_key(|call| call.at_ns));
        assert!(calls.len() <= data.len());
    }
});
