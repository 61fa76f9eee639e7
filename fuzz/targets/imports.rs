//! Texts that others send: whatever comes becomes a snapshot that can be kept, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_core::import::{File, import};
use portolan_core::snapshot_file;

fuzz_target!(|data: &[u8]| {
    if let Ok(imported) = import(&[File { name: "input", bytes: data }], 0) {
        let mut file = Vec::new();
        snapshot_file::write(&imported.snapshot, &mut file).unwrap();
        assert_eq!(snapshot_file::read(&file[..]).unwrap(), imported.snapshot);
    }
});
